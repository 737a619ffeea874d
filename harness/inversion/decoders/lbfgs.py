"""L-BFGS, batched: every sample has its own history, line search and end.

Nocedal and Wright, Numerical Optimization (2006): two-loop recursion (algorithm 7.4) scaled by
(7.20), backtracking by quadratic interpolation (3.58) under the Armijo condition (3.4), pairs
without positive curvature (6.7) skipped. The loops of the recursion are triangular solves (Byrd,
Nocedal and Schnabel 1994, Representations of quasi-Newton matrices and their use in limited memory
methods, theorem 2.2).

A step is one evaluation, a trial of the line search of each sample. Some samples accept theirs and
take a new direction, others shorten theirs: no sample waits for another, and nothing is decided on
the host.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.inversion.clock import Clock, HostClock
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.distances import l2, per_sample
from harness.inversion.method import SampleState, TerminationReason, reason_at_start
from harness.inversion.objective import Problem
from harness.plan.decoders import QuasiNewton

_DECREASE = 1e-4
_SHRINK = (0.1, 0.5)
_TRIALS = 25
_CURVATURE = 1e-10


@runtime_checkable
class InitialInverse(Protocol):
    """H0, what H is before any pair, but for the factor gamma; symmetric and positive."""

    def apply(self, vector: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """H0 v, in the shape of v: that of the point, or flat."""
        ...

    def square(
        self, vector: Float[Tensor, "batch ..."], applied: Float[Tensor, "batch ..."], /
    ) -> Float[Tensor, " batch"]:
        """The product v H0 v, given H0 v as well."""
        ...


@runtime_checkable
class InitialInverses(Protocol):
    """H0 along a run."""

    @property
    def constant(self) -> bool:
        """Whether it is the identity at any time, so that products of pairs can be kept."""
        ...

    def at(self, clock: Clock) -> InitialInverse:
        """After so many gradients; that of the start is number 0."""
        ...


class Identity:
    """H0 = I, at any time."""

    constant = True

    def at(self, _: Clock, /) -> Identity:
        """Itself."""
        return self

    def apply(self, vector: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The vector itself."""
        return vector

    def square(
        self, vector: Float[Tensor, "batch ..."], _: Float[Tensor, "batch ..."], /
    ) -> Float[Tensor, " batch"]:
        """The squared norm."""
        return l2(vector).square()


IDENTITY = Identity()


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Steps and changes of the gradient, in ring buffers with a row for each evaluation.

    A trial that a sample rejects takes a row as well, replacing the oldest: the samples of a batch
    share one clock, which a CUDA graph can read, and no row is moved.

    Parameters
    ----------
    steps, changes : tensor, shape (history, batch, n)
        s and y.
    curvature : tensor, shape (history, batch)
        s y, which is positive; 0 if a row holds no pair of a sample, whatever else it holds.
    crossed : tensor, shape (history, batch, history)
        s_i y_j.
    squares : tensor, shape (history, batch, history), or None
        y_i y_j; None where H0 is not the identity, since y_i H0 y_j change with it.
    gamma : tensor, shape (batch,)
        s y / y H0 y of the last pair, 1 before there is one; it stays when that pair's row is
        overwritten.
    count : tensor of int, shape (batch,)
        Pairs added since the last step along the steepest descent, whether or not still held.
    """

    steps: Float[Tensor, "history batch n"]
    changes: Float[Tensor, "history batch n"]
    curvature: Float[Tensor, "history batch"]
    crossed: Float[Tensor, "history batch history"]
    squares: Float[Tensor, "history batch history"] | None
    gamma: Float[Tensor, " batch"]
    count: Int[Tensor, " batch"]

    @classmethod
    def none(cls, like: Float[Tensor, "batch n"], *, size: int, squares: bool = True) -> Pairs:
        """Buffers without pairs, with or without `squares`."""
        batch, n = like.shape
        return cls(
            steps=like.new_zeros(size, batch, n),
            changes=like.new_zeros(size, batch, n),
            curvature=like.new_zeros(size, batch),
            crossed=like.new_zeros(size, batch, size),
            squares=like.new_zeros(size, batch, size) if squares else None,
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
        initial: InitialInverse = IDENTITY,
    ) -> Pairs:
        """Add the pairs of some samples if they have positive curvature, in place.

        This evaluation's row is written for all samples; for the others it holds no pair.
        """
        product, square = (step * change).sum(1), change.square().sum(1)
        # A product as small as rounding is no curvature.
        least = max(_CURVATURE, torch.finfo(step.dtype).eps)
        good = where & (product > least * square.sqrt() * l2(step))
        step, change = (torch.where(good[:, None], new, 0) for new in (step, change))
        clock.write(self.steps, step)
        clock.write(self.changes, change)
        clock.write(self.curvature, torch.where(good, product, 0))
        clock.write(self.crossed, _dots(self.changes, step))
        clock.write(self.crossed.transpose(0, 2), _dots(self.steps, change))
        if self.squares is not None:
            along = _dots(self.changes, change)
            clock.write(self.squares, along)
            clock.write(self.squares.transpose(0, 2), along)
        weighed = (change * initial.apply(change)).sum(1)
        return dataclasses.replace(
            self,
            gamma=torch.where(good, product / weighed, self.gamma),
            count=self.count + good,
        )

    def forget(self, *, where: Bool[Tensor, " batch"]) -> Pairs:
        """Drop all pairs of some samples, in place."""
        self.curvature.masked_fill_(where, 0)
        return dataclasses.replace(
            self,
            gamma=torch.where(where, 1, self.gamma),
            count=torch.where(where, 0, self.count),
        )

    def direction(
        self,
        gradient: Float[Tensor, "batch n"],
        *,
        clock: Clock,
        initial: InitialInverse = IDENTITY,
    ) -> Float[Tensor, "batch n"]:
        """-H g; -H0 g for a sample without pairs.

        With S and Y of the pairs as rows, newest first, L the lower triangle of S Y^T and D its
        diagonal, the loops of the recursion solve L a = S g and
        L^T b = D a - gamma Y H0 (g - Y^T a), and H g = gamma H0 (g - Y^T a) + S^T b.
        """
        size = len(self.steps)
        # From age to row, and back.
        turn = (clock.now - torch.arange(size, device=gradient.device)) % size
        curvature, gamma = self.curvature[turn].t(), self.gamma[:, None]
        held = curvature > 0
        both = held[:, :, None] & held[:, None]

        def of_pairs(products: Tensor) -> Tensor:
            return torch.where(both, products[turn][:, :, turn].transpose(0, 1), 0)

        def along(rows: Tensor, vector: Tensor) -> Tensor:
            return torch.where(held, _dots(rows, vector)[:, turn], 0)

        # A row without a pair contributes 0.
        lower = of_pairs(self.crossed).tril(-1) + torch.diag_embed(torch.where(held, curvature, 1))
        first = _solve(lower, along(self.steps, gradient), upper=False)
        rest = initial.apply(gradient - _combined(self.changes, first[:, turn]))
        if self.squares is None:
            met = along(self.changes, rest)
        else:
            squares = of_pairs(self.squares)
            met = along(self.changes, gradient) - torch.bmm(squares, first[:, :, None])[:, :, 0]
        second = _solve(lower.mT, curvature * first - gamma * met, upper=True)
        return -(gamma * rest + _combined(self.steps, second[:, turn]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGSState:
    """A point of each sample, and the line search from there.

    Parameters
    ----------
    here : SampleState
        At the last accepted point.
    first_norm, first_value : tensor, shape (batch,)
        The gradient's norm and the objective at the start.
    direction : tensor, shape (batch, ...)
        Of the line search.
    slope, size : tensor, shape (batch,)
        Derivative along it, and the size of the next trial.
    trials, kicks : tensor of int, shape (batch,)
        Trials of this line search, and kicks of the run, so far.
    kicked : tensor of bool, shape (batch,)
        Whether the next trial is a kick, which is accepted in any case.
    pairs : Pairs
        The history.
    """

    here: SampleState
    first_norm: Float[Tensor, " batch"]
    first_value: Float[Tensor, " batch"]
    direction: Tensor
    slope: Float[Tensor, " batch"]
    size: Float[Tensor, " batch"]
    trials: Int[Tensor, " batch"]
    kicks: Int[Tensor, " batch"]
    kicked: Bool[Tensor, " batch"]
    pairs: Pairs


@dataclasses.dataclass(frozen=True)
class LBFGSMethod:
    """Minimise the objective of every sample.

    A sample ends once its gradient has fallen to `decoder.stationary` of the first, or once no step
    along its steepest descent lowers the objective any more and kicks are spent or not due; it then
    stays where it is.

    Parameters
    ----------
    decoder : QuasiNewton
        Its settings.
    problem : Problem
        What is minimised.
    noise : Kicks
        Of the run.
    initial : InitialInverses
        H0; the steepest descent is that along -H0 g.
    """

    decoder: QuasiNewton
    problem: Problem
    noise: Kicks
    initial: InitialInverses = IDENTITY

    def begin(self, start: Tensor) -> LBFGSState:
        """The state at a start; the first trial is along the steepest descent."""
        here = self.problem.sample_state(self.problem.evaluate(start))
        norm = l2(here.gradient)
        initial = self.initial.at(HostClock(0))
        applied = initial.apply(here.gradient)
        square = initial.square(here.gradient, applied)
        return LBFGSState(
            here=dataclasses.replace(here, reason=reason_at_start(norm)),
            first_norm=norm,
            first_value=here.value,
            direction=-applied,
            slope=-square,
            size=_polyak(here.value, square),
            trials=torch.zeros_like(here.reason),
            kicks=torch.zeros_like(here.reason),
            kicked=torch.zeros_like(here.reason, dtype=torch.bool),
            pairs=Pairs.none(
                start.flatten(1), size=self.decoder.history, squares=self.initial.constant
            ),
        )

    def step(self, state: LBFGSState, clock: Clock) -> LBFGSState:
        """One trial of every sample, and what it implies."""
        here = state.here
        moved = per_sample(state.size, like=here.point) * state.direction
        found = self.problem.evaluate(here.point + moved)
        value = self.problem.value(found)
        running = here.reason == TerminationReason.LENGTH
        enough = value <= here.value + _DECREASE * state.size * state.slope
        searched = running & enough & (state.slope < 0) & ~state.kicked
        accepted = searched | (running & state.kicked & value.isfinite())

        def taken(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(per_sample(accepted, like=old), new, old)

        point = taken(here.point + moved, here.point)
        gradient = taken(found.gradient, here.gradient)
        best, norm = taken(value, here.value), l2(gradient)
        # After a line search that failed, one along the steepest descent; after that, a kick.
        trials = torch.where(accepted, 0, state.trials + 1)
        failed = running & ~accepted & ((trials == _TRIALS) | (state.slope >= 0) | state.kicked)
        lost = failed & (state.pairs.count == 0)
        kicked = running & self.noise.due(
            lost,
            norm=norm,
            value=best,
            first=(state.first_norm, state.first_value),
            count=state.kicks,
        )
        stuck = lost & ~kicked
        stationary = accepted & ~kicked & (norm <= self.decoder.stationary * state.first_norm)
        initial = self.initial.at(clock.next())
        pairs = state.pairs.add(
            moved.flatten(1),
            (found.gradient - here.gradient).flatten(1),
            where=searched,
            clock=clock,
            initial=initial,
        ).forget(where=failed | kicked)
        direction = pairs.direction(gradient.flatten(1), clock=clock, initial=initial)
        direction = direction.reshape(point.shape)
        # Where it matters there is no pair, and -H g is -H0 g.
        square = initial.square(gradient, -direction)
        direction = torch.where(
            per_sample(kicked, like=point), self.noise.at(state.kicks), direction
        )
        slope = (direction * gradient).flatten(1).sum(1)
        turned = accepted | failed
        fresh = torch.where(kicked | (pairs.count > 0), 1, _polyak(best, square))
        return LBFGSState(
            here=SampleState(
                point=point,
                gradient=gradient,
                value=best,
                misfit=taken(l2(found.residual), here.misfit),
                reason=torch.where(
                    stuck,
                    TerminationReason.STUCK.value,
                    torch.where(stationary, TerminationReason.STATIONARY.value, here.reason),
                ),
                at=here.at,
            ),
            first_norm=state.first_norm,
            first_value=state.first_value,
            direction=torch.where(per_sample(turned, like=point), direction, state.direction),
            slope=torch.where(turned, slope, state.slope),
            size=torch.where(turned, fresh, _shorter(state, value)),
            trials=torch.where(failed, 0, trials),
            kicks=state.kicks + kicked,
            kicked=kicked,
            pairs=pairs,
        )

    def sample_state(self, state: LBFGSState) -> SampleState:
        """Where the samples stand: at their last accepted points."""
        return state.here

    def size(self, state: LBFGSState, _: Clock, /) -> Tensor:
        """nan, since steps are not along the gradient."""
        return state.here.point.new_full((), math.nan)


def _polyak(
    value: Float[Tensor, " batch"], square: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """A first step on the objective's own scale: f / g H0 g, Polyak's for a least value of 0."""
    return value / square.clamp_min(torch.finfo(value.dtype).tiny)


def _shorter(state: LBFGSState, value: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The minimum, within bounds, of the parabola through what is known along the line."""
    excess = value - state.here.value - state.size * state.slope
    ratio = -state.size * state.slope / (2 * excess)
    low, high = _SHRINK
    # A value that is not finite only says that the step was too long.
    return state.size * torch.nan_to_num(ratio, nan=high).clamp(low, high)


def _dots(
    rows: Float[Tensor, "history batch n"], vector: Float[Tensor, "batch n"]
) -> Float[Tensor, "batch history"]:
    """The product of each row with a sample's vector."""
    return torch.bmm(rows.transpose(0, 1), vector[:, :, None])[:, :, 0]


def _combined(
    rows: Float[Tensor, "history batch n"], weights: Float[Tensor, "batch history"]
) -> Float[Tensor, "batch n"]:
    """The weighted sum of a sample's rows."""
    return torch.bmm(weights[:, None], rows.transpose(0, 1))[:, 0]


def _solve(
    triangle: Float[Tensor, "batch history history"],
    right: Float[Tensor, "batch history"],
    *,
    upper: bool,
) -> Float[Tensor, "batch history"]:
    solution: Tensor = torch.linalg.solve_triangular(triangle, right[:, :, None], upper=upper)
    return solution[:, :, 0]
