"""How far a measured time is from that of the arithmetic at the machine's best rates."""

from __future__ import annotations

import dataclasses

import torch

from benchmarks.arithmetic import Work, step_work
from benchmarks.cases import Case, decoder_name
from benchmarks.ceiling import memory_gbytes
from benchmarks.pace import Pace
from harness.execution.peak_rate import arithmetic_gflops

LEAST = 2**20
"""Bytes at least that the rate of memory is measured with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """Time of a step at the best rates: of its arithmetic or of its reading, whichever is longer.

    Parameters
    ----------
    work : Work
        Of the step.
    itemsize : int
        Bytes of a weight.
    gflops : float
        Of arithmetic, as in `harness.execution.peak_rate`.
    gbytes : float
        That memory gives a second.
    """

    work: Work
    itemsize: int
    gflops: float
    gbytes: float

    @property
    def arithmetic(self) -> float:
        """Seconds of the arithmetic."""
        return self.work.flops / (self.gflops * 1e9)

    @property
    def traffic(self) -> float:
        """Seconds of reading the weights."""
        return self.work.weights * self.itemsize / (self.gbytes * 1e9)

    @property
    def seconds(self) -> float:
        """The longer one."""
        return max(self.arithmetic, self.traffic)

    @property
    def bound(self) -> str:
        """Which one that is."""
        return "arithmetic" if self.arithmetic >= self.traffic else "memory"


class Ceilings:
    """The machine's rates, measured again and again beside the rounds; the best ones count.

    Parameters
    ----------
    case : Case
        For which.
    dtype, device
        In which and where.
    """

    def __init__(self, case: Case, *, dtype: torch.dtype, device: torch.device) -> None:
        self._work, self._dtype, self._device = step_work(case), dtype, device
        self._gflops = self._gbytes = 0.0

    def measure(self) -> None:
        """Note the rates as they are now."""
        place = {"dtype": self._dtype, "device": self._device}
        # Once each: the best of all rounds counts.
        self._gflops = max(self._gflops, arithmetic_gflops(**place, repeats=1))
        size = max(self._work.weights // 2 * self._dtype.itemsize, LEAST)
        self._gbytes = max(self._gbytes, memory_gbytes(size=size, **place))

    def limit(self, work: Work | None = None) -> Limit:
        """The limit of the case, or of other work on the same machine."""
        return Limit(
            work=work or self._work,
            itemsize=self._dtype.itemsize,
            gflops=self._gflops,
            gbytes=self._gbytes,
        )


def case_facts(case: Case, *, device: torch.device) -> dict[str, object]:
    """What goes into the JSON of the benchmarks about what is measured, whatever of it is."""
    return {
        "network": case.name,
        "layer": case.layer,
        "size": case.images.pixels,
        "batch": case.batch,
        "weights": "own" if case.fresh else "shared",
        "dtype": case.precision,
        "device": device.type,
        "threads": torch.get_num_threads(),
    }


def facts(case: Case, pace: Pace, limit: Limit, *, device: torch.device) -> dict[str, object]:
    """What goes into the JSON of the benchmarks about the pace of the engine."""
    return {
        **case_facts(case, device=device),
        "decoder": decoder_name(case.decoder),
        "steps": pace.steps,
        "image_steps_per_second": pace.image_steps_per_second,
        "step_gflop": limit.work.flops / 1e9,
        "step_gbyte": limit.work.weights * limit.itemsize / 1e9,
        "ceiling_gflops": limit.gflops,
        "ceiling_gbytes": limit.gbytes,
        "bound": limit.bound,
        "times_limit": pace.step_seconds / limit.seconds,
    }
