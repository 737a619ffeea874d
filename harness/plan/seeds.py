"""Replicates, and the seed of each source of randomness in each of them."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

_ENTROPY = 20_230_517
"""Root of all seeds."""


class Source(enum.IntEnum):
    """Sources of randomness, each with its own stream in every replicate."""

    WEIGHTS = 0
    IMAGE = 1
    START = 2
    NOISE = 3
    PRIOR = 4
    EXAMPLES = 5


class Stream(enum.IntEnum):
    """Families of replicates with disjoint seeds."""

    CONFIRMATORY = 0
    PILOT = 1
    CONTROL = 2
    CROSSED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplicateSeeds:
    """A replicate: everything random drawn afresh."""

    replicate: int
    stream: Stream = Stream.CONFIRMATORY

    def seed(self, source: Source, number: int = 0) -> int:
        """The seed (64 bits) of a source of randomness, the first or a later one."""
        sequence = np.random.SeedSequence(
            _ENTROPY, spawn_key=(int(self.stream), self.replicate, int(source))
        )
        return int(sequence.generate_state(number + 1, np.uint64)[number])

    def rng(self, source: Source) -> np.random.Generator:
        """A numpy generator for a source of randomness in this replicate."""
        return np.random.default_rng(self.seed(source))


def replicates(number: int) -> tuple[ReplicateSeeds, ...]:
    """The first confirmatory replicates."""
    return tuple(ReplicateSeeds(replicate=replicate) for replicate in range(number))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossedSeeds(ReplicateSeeds):
    """A combination of levels in a crossed design, where each source of randomness has its own.

    Parameters
    ----------
    network, image, start : int
        The level of each. The noise of a' goes with the image, a prior's randomness with the start.
    """

    stream: Stream = Stream.CROSSED
    network: int
    image: int
    start: int

    def seed(self, source: Source, number: int = 0) -> int:
        """The seed of a source of randomness at its level."""
        level = {
            Source.WEIGHTS: self.network,
            Source.IMAGE: self.image,
            Source.NOISE: self.image,
            Source.START: self.start,
            Source.PRIOR: self.start,
            Source.EXAMPLES: self.network,
        }[source]
        return ReplicateSeeds(replicate=level, stream=self.stream).seed(source, number)


def seeding(stream: Stream = Stream.CONFIRMATORY) -> dict[str, object]:
    """How the seeds of a stream's replicates are derived, so that they can be reproduced."""
    return {
        "entropy": _ENTROPY,
        "spawn_key": "stream, replicate, source",
        "stream": int(stream),
        "sources": {source.name.lower(): int(source) for source in Source},
    }
