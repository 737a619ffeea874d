"""L-BFGS, batched: every sample has its own history, line search and end.

Nocedal and Wright, Numerical Optimization (2006): two-loop recursion (algorithm 7.4) scaled by
(7.20), backtracking under the Armijo condition (3.4), pairs without positive curvature (6.7)
skipped.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from harness.inversion.loss import Loss, loss_named
from harness.inversion.trace import Trace
from harness.settings import LBFGS
from harness.subjects.encoder import Encoder

_DECREASE = 1e-4
_SHRINK = 0.5
_TRIALS = 25
_CURVATURE = 1e-10


def run_lbfgs(
    encoder: Encoder,
    *,
    start: Tensor,
    target: Tensor,
    decoder: LBFGS,
    iterations: int,
    trace: Trace,
) -> Tensor:
    """Minimise the loss of every sample; returns the last images.

    A sample stops where its gradient has fallen to `decoder.tolerance` of the first, or where no
    step along the steepest descent lowers its loss any more (round-off); it then stays put.

    Parameters
    ----------
    encoder : Encoder
        O.
    start : tensor, shape (batch, ...)
        a0.
    target : tensor, shape (batch, ...)
        O(a).
    decoder : LBFGS
        History, tolerance and loss.
    iterations : int
        Steps to take at most.
    trace : Trace
        Filled along the way.
    """
    loss = loss_named(decoder.loss)
    copy = start
    value, residual, gradient = _evaluate(encoder, copy, target=target, loss=loss)
    history = _History(start.flatten(1), size=decoder.history)
    first = gradient.flatten(1).norm(dim=1)
    active = first > 0
    for iteration in range(iterations + 1):
        if trace.wants(iteration):
            trace.note(
                iteration,
                copy=copy,
                residual=residual,
                gradient=gradient,
                loss=value,
                step=torch.full_like(value, torch.nan),
            )
        if iteration == iterations or not active.any():
            continue
        direction = history.direction(gradient.flatten(1)).reshape(copy.shape)
        new_copy, new_value, new_residual, new_gradient, moved = _search(
            encoder,
            copy,
            direction=direction,
            value=value,
            gradient=gradient,
            active=active,
            target=target,
            loss=loss,
            scaled=history.pairs > 0,
        )
        history.add((new_copy - copy).flatten(1), (new_gradient - gradient).flatten(1), where=moved)
        # A sample whose search failed gets one more try along its steepest descent.
        stuck = active & ~moved
        active = active & ~(stuck & (history.pairs == 0))
        history.forget(where=stuck)
        copy, value, residual, gradient = new_copy, new_value, new_residual, new_gradient
        active = active & (gradient.flatten(1).norm(dim=1) > decoder.tolerance * first)
    return copy


def _evaluate(
    encoder: Encoder, copy: Tensor, *, target: Tensor, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    output, pullback = encoder.pull(copy)
    residual = output - target
    return loss.value(residual), residual, pullback(loss.cotangent(residual))


def _search(
    encoder: Encoder,
    copy: Tensor,
    *,
    direction: Tensor,
    value: Float[Tensor, " batch"],
    gradient: Tensor,
    active: Bool[Tensor, " batch"],
    target: Tensor,
    loss: Loss,
    scaled: Bool[Tensor, " batch"],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Bool[Tensor, " batch"]]:
    """Backtrack each sample from its own first step; samples that find none stay where they are."""
    slope = (direction * gradient).flatten(1).sum(1)
    # Without a pair the direction has the scale of a gradient: a first step of 1 in the loss's own
    # scale is f / |g|^2, Polyak's step for a least value of 0.
    size = torch.where(scaled, torch.ones_like(value), value / (-slope).clamp_min(1e-300))
    searching = active & (slope < 0)
    accepted = torch.zeros_like(active)
    for _ in range(_TRIALS):
        stepped = torch.where(searching | accepted, size, torch.zeros_like(size))
        trial = copy + stepped.reshape(-1, *[1] * (copy.dim() - 1)) * direction
        output, pullback = encoder.pull(trial)
        residual = output - target
        trial_value = loss.value(residual)
        enough = trial_value <= value + _DECREASE * size * slope
        newly = searching & enough
        accepted = accepted | newly
        searching = searching & ~enough
        if not searching.any():
            break
        size = torch.where(searching, size * _SHRINK, size)
    else:
        stepped = torch.where(accepted, size, torch.zeros_like(size))
        trial = copy + stepped.reshape(-1, *[1] * (copy.dim() - 1)) * direction
        output, pullback = encoder.pull(trial)
        residual = output - target
        trial_value = loss.value(residual)
    return trial, trial_value, residual, pullback(loss.cotangent(residual)), accepted


class _History:
    """The last pairs of steps and changes of gradient, a ring for each sample."""

    def __init__(self, like: Float[Tensor, "batch n"], *, size: int) -> None:
        batch, n = like.shape
        self._steps = like.new_zeros(size, batch, n)
        self._changes = like.new_zeros(size, batch, n)
        self._inverse = like.new_zeros(size, batch)
        self._gamma = like.new_ones(batch)
        self._next = 0
        # Added since the last `forget`; that the ring has dropped the oldest does not matter.
        self.pairs: Tensor = torch.zeros(batch, dtype=torch.long, device=like.device)

    def add(
        self,
        step: Float[Tensor, "batch n"],
        change: Float[Tensor, "batch n"],
        *,
        where: Bool[Tensor, " batch"],
    ) -> None:
        """Add a pair for the samples that moved and whose pair has positive curvature."""
        product = (step * change).sum(1)
        square = change.square().sum(1)
        good = where & (product > _CURVATURE * square.sqrt() * step.norm(dim=1))
        # A slot without a pair has inverse 0 and drops out of both loops.
        row = self._next
        self._steps[row] = torch.where(good[:, None], step, 0)
        self._changes[row] = torch.where(good[:, None], change, 0)
        self._inverse[row] = torch.where(good, 1 / product, 0)
        self._gamma = torch.where(good, product / square, self._gamma)
        self.pairs = self.pairs + good
        self._next = (row + 1) % len(self._steps)

    def forget(self, *, where: Bool[Tensor, " batch"]) -> None:
        """Drop all pairs of some samples."""
        self._inverse[:, where] = 0
        self._gamma = torch.where(where, 1, self._gamma)
        self.pairs = torch.where(where, 0, self.pairs)

    def direction(self, gradient: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        """-H g by the two-loop recursion; -g for a sample without pairs."""
        size = len(self._steps)
        newest_first = [(self._next - 1 - back) % size for back in range(size)]
        rest = gradient
        shares = {}
        for row in newest_first:
            shares[row] = self._inverse[row] * (self._steps[row] * rest).sum(1)
            rest = rest - shares[row][:, None] * self._changes[row]
        result = self._gamma[:, None] * rest
        for row in reversed(newest_first):
            back = self._inverse[row] * (self._changes[row] * result).sum(1)
            result = result + (shares[row] - back)[:, None] * self._steps[row]
        return -result
