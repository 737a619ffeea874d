"""Losses of the difference between outputs, with their derivatives, one value for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from harness.inversion.distances import total


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


LOSS: Mapping[str, Loss] = {"l1": L1(), "l2": L2()}
"""By the names in `harness.plan.decoders.LOSSES`."""
