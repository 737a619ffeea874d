"""Reconstruct images by the article's descent, and state how fast that went."""

from __future__ import annotations

import dataclasses
import math
import time

import torch
from torch import Tensor

from benchmarks.arithmetic import step_flops
from benchmarks.cases import Case
from benchmarks.ceiling import gemm_gflops, synchronize
from harness.cells import Draw, Stream
from harness.inversion.first_order import run_descent
from harness.inversion.trace import Trace
from harness.settings import MLP, Start
from harness.subjects import draws

DTYPE = torch.float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """What a benchmark found.

    Parameters
    ----------
    case : Case
        What was reconstructed.
    device : str
        "cpu" or "cuda".
    threads : int
        Of torch, on a CPU.
    steps : int
        Steps a round.
    step_flops : int
        Operations of one step on one image.
    image_steps_per_second : float
        Steps times images over time, in the fastest round.
    ceiling_gflops : float
        Matrix multiplication, the best beside any round.
    """

    case: Case
    device: str
    threads: int
    steps: int
    step_flops: int
    image_steps_per_second: float
    ceiling_gflops: float

    @property
    def times_limit(self) -> float:
        """Time of an image-step over the time of its arithmetic at the ceiling."""
        return self.ceiling_gflops * 1e9 / (self.step_flops * self.image_steps_per_second)

    def extra_info(self) -> dict[str, str | int | float]:
        """As it goes into the JSON of the benchmarks."""
        return {
            "network": self.case.name,
            "layer": self.case.layer,
            "size": self.case.images.pixels,
            "batch": self.case.batch,
            "dtype": str(DTYPE).removeprefix("torch."),
            "device": self.device,
            "threads": self.threads,
            "decoder": "article",
            "steps": self.steps,
            "step_gflop": self.step_flops / 1e9,
            "image_steps_per_second": self.image_steps_per_second,
            "ceiling_gflops": self.ceiling_gflops,
            "times_limit": self.times_limit,
        }


class Reconstruction:
    """Photographs on their way back from a layer, timed in rounds.

    Whatever disturbs a measurement makes it slower, so the fastest round is compared with the best
    ceiling, which is measured as often, each time right before a round.

    Parameters
    ----------
    case : Case
        What is reconstructed.
    device : str
        "cpu" or "cuda".
    seconds : float
        Least time of a round, as far as a few steps foretell it.
    longest : float
        Time of all rounds, foretold likewise: there are six, or as many as fit, at least three.
    """

    def __init__(self, case: Case, *, device: str, seconds: float, longest: float) -> None:
        self.case = case
        self._device = torch.device(device)
        replicates = [Draw(replicate=number, stream=Stream.PILOT) for number in range(case.batch)]
        self._original = self._placed([draws.original(case.images, draw)[0] for draw in replicates])
        self._start = self._placed([draws.start(Start(), case.images, draw) for draw in replicates])
        # The images share a ResNet's weights, and have an MLP's each of their own.
        owners = replicates if isinstance(case.network, MLP) else replicates[:1]
        self._encoder = draws.encoder(case.network, owners, dtype=DTYPE, device=self._device)
        self._target = self._encoder.encode(self._original)
        self._seconds: list[float] = []
        self._ceilings: list[float] = []
        taken = min(self._descend(2)[1] for _ in range(2)) / 2  # the first one warms the caches
        self.steps = max(2, math.ceil(seconds / taken))
        self.rounds = min(max(int(longest / (self.steps * taken)), 3), 6)

    def measure_ceiling(self) -> None:
        """Note the machine's ceiling as it is now."""
        self._ceilings.append(gemm_gflops(dtype=DTYPE, device=self._device))

    def descend(self) -> Tensor:
        """One round; returns the images reached."""
        copy, seconds = self._descend(self.steps)
        self._seconds.append(seconds)
        return copy

    def throughput(self) -> Throughput:
        """What the rounds so far say."""
        return Throughput(
            case=self.case,
            device=self._device.type,
            threads=torch.get_num_threads(),
            steps=self.steps,
            step_flops=step_flops(self.case.network, self.case.images),
            image_steps_per_second=self.steps * self.case.batch / min(self._seconds),
            ceiling_gflops=max(self._ceilings),
        )

    def _placed(self, images: list[Tensor]) -> Tensor:
        stacked = torch.stack(images).to(self._device, DTYPE)
        return stacked.flatten(1) if isinstance(self.case.network, MLP) else stacked

    def _descend(self, steps: int) -> tuple[Tensor, float]:
        synchronize(self._device)
        began = time.perf_counter()
        copy = run_descent(
            self._encoder,
            start=self._start,
            target=self._target,
            decoder=self.case.decoder,
            iterations=steps,
            # A run takes one gradient more than the last iteration traced: that many steps.
            trace=Trace((0, steps - 1), original=self._original),
        )
        synchronize(self._device)
        return copy, time.perf_counter() - began
