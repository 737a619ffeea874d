"""Torch's random generators: of a replicate's sources of randomness, and its global one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from harness.plan.seeds import ReplicateSeeds, Source


def torch_generator(seeds: ReplicateSeeds, source: Source, number: int = 0) -> torch.Generator:
    """Torch's generator for a source of randomness of a replicate, the first or a later one."""
    # torch takes 64 bits but reads the highest one as a sign.
    return torch.Generator().manual_seed(seeds.seed(source, number) >> 1)


def weights_seed(seeds: ReplicateSeeds) -> int:
    """The seed of a replicate's weights, as torch takes it."""
    return seeds.seed(Source.WEIGHTS) >> 1


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generator, from which its constructors draw; restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def every_global_state() -> Iterator[None]:
    """Keep the state of torch's, numpy's and Python's global generators, and restore it."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    # What a person's own code may draw from, whatever is better.
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def seed_globally(seed: int) -> None:
    """Seed torch's, numpy's and Python's global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
