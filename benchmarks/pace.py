"""How fast loops go."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.loops.loop import Loop
from harness.execution.peak_rate import synchronize

SECONDS = 0.1
"""Least time of a round: short ones find the quiet moments of a shared machine."""

LEAST, MOST = 6, 16
"""Rounds at least and at most: on a busy machine three were all slow, twice as slow as the best."""


class Pace:
    """Rounds of loops, timed; the fastest counts, since whatever disturbs one makes it slower.

    On a CPU the time of a run is that from its first evaluation of the network to its last, so that
    what a loop does before and after its steps does not count. On a GPU, where the host knows
    nothing of evaluations, it is what a run of twice the steps takes longer: the fastest of either
    length, since a run begins with captures that take as long as many steps, never quite the same.

    Parameters
    ----------
    loops : sequence of Loop
        Run one after the other in each round.
    images : int
        That they recover together.
    device : torch.device
        Where.
    seconds : float or None
        Least time of a round, as far as a few steps foretell it; None takes `SECONDS`.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        *,
        images: int,
        device: torch.device,
        seconds: float | None = None,
    ) -> None:
        self.images = images
        self._loops, self._device = tuple(loops), device
        self._on_gpu = device.type == "cuda"
        self._fastest: dict[tuple[int, int], float] = {}
        self._spent = 0.0
        self._run(1)  # warms the caches
        self.steps = 2
        self._seconds = [self._run(2)[1]]
        least = SECONDS if seconds is None else seconds
        if not self._on_gpu:
            self.steps = max(2, math.ceil(least / self._seconds[0]))
        while self._on_gpu and self.round_seconds < least:  # a few steps foretell nothing
            self.steps *= 4
            self._seconds = [self._run(self.steps)[1]]

    def round(self) -> Tensor:
        """One round; returns the images reached."""
        images, seconds = self._run(self.steps)
        self._seconds.append(seconds)
        return images

    @property
    def round_seconds(self) -> float:
        """Time of the steps of a round, as far as is known."""
        return self.steps * self.step_seconds

    @property
    def whole_seconds(self) -> float:
        """Time of a round with what goes before and after its steps, as far as is known."""
        return max(self._spent, self.round_seconds)

    @property
    def step_seconds(self) -> float:
        """Time of a step on all images: in the fastest round, or by the fastest runs of a GPU."""
        return self._seconds[-1] if self._on_gpu else min(self._seconds)

    @property
    def image_steps_per_second(self) -> float:
        """Images over the time of a step."""
        return self.images / self.step_seconds

    def _run(self, steps: int) -> tuple[Tensor, float]:
        """The images reached, and the time of a step on all of them."""
        began = time.perf_counter()
        parts = [self._time(number, steps) for number in range(len(self._loops))]
        self._spent = time.perf_counter() - began
        return torch.cat([images for images, _ in parts]), sum(seconds for _, seconds in parts)

    def _time(self, number: int, steps: int) -> tuple[Tensor, float]:
        """The images that a loop reaches, and the time of its steps."""
        if self._on_gpu:
            _, once = self._whole(number, steps)
            images, twice = self._whole(number, 2 * steps)
            return images, (twice - once) / steps
        marks: list[float] = []
        loop = self._loops[number]
        images = loop.run(steps + 1, seen=lambda _: marks.append(time.perf_counter()))
        return images, (marks[-1] - marks[0]) / (len(marks) - 1)

    def _whole(self, number: int, steps: int) -> tuple[Tensor, float]:
        """The images that a loop reaches, and the time of its fastest run of so many steps."""
        synchronize(self._device)
        began = time.perf_counter()
        images = self._loops[number].run(steps, seen=lambda _: None)
        synchronize(self._device)
        seconds = time.perf_counter() - began
        self._fastest[number, steps] = min(seconds, self._fastest.get((number, steps), seconds))
        return images, self._fastest[number, steps]


def rounds(*paces: Pace, longest: float) -> int:
    """Rounds of some loops together that fit into a time, within `LEAST` and `MOST`."""
    return min(max(int(longest / sum(pace.whole_seconds for pace in paces)), LEAST), MOST)


def fastest(paces: Sequence[Pace]) -> Pace:
    """The one with the most image-steps a second, after two rounds of each in turn."""
    if len(paces) > 1:
        for pace in [*paces, *paces]:
            pace.round()
    return max(paces, key=lambda pace: pace.image_steps_per_second)
