"""Torch's random generators of a replicate, one for each source of randomness."""

from __future__ import annotations

import torch

from harness.plan.seeds import ReplicateSeeds, Source


def torch_generator(seeds: ReplicateSeeds, source: Source, number: int = 0) -> torch.Generator:
    """Torch's generator for a source of randomness of a replicate, the first or a later one."""
    # torch takes 64 bits but reads the highest one as a sign.
    return torch.Generator().manual_seed(seeds.seed(source, number) >> 1)


def weights_seed(seeds: ReplicateSeeds) -> int:
    """The seed of a replicate's weights, as torch takes it."""
    return seeds.seed(Source.WEIGHTS) >> 1
