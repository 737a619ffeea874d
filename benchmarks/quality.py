"""How many gradients a loop takes until its images are there: m_g at most a tenth of m_r.

Gradients are counted, not timed, since their number does not depend on what else the machine does.
A budget of them ends what does not get there, and one of time what a slow machine would never end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.loops.loop import Loop
from benchmarks.tasks import Task
from harness.inversion.distances import l2

SHARE = 0.1
"""m_g over m_r at which an image is there."""

PATIENCE = 300
"""Gradients within which some image has to come nearer, or the run is given up."""

_NEARER = 0.99


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may take until its images are there.

    Parameters
    ----------
    gradients : int
        Evaluations of the network.
    seconds : float
        For machines so slow that they do not come to as many.
    """

    gradients: int
    seconds: float


SEARCH = Budget(gradients=100, seconds=60)
"""In which a setting is judged on one image, where there are several."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A way to get there.

    Parameters
    ----------
    setting : str
        What is set, for people.
    loop : callable
        Makes the loop for a task.
    length : int or None
        Steps of a loop that changes along its run by plan: it ends there, and a longer run is not
        a shorter one continued. A smaller budget shortens the plan. None for a loop that could go
        on.
    batch : int
        Images together when its gradients are timed.
    """

    setting: str
    loop: Callable[[Task], Loop]
    length: int | None = None
    batch: int = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrivals:
    """How a run went, one entry an image.

    Parameters
    ----------
    gradients : tuple of int or None
        Evaluations of the network until the image was there, that one included; None for an image
        that did not get there.
    nearest : tuple of float
        Least m_g over m_r.
    spent : int
        Evaluations in all.
    over : bool
        Whether more of them would have been in vain: the run was at its end by plan, or no image
        had come nearer for `PATIENCE` gradients.
    """

    gradients: tuple[int | None, ...]
    nearest: tuple[float, ...]
    spent: int
    over: bool

    @property
    def reached(self) -> int:
        """Images that got there."""
        return sum(count is not None for count in self.gradients)

    @property
    def mean(self) -> float:
        """Gradients that an image took, or was given where it did not get there."""
        counts = [self.spent if count is None else count for count in self.gradients]
        return sum(counts) / len(counts)

    @property
    def rate(self) -> float:
        """Images that got there for each gradient: what was spent on the others counts."""
        return self.reached / len(self.gradients) / self.mean

    @property
    def rate_at_most(self) -> float:
        """The rate of a run without an end: at most as if each image had come there at this one."""
        return self.rate if self.over else 1 / self.mean

    def better_than(self, other: Arrivals) -> bool:
        """Whether more images got there for the work, or came nearer where none did."""
        return (self.rate, -max(self.nearest)) > (other.rate, -max(other.nearest))


def arrivals(trial: Trial, task: Task, *, budget: Budget) -> Arrivals:
    """Run a trial on a task until all images are there, or as long as it makes sense."""
    planned = trial.length is not None
    watch = _Watch(task, budget=budget, planned=planned)
    with contextlib.suppress(_Over):
        trial.loop(task).run(min(trial.length or budget.gradients, budget.gradients), seen=watch)
    return Arrivals(
        gradients=tuple(watch.first.get(image) for image in range(task.batch)),
        nearest=tuple(watch.nearest.tolist()),
        spent=watch.count,
        over=watch.stuck or (planned and not watch.late),
    )


def best_trial(trials: Sequence[Trial], *, alone: Task) -> Trial:
    """The trial that does best within `SEARCH` on one image."""
    best, *others = trials
    if others:
        found = arrivals(best, alone, budget=SEARCH)
        for other in others:
            its = arrivals(other, alone, budget=SEARCH)
            if its.better_than(found):
                best, found = other, its
    return best


class _Over(Exception):  # noqa: N818  (no error: it ends a run from within)
    """The run need not go on."""


class _Watch:
    """Looks at the outputs of each evaluation."""

    def __init__(self, task: Task, *, budget: Budget, planned: bool) -> None:
        self._target, self._m_r = task.target, task.m_r
        self._budget, self._planned = budget, planned
        self._began = time.perf_counter()
        self._marked = torch.full_like(task.m_r, torch.inf)
        self._marked_at = 0
        self.nearest = self._marked
        self.count = 0
        self.first: dict[int, int] = {}
        self.stuck = self.late = False

    def __call__(self, output: Tensor) -> None:
        self.count += 1
        share = (l2(output - self._target) / self._m_r).nan_to_num(nan=torch.inf)
        for image in (share <= SHARE).nonzero().flatten().tolist():
            self.first.setdefault(image, self.count)
        nearer = (self.nearest > SHARE) & (share < _NEARER * self._marked)
        self.nearest = torch.minimum(self.nearest, share)
        if bool(nearer.any()):
            self._marked, self._marked_at = self.nearest, self.count
        self.late = time.perf_counter() - self._began >= self._budget.seconds
        if self.late or len(self.first) == len(share):
            raise _Over
        if self._planned:
            return  # it ends by itself
        self.stuck = self.count - self._marked_at >= PATIENCE
        # An iteration may take several evaluations.
        if self.stuck or self.count >= self._budget.gradients:
            raise _Over
