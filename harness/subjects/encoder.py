"""Encoders: a network up to its cut, as a map with a pullback.

An encoder maps inputs to outputs, one row a sample, and pulls cotangents of the outputs back to
the inputs. It never computes gradients of parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Pullback = Callable[[Tensor], Tensor]
"""Maps a cotangent of the output to the gradient with respect to the input."""


@runtime_checkable
class Encoder(Protocol):
    """A differentiable map of a batch of samples, each independent of the others."""

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        ...

    def pull(self, inputs: Tensor) -> tuple[Tensor, Pullback]:
        """Outputs of a batch of inputs, and the pullback there; the pullback is called once."""
        ...


@dataclasses.dataclass(frozen=True)
class ModuleEncoder:
    """A module in eval mode, differentiated by autograd with respect to its input alone."""

    module: nn.Module

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        with torch.no_grad():
            output: Tensor = self.module(inputs)
            return output

    def pull(self, inputs: Tensor) -> tuple[Tensor, Pullback]:
        """Outputs of a batch of inputs, and the pullback there."""
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            output: Tensor = self.module(leaf)

        def pullback(cotangent: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(output, leaf, cotangent)
            return gradient

        return output.detach(), pullback


@dataclasses.dataclass(frozen=True)
class AffineEncoder:
    """One affine map a sample, y = A x + c.

    Parameters
    ----------
    matrix : tensor, shape (batch, m, n)
        A.
    offset : tensor, shape (batch, m)
        c.
    """

    matrix: Float[Tensor, "batch m n"]
    offset: Float[Tensor, "batch m"]

    @functools.cached_property
    def _transposed(self) -> Float[Tensor, "batch n m"]:
        # A row times a contiguous matrix is two to three times as fast as a matrix times a column.
        return self.matrix.transpose(1, 2).contiguous()

    def encode(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """Outputs of a batch of inputs."""
        return torch.bmm(inputs[:, None], self._transposed).squeeze(1) + self.offset

    def pull(self, inputs: Float[Tensor, "batch n"]) -> tuple[Float[Tensor, "batch m"], Pullback]:
        """Outputs of a batch of inputs, and the pullback, A^T."""

        def pullback(cotangent: Tensor) -> Tensor:
            return torch.bmm(cotangent[:, None], self.matrix).squeeze(1)

        return self.encode(inputs), pullback
