"""Losses on the difference of outputs, with their derivatives, one value a sample."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from harness.errors import UnknownNameError


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
        return residual.flatten(1).abs().sum(1)

    def cotangent(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """sign(residual)."""
        return residual.sign()


class L2:
    """Half the sum of squares, so that its derivative is the residual itself."""

    def value(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """The loss of each sample."""
        return residual.flatten(1).square().sum(1) / 2

    def cotangent(self, residual: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The residual."""
        return residual


LOSSES: dict[str, Loss] = {"l1": L1(), "l2": L2()}


def loss_named(name: str) -> Loss:
    """The loss of a name.

    Raises
    ------
    UnknownNameError
        Where there is none.
    """
    if name not in LOSSES:
        raise UnknownNameError.nearest(name, LOSSES, what="loss")
    return LOSSES[name]
