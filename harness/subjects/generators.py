"""Torch's random generators: of a replicate's sources of randomness, and its global one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
