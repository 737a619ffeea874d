"""Encoders: a network up to a layer, as a map with a vector-Jacobian product.

An encoder maps inputs to outputs, one row a sample, and maps cotangents of the outputs back
to the inputs. It never computes gradients of parameters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.encoders.part import name_of
from harness.errors import ModuleError

VJP = Callable[[Tensor], Tensor]
"""Maps a cotangent of the output to the gradient with respect to the input, u to J^T u."""

JVP = Callable[[Tensor], Tensor]
"""Maps a tangent of the input to one of the output, v to J v."""


@runtime_checkable
class Encoder(Protocol):
    """A differentiable map of a batch of samples, each independent of the others."""

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        ...

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP.

        It can be called more than once. It reads the outputs, which must not be changed.
        """
        ...

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        ...


@dataclasses.dataclass(frozen=True)
class ModuleEncoder:
    """A module in eval mode, differentiated by autograd with respect to its input alone.

    Raises
    ------
    ModuleError
        When it is called, if the module returns anything but one tensor of real numbers with a row
        a sample.
    """

    module: nn.Module

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        with torch.no_grad():
            return self._output(inputs)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        leaf, output = self._record(inputs)
        return output.detach(), functools.partial(_gradient, output, leaf)

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        with unfused_attention():
            leaf, output = self._record(inputs)
        # J^T u is linear in u, so its own VJP, at any u, is J v.
        any_cotangent = torch.zeros_like(output, requires_grad=True)
        with torch.enable_grad():
            (input_cotangent,) = torch.autograd.grad(output, leaf, any_cotangent, create_graph=True)
        return (
            output.detach(),
            functools.partial(_gradient, input_cotangent, any_cotangent),
            functools.partial(_gradient, output, leaf),
        )

    def _record(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs as a leaf, and the outputs with their autograd graph."""
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            return leaf, self._output(leaf)

    def _output(self, inputs: Tensor) -> Tensor:
        output: object = self.module(inputs.clone())  # which it may overwrite
        made = f"a {type(output).__name__}"
        if isinstance(output, Tensor):
            if output.shape[:1] == inputs.shape[:1] and output.is_floating_point():
                # Casts inside a network do not show outside.
                output = output.to(inputs.dtype)
                return output if output.dim() > 1 else output[:, None]
            made += f" of shape {tuple(output.shape)} and dtype {output.dtype}"
        raise ModuleError(
            name_of(self.module),
            rule=f"of {len(inputs)} samples it returns {made}, and what is inverted is one tensor "
            "of real numbers with a row a sample",
            remedy=f'Name an entry after the layer, as in "layer[{names[0]}]"; there are '
            + ", ".join(names)
            if (names := [*entries_of(output)])
            else "Wrap it in a module that returns such a tensor alone",
        )


def entries_of(output: object) -> dict[str, Any]:
    """What a module returned, by names or numbers; empty for one tensor."""
    if isinstance(output, Mapping):
        return {str(name): each for name, each in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    if isinstance(output, (tuple, list)):
        return {str(number): each for number, each in enumerate(output)}
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return {}


@contextlib.contextmanager
def unfused_attention() -> Iterator[None]:
    """Compute attention by single operations: torch's fused ones lack derivatives and vmap."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@dataclasses.dataclass(frozen=True)
class AffineEncoder:
    """One affine map a network, y = A x + c.

    A batch has the same number of samples for each network, one network after the other.

    Parameters
    ----------
    matrix : tensor, shape (networks, m, n)
        A.
    offset : tensor, shape (networks, m)
        c.
    """

    matrix: Float[Tensor, "networks m n"]
    offset: Float[Tensor, "networks m"]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> AffineEncoder:
        """The same maps on a device, and in a dtype if one is given."""
        return AffineEncoder(self.matrix.to(device, dtype), self.offset.to(device, dtype))

    @functools.cached_property
    def _transposed(self) -> Float[Tensor, "networks n m"]:
        # A row times a contiguous matrix is two to three times as fast as a matrix times a column.
        # A single large matrix, however, is better read twice from the cache than in two copies.
        transposed = self.matrix.mT
        return transposed if len(self.matrix) == 1 else transposed.contiguous()

    def encode(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """Outputs of a batch of inputs."""
        return _times(self._transposed, inputs, offset=self.offset)

    def apply_jvp(self, tangent: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """A v."""
        return _times(self._transposed, tangent)

    def apply_vjp(self, cotangent: Float[Tensor, "batch m"]) -> Float[Tensor, "batch n"]:
        """A^T u."""
        return _times(self.matrix, cotangent)

    def vjp(self, inputs: Float[Tensor, "batch n"]) -> tuple[Float[Tensor, "batch m"], VJP]:
        """Outputs of a batch of inputs, and their VJP, A^T."""
        return self.encode(inputs), self.apply_vjp

    def linearize(
        self, inputs: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, "batch m"], JVP, VJP]:
        """Outputs of a batch of inputs, A and A^T."""
        return self.encode(inputs), self.apply_jvp, self.apply_vjp


def _gradient(output: Tensor, leaf: Tensor, cotangent: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(output, leaf, cotangent, retain_graph=True)
    return gradient


def _times(
    matrices: Float[Tensor, "networks k l"],
    vectors: Float[Tensor, "batch k"],
    *,
    offset: Float[Tensor, "networks l"] | None = None,
) -> Float[Tensor, "batch l"]:
    """Each row times the matrix of its network, plus an offset if one is given."""
    networks, length, _ = matrices.shape
    rows = vectors.reshape(networks, -1, length)
    if offset is None:
        return torch.bmm(rows, matrices).flatten(0, 1)
    return torch.baddbmm(offset[:, None], rows, matrices).flatten(0, 1)
