"""How many gradients a loop needs to reconstruct its images: until m_g is at most m_r / 10.

Gradients are counted, not timed, so that their number does not depend on the machine's load.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.loops.loop import Loop
from benchmarks.tasks import Task
from harness.inversion.distances import l2

SHARE = 0.1
"""m_g over m_r at which an image counts as reconstructed."""

SEARCH = 100
"""Gradients after which a setting is judged on one image, where there are several."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A way to reconstruct images.

    Parameters
    ----------
    setting : str
        What is set, for people.
    loop : callable
        Makes the loop for a task.
    gradients : int
        Evaluations of the network at most. A schedule is laid over as many steps.
    batch : int
        Images together when its gradients are timed.
    """

    setting: str
    loop: Callable[[Task], Loop]
    gradients: int
    batch: int = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrivals:
    """How a run went, one entry an image.

    Parameters
    ----------
    gradients : tuple of int or None
        Evaluations of the network until the image was reconstructed; None where it was not.
    nearest : tuple of float
        Least m_g over m_r.
    spent : int
        Evaluations in all.
    """

    gradients: tuple[int | None, ...]
    nearest: tuple[float, ...]
    spent: int

    @property
    def reached(self) -> int:
        """Images reconstructed."""
        return sum(count is not None for count in self.gradients)

    @property
    def mean(self) -> float:
        """Gradients that an image took, or was given where it was not reconstructed."""
        counts = [self.spent if count is None else count for count in self.gradients]
        return sum(counts) / len(counts)

    @property
    def rate(self) -> float:
        """Images reconstructed for each gradient; those spent on the others count."""
        return self.reached / len(self.gradients) / self.mean

    @property
    def rate_at_most(self) -> float:
        """The rate if the remaining images had been reconstructed by the last gradient."""
        return 1 / self.mean

    def better_than(self, other: Arrivals) -> bool:
        """Whether the rate is higher, or the worst image nearer where rates are equal."""
        return (self.rate, -max(self.nearest)) > (other.rate, -max(other.nearest))


def arrivals(trial: Trial, task: Task, *, gradients: int | None = None) -> Arrivals:
    """Run a trial until all images are reconstructed, or for as many gradients as it has.

    Parameters
    ----------
    trial, task
        What is run on what.
    gradients : int or None
        Evaluations at most; None takes the trial's own.
    """
    watch = _Watch(task, gradients=gradients or trial.gradients)
    with contextlib.suppress(_Over):
        trial.loop(task).run(watch.gradients, observe=watch)
    return Arrivals(
        gradients=tuple(watch.first.get(image) for image in range(task.batch)),
        nearest=tuple(watch.nearest.tolist()),
        spent=watch.count,
    )


def best_trial(trials: Sequence[Trial], *, alone: Task) -> Trial:
    """The trial that does best on one image, within `SEARCH` gradients."""
    best, *others = trials
    if others:
        found = arrivals(best, alone, gradients=SEARCH)
        for other in others:
            its = arrivals(other, alone, gradients=SEARCH)
            if its.better_than(found):
                best, found = other, its
    return best


class _Over(Exception):  # noqa: N818  (no error: it ends a run from within)
    """The run need not go on."""


class _Watch:
    """Observes the outputs of each evaluation."""

    def __init__(self, task: Task, *, gradients: int) -> None:
        self.gradients = gradients
        self._target, self._m_r = task.target, task.m_r
        self.nearest = torch.full_like(task.m_r, torch.inf)
        self.count = 0
        self.first: dict[int, int] = {}

    def __call__(self, output: Tensor) -> None:
        self.count += 1
        share = (l2(output - self._target) / self._m_r).nan_to_num(nan=torch.inf)
        self.nearest = torch.minimum(self.nearest, share)
        for image in (share <= SHARE).nonzero().flatten().tolist():
            self.first.setdefault(image, self.count)
        # A step may take several evaluations; the last step's result takes one of its own.
        if len(self.first) == len(share) or self.count > self.gradients:
            raise _Over
