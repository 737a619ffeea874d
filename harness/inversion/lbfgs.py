"""L-BFGS, batched: every sample has its own history, line search and end.

Nocedal and Wright, Numerical Optimization (2006): two-loop recursion (algorithm 7.4) scaled by
(7.20), backtracking by quadratic interpolation (3.58) under the Armijo condition (3.4), pairs
without positive curvature (6.7) skipped.

A step is one evaluation, a trial on the line of each sample. Some samples accept theirs and turn,
others go back on their lines: no sample waits for another, and nothing is decided on the host.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.distances import l2, per_sample
from harness.inversion.clock import Clock, HostClock
from harness.inversion.method import LATEST, Ending, View, ending_at_start
from harness.inversion.problem import Problem
from harness.settings import LBFGS

_DECREASE = 1e-4
_SHRINK = (0.1, 0.5)
_TRIALS = 25
_CURVATURE = 1e-10


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Steps and changes of the gradient, rings with a row an evaluation.

    A trial that a sample rejects takes a row as well, in the place of the oldest: the samples of a
    batch share one clock, which a CUDA graph can read, and no row is moved.

    Parameters
    ----------
    steps, changes : tensor, shape (history, batch, n)
        s and y; 0 in a row that holds no pair of a sample.
    inverse : tensor, shape (history, batch)
        1 / (s y); 0 likewise, so that such a row drops out of the recursion.
    gamma : tensor, shape (batch,)
        s y / y y of the last pair, 1 before there is one; it stays when that pair's row is
        written over.
    count : tensor of int, shape (batch,)
        Pairs added since a sample last began along its steepest descent, still there or not.
    """

    steps: Float[Tensor, "history batch n"]
    changes: Float[Tensor, "history batch n"]
    inverse: Float[Tensor, "history batch"]
    gamma: Float[Tensor, " batch"]
    count: Int[Tensor, " batch"]

    @classmethod
    def none(cls, like: Float[Tensor, "batch n"], *, size: int) -> Pairs:
        """Room for pairs."""
        batch, n = like.shape
        return cls(
            steps=like.new_zeros(size, batch, n),
            changes=like.new_zeros(size, batch, n),
            inverse=like.new_zeros(size, batch),
            gamma=like.new_ones(batch),
            count=torch.zeros(batch, dtype=torch.long, device=like.device),
        )

    def add(
        self,
        step: Float[Tensor, "batch n"],
        change: Float[Tensor, "batch n"],
        *,
        where: Bool[Tensor, " batch"],
        clock: Clock,
    ) -> Pairs:
        """Add the pairs of some samples, as far as they have positive curvature, in place.

        The row of this evaluation is written for all: to the others it holds no pair.
        """
        product, square = (step * change).sum(1), change.square().sum(1)
        good = where & (product > _CURVATURE * square.sqrt() * l2(step))
        clock.write(self.steps, torch.where(good[:, None], step, 0))
        clock.write(self.changes, torch.where(good[:, None], change, 0))
        clock.write(self.inverse, torch.where(good, 1 / product, 0))
        return dataclasses.replace(
            self,
            gamma=torch.where(good, product / square, self.gamma),
            count=self.count + good,
        )

    def forget(self, *, where: Bool[Tensor, " batch"]) -> Pairs:
        """Drop all pairs of some samples, in place."""
        self.inverse.masked_fill_(where, 0)
        return dataclasses.replace(
            self,
            gamma=torch.where(where, 1, self.gamma),
            count=torch.where(where, 0, self.count),
        )

    def direction(
        self, gradient: Float[Tensor, "batch n"], *, clock: Clock
    ) -> Float[Tensor, "batch n"]:
        """-H g by the two-loop recursion; -g for a sample without pairs."""
        rows = [
            [clock.read(ring, back=back) for ring in (self.steps, self.changes, self.inverse)]
            for back in range(len(self.steps))
        ]
        rest, shares = gradient, []
        for step, change, inverse in rows:
            shares.append(inverse * (step * rest).sum(1))
            rest = torch.addcmul(rest, shares[-1][:, None], change, value=-1)
        result = self.gamma[:, None] * rest
        for (step, change, inverse), share in zip(reversed(rows), reversed(shares), strict=True):
            back = share - inverse * (change * result).sum(1)
            result = torch.addcmul(result, back[:, None], step)
        return -result


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGSState:
    """A point of each sample, and the line on which the next trial lies.

    Parameters
    ----------
    point, gradient : tensor, shape (batch, ...)
        The point accepted last, and the gradient there.
    value, misfit : tensor, shape (batch,)
        The objective and m_g there.
    first : tensor, shape (batch,)
        The gradient's norm at the start.
    direction : tensor, shape (batch, ...)
        Of the line.
    slope, size : tensor, shape (batch,)
        Derivative along the line, and where the next trial lies.
    trials : tensor of int, shape (batch,)
        Made on this line.
    pairs : Pairs
        The history.
    ending : tensor of int, shape (batch,)
        As in `View`.
    """

    point: Tensor
    gradient: Tensor
    value: Float[Tensor, " batch"]
    misfit: Float[Tensor, " batch"]
    first: Float[Tensor, " batch"]
    direction: Tensor
    slope: Float[Tensor, " batch"]
    size: Float[Tensor, " batch"]
    trials: Int[Tensor, " batch"]
    pairs: Pairs
    ending: Int[Tensor, " batch"]


@dataclasses.dataclass(frozen=True)
class LBFGSMethod:
    """Minimise the objective of every sample.

    A sample ends where its gradient has fallen to `decoder.stationary` of the first, or where no
    step along its steepest descent lowers the objective any more; it then stays put.
    """

    decoder: LBFGS
    problem: Problem

    def begin(self, start: Tensor) -> LBFGSState:
        """The state at a start; the first trial lies along the steepest descent."""
        found = self.problem.visit(start, HostClock(0))
        value, norm = self.problem.value(found), l2(found.gradient)
        return LBFGSState(
            point=start,
            gradient=found.gradient,
            value=value,
            misfit=l2(found.residual),
            first=norm,
            direction=-found.gradient,
            slope=-norm.square(),
            size=_polyak(value, norm.square()),
            trials=torch.zeros_like(value, dtype=torch.long),
            pairs=Pairs.none(start.flatten(1), size=self.decoder.history),
            ending=ending_at_start(norm),
        )

    def step(self, state: LBFGSState, clock: Clock) -> LBFGSState:
        """One trial of every sample, and what follows from it."""
        moved = per_sample(state.size, like=state.point) * state.direction
        found = self.problem.visit(state.point + moved, clock.next())
        value = self.problem.value(found)
        running = state.ending == Ending.LENGTH
        enough = value <= state.value + _DECREASE * state.size * state.slope
        accepted = running & enough & (state.slope < 0)

        def taken(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(per_sample(accepted, like=old), new, old)

        point = taken(state.point + moved, state.point)
        gradient = taken(found.gradient, state.gradient)
        best, norm = taken(value, state.value), l2(gradient)
        # A line without success: once more along the steepest descent, then no more.
        trials = torch.where(accepted, 0, state.trials + 1)
        failed = running & ((trials == _TRIALS) | (state.slope >= 0))
        stuck = failed & (state.pairs.count == 0)
        stationary = accepted & (norm <= self.decoder.stationary * state.first)
        pairs = state.pairs.add(
            moved.flatten(1),
            (found.gradient - state.gradient).flatten(1),
            where=accepted,
            clock=clock,
        ).forget(where=failed)
        direction = pairs.direction(gradient.flatten(1), clock=clock).reshape(point.shape)
        slope = (direction * gradient).flatten(1).sum(1)
        turned = accepted | failed
        fresh = torch.where(pairs.count > 0, 1, _polyak(best, norm.square()))
        return LBFGSState(
            point=point,
            gradient=gradient,
            value=best,
            misfit=taken(l2(found.residual), state.misfit),
            first=state.first,
            direction=torch.where(per_sample(turned, like=point), direction, state.direction),
            slope=torch.where(turned, slope, state.slope),
            size=torch.where(turned, fresh, _shorter(state, value)),
            trials=torch.where(failed, 0, trials),
            pairs=pairs,
            ending=torch.where(
                stuck,
                Ending.STUCK.value,
                torch.where(stationary, Ending.STATIONARY.value, state.ending),
            ),
        )

    def look(self, state: LBFGSState) -> View:
        """Where the samples stand: at the points accepted last."""
        return View(
            point=state.point,
            value=state.value,
            misfit=state.misfit,
            gradient=state.gradient,
            ending=state.ending,
            at=torch.full_like(state.ending, LATEST),
        )

    def size(self, state: LBFGSState, _: Clock, /) -> Tensor:
        """No step along the gradient: nan."""
        return state.point.new_full((), math.nan)


def _polyak(
    value: Float[Tensor, " batch"], square: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """A first step in the objective's own scale: f / |g|^2, Polyak's for a least value of 0."""
    return value / square.clamp_min(torch.finfo(value.dtype).tiny)


def _shorter(state: LBFGSState, value: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The minimum of the parabola through what is known of the line, within bounds."""
    excess = value - state.value - state.size * state.slope
    ratio = -state.size * state.slope / (2 * excess)
    low, high = _SHRINK
    # A trial that is not finite says nothing about where to go, but to go back.
    return state.size * torch.nan_to_num(ratio, nan=high).clamp(low, high)
