"""Image-steps per second of a loop."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.loops.loop import Loop
from benchmarks.peak_rate import synchronize

SECONDS = 0.1
"""Least time of a round: short ones find the quiet moments of a shared machine."""

ROUNDS = 8
"""Rounds of a benchmark; on a busy machine three were sometimes all twice as slow as the best."""


class Throughput:
    """Timed rounds of loops; the fastest counts, since any disturbance makes a round slower.

    On a CPU a run lasts from its first evaluation of the network to its last, so that what a loop
    does before and after its steps does not count. On a GPU the host does not see evaluations: a
    step's time is how much longer a run of twice the steps takes. The fastest runs of both lengths
    count there, since each begins with captures of uneven length.

    Parameters
    ----------
    loops : sequence of Loop
        Run one after the other in each round.
    images : int
        Reconstructed by all of them together.
    device : torch.device
        Where.
    seconds : float or None
        Least time of a round, estimated from a few steps; None takes `SECONDS`.
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
        self._fastest: dict[tuple[int, int], float] = {}
        least = SECONDS if seconds is None else seconds
        self._run(1)  # warms the caches
        self.steps = 2
        self.step_seconds = self._run(2)[1]
        if device.type != "cuda":
            self.steps = max(2, math.ceil(least / self.step_seconds))
            return
        while self.steps * self.step_seconds < least:  # a few steps do not foretell many
            self.steps *= 4
            self.step_seconds = self._run(self.steps)[1]

    def round(self) -> Tensor:
        """Run one round; returns the images reached."""
        images, seconds = self._run(self.steps)
        on_gpu = self._device.type == "cuda"
        self.step_seconds = seconds if on_gpu else min(self.step_seconds, seconds)
        return images

    @property
    def image_steps_per_second(self) -> float:
        """Images over the time of a step on all of them."""
        return self.images / self.step_seconds

    def _run(self, steps: int) -> tuple[Tensor, float]:
        """The images reached, and the time of a step on all of them."""
        time_loop = self._time_on_gpu if self._device.type == "cuda" else self._time_on_cpu
        parts = [time_loop(number, steps) for number in range(len(self._loops))]
        return torch.cat([images for images, _ in parts]), sum(seconds for _, seconds in parts)

    def _time_on_cpu(self, number: int, steps: int) -> tuple[Tensor, float]:
        marks: list[float] = []
        images = self._loops[number].run(
            steps + 1, observe=lambda _: marks.append(time.perf_counter())
        )
        return images, (marks[-1] - marks[0]) / (len(marks) - 1)

    def _time_on_gpu(self, number: int, steps: int) -> tuple[Tensor, float]:
        for length in (steps, 2 * steps):
            synchronize(self._device)
            began = time.perf_counter()
            images = self._loops[number].run(length, observe=lambda _: None)
            synchronize(self._device)
            spent = time.perf_counter() - began
            self._fastest[number, length] = min(spent, self._fastest.get((number, length), spent))
        longer = self._fastest[number, 2 * steps] - self._fastest[number, steps]
        return images, longer / steps


def fastest(tried: Sequence[Throughput]) -> Throughput:
    """The one with the most image-steps per second, after two rounds of each in turn."""
    if len(tried) > 1:
        for each in [*tried, *tried]:
            each.round()
    return max(tried, key=lambda each: each.image_steps_per_second)
