"""How many processes of how many threads measure most on this machine: tried once, remembered.

Convolutions of one small image keep few threads busy, and under load one process of two threads can
be several times slower than two processes of one. Which layout is best depends on the machine, so
that each is tried for a moment, in the very processes that then measure. Beside a GPU none is
tried: how many processes share one is a constant.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.execution.provenance import processor
from harness.files import cache_file, write_atomically
from harness.plan.networks import MLP, ResNet

MEMORY = 800_000_000
"""Bytes that a process needs: torch, a network and the steps of a decoder."""

ON_A_GPU = 16
"""Processes that share a GPU at most: a constant, which is not tried on the machine that measures.
The steps of one image leave much of it idle, and most of the rest is work for the CPU: networks are
built there, and ranks found."""

MEMORY_ON_A_GPU, MEMORY_BESIDE_A_GPU = 1_500_000_000, 3_000_000_000
"""Bytes of a GPU, and of the machine, that a process needs, for CUDA itself most of them."""

SECONDS = 0.25
"""For which a layout is tried, each time."""

ROUNDS = 2
"""How often each is tried, in turn with the others, so that a passing load spoils none of them."""

NOISE = 0.1
"""Share of the best rate within which layouts count as equal."""

_NETWORK, _PIXELS = ResNet(name="resnet18", layer="layer3"), 32
_DENSE, _REPLICATES = MLP(inputs=256, widths=(512, 256), activation="relu"), 12
"""What is tried, as large as what `quick` measures."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Processes, and the threads that each of them has."""

    processes: int
    threads: int

    def __str__(self) -> str:
        processes = f"{self.processes} process{'es' * (self.processes > 1)}"
        return f"{processes} of {self.threads} thread{'s' * (self.threads > 1)}"


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the best layout depends on.

    Parameters
    ----------
    processor : str
        Its name.
    cores : int
        That this process may use.
    memory : int
        Bytes that it may use.
    torch : str
        Version of torch.
    """

    processor: str
    cores: int
    memory: int
    torch: str

    @classmethod
    def here(cls) -> Machine:
        """What this process runs on, as far as it may use it."""
        return cls(
            processor=processor(),
            cores=_cores(),
            memory=_memory(),
            torch=importlib.metadata.version("torch"),
        )

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Layouts that use every core and fit into the memory; most processes first."""
        most = max(1, self.memory // MEMORY)
        return tuple(
            Layout(number, self.cores // number)
            for number in range(self.cores, 0, -1)
            if self.cores % number == 0 and number <= most
        )

    def beside_a_gpu(self, memory: int) -> Layout:
        """The most processes that share a GPU of so many bytes and have a core each.

        Nothing is tried.
        """
        room = min(self.memory // MEMORY_BESIDE_A_GPU, memory // MEMORY_ON_A_GPU)
        number = max(1, min(ON_A_GPU, self.cores, room))
        return Layout(number, self.cores // number)


def fastest(rates: Mapping[Layout, float]) -> Layout:
    """The layout of the highest rate; of those within the noise, that of the most processes.

    More processes bear a busy machine better.
    """
    best = max(rates.values())
    near = [layout for layout, rate in rates.items() if rate >= (1 - NOISE) * best]
    return max(near, key=lambda layout: layout.processes)


def remembered(machine: Machine) -> Layout | None:
    """The layout that was found fastest on such a machine before; None where none can be read."""
    try:
        found = json.loads(_file(machine).read_bytes())
        layout = Layout(int(found["processes"]), int(found["threads"]))
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):
        return None
    # Whatever was written there, nothing is started that does not fit.
    return layout if layout in machine.layouts else None


def remember(machine: Machine, rates: Mapping[Layout, float]) -> None:
    """Keep the fastest layout for later runs; where that cannot be written, they try again."""
    content = {
        **dataclasses.asdict(fastest(rates)),
        "machine": dataclasses.asdict(machine),
        "steps_per_second": {str(layout): round(rate, 1) for layout, rate in rates.items()},
    }
    with contextlib.suppress(OSError, RuntimeError):
        file = _file(machine)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())


def steps_per_second(threads: int, *, seconds: float) -> float:
    """Rate of the engine's own steps: it tells what a layout is worth.

    A truncated forward and the gradient of the input, of one image through a ResNet and of a block
    of replicates through dense layers.

    Parameters
    ----------
    threads : int
        Of torch.
    seconds : float
        For how long.
    """
    # Imported in the worker, so that the parent needs no torch.
    from harness.encoders.runtime import threads as torch_threads

    step = _step()
    with torch_threads(threads):
        for _ in range(3):
            step()
        number, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            step()
            number += 1
        return number / passed


@functools.cache
def _step() -> Callable[[], None]:
    """A step of each kind; made once in a process, which takes longer than to try it."""
    import torch

    from harness.subjects.mlp import mlp_encoder
    from harness.subjects.resnet import resnet_encoder

    dtype, device = torch.float32, torch.device("cpu")
    generators = [torch.Generator().manual_seed(seed) for seed in range(_REPLICATES)]
    tried = [
        (
            resnet_encoder(
                _NETWORK, seed=0, dtype=dtype, device=device, shape=(3, _PIXELS, _PIXELS)
            ),
            torch.rand(1, 3, _PIXELS, _PIXELS, generator=generators[0]),
        ),
        (
            mlp_encoder(_DENSE, generators=generators, dtype=dtype, device=device),
            torch.rand(_REPLICATES, _DENSE.inputs, generator=generators[0]),
        ),
    ]

    def step() -> None:
        for encoder, inputs in tried:
            output, vjp = encoder.vjp(inputs)
            vjp(output.sign())

    return step


def _file(machine: Machine) -> Path:
    text = json.dumps(dataclasses.asdict(machine), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cache_file(f"layout-{name}.json")


def _cores() -> int:
    # It knows of quotas, too, which containers set. Imported here: not every run measures.
    from joblib import cpu_count

    return int(cpu_count())


def _memory() -> int:
    """Bytes of the machine, or of the container where that has fewer."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        # Reads "max" where there is no limit.
        return min(installed, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return installed
