"""Losses of the difference between outputs, with their derivatives, one value for each sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from harness.inversion.distances import total


@dataclasses.dataclass(frozen=True)
class Loss:
    """A convex function of the residual O(a_n) - O(a).

    Parameters
    ----------
    value : callable
        From residuals, shape (batch, ...), to the loss of each sample, shape (batch,).
    cotangent : callable
        From residuals to the derivative of the loss with respect to them, in the same shape.
    """

    value: Callable[[Tensor], Tensor]
    cotangent: Callable[[Tensor], Tensor]


LOSS: Mapping[str, Loss] = {
    # The sum of absolute differences, the article's loss; its derivative at 0 is 0.
    "l1": Loss(lambda residual: total(residual.abs()), torch.sign),
    # Half the sum of squares, so that its derivative is the residual itself.
    "l2": Loss(lambda residual: total(residual.square()) / 2, lambda residual: residual),
}
"""By the names in `harness.plan.decoders.LOSSES`."""
