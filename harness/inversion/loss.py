"""Losses on the difference of outputs, with their derivatives, one value a sample."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.errors import UnknownNameError
from harness.inversion.distances import per_sample, total
from harness.plan.decoders import LOSSES


@runtime_checkable
class Loss(Protocol):
    """A convex function of the residual O(a_n) - O(a)."""

    def value(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        ...

    def cotangent(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The derivative of the loss with respect to the residual."""
        ...


class L1:
    """Sum of absolute differences, the article's loss; its derivative at 0 is 0."""

    def value(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        return total(residual.abs())

    def cotangent(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """sign(residual)."""
        return residual.sign()


class L2:
    """Half the sum of squares, so that its derivative is the residual itself."""

    def value(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        return total(residual.square()) / 2

    def cotangent(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The residual."""
        return residual


@dataclasses.dataclass(frozen=True)
class RelativeL2:
    """Half the sum of squares over that of the target: 1/2 for an output of 0, at any layer.

    Parameters
    ----------
    square : tensor, shape (batch,)
        Squared norm of each sample's target.
    """

    square: Float[Tensor, " batch"]

    def value(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        return total(residual.square()) / (2 * self.square)

    def cotangent(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The residual over the target's squared norm."""
        return residual / per_sample(self.square, like=residual)


def make_loss(name: str, *, target: Float[Tensor, "batch ..."]) -> Loss:
    """The loss of a name for a target.

    Raises
    ------
    UnknownNameError
        Where there is none.
    """
    match name:
        case "l1":
            return L1()
        case "l2":
            return L2()
        case "relative-l2":
            square = total(target.square())
            return RelativeL2(square.clamp_min(torch.finfo(target.dtype).tiny))
        case _:
            raise UnknownNameError.nearest(name, LOSSES, what="loss")
