"""Cells: one condition of one replicate, and what identifies it.

A cell's identity is the SHA-256 of its canonical settings and of whatever else decides its
outcome. Seeds come from the number of the replicate and the source of randomness, not from a claim,
so that claims which ask for the same cell share its measurement.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from harness.errors import UnknownNameError
from harness.settings import (
    ARTICLE_START,
    MLP,
    NOISE_TEXT,
    PRECISIONS,
    Decoder,
    Images,
    Network,
    Start,
)

ENGINE = 2
"""Version of everything between a cell and its measurement; raised where outcomes change."""

BATCH = 12
"""Replicates of a small network that are measured together; the least number of a look."""

NON_FINITE = "non-finite"
"""Status of a cell in which a value became infinite or not a number."""

_ENTROPY = 20_230_517
"""Root of all seeds."""


class Source(enum.IntEnum):
    """Sources of randomness; each has a stream of its own in every replicate."""

    WEIGHTS = 0
    IMAGE = 1
    START = 2
    NOISE = 3
    PRIOR = 4


class Stream(enum.IntEnum):
    """Families of replicates with disjoint seeds."""

    CONFIRMATORY = 0
    PILOT = 1
    CONTROL = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """A replicate: one fresh draw of everything random."""

    replicate: int
    stream: Stream = Stream.CONFIRMATORY

    def seed(self, source: Source, number: int = 0) -> int:
        """The seed (64 bits) of a source of randomness in this replicate, the first or a later."""
        sequence = np.random.SeedSequence(
            _ENTROPY, spawn_key=(int(self.stream), self.replicate, int(source))
        )
        return int(sequence.generate_state(number + 1, np.uint64)[number])

    def rng(self, source: Source) -> np.random.Generator:
        """A numpy generator for a source of randomness in this replicate."""
        return np.random.default_rng(self.seed(source))


def seeding(stream: Stream = Stream.CONFIRMATORY) -> dict[str, object]:
    """How the seeds of a stream's replicates come about, for whoever draws them again."""
    return {
        "entropy": _ENTROPY,
        "spawn_key": "stream, replicate, source",
        "stream": int(stream),
        "sources": {source.name.lower(): int(source) for source in Source},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inversion:
    """Recover an image from the output of a network: start, decode, compare.

    Parameters
    ----------
    network, images, start, decoder
        What is inverted and how.
    iterations : int
        Steps of the decoder.
    noise : float
        Standard deviation of a' - a.
    precision : str
        One of `harness.settings.PRECISIONS`.
    restarts : int
        Starts of each replicate, run beside each other; the best end is kept.
    batch : int
        Replicates computed together, in aligned blocks; rounding depends on it.
    """

    draw: Draw
    network: Network
    images: Images
    decoder: Decoder
    iterations: int
    start: Start = ARTICLE_START
    noise: float = NOISE_TEXT
    precision: str = "float32"
    restarts: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UnknownNameError.nearest(self.precision, PRECISIONS, what="precision")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactInverse:
    """Invert a square linear stack layer by layer, in float32 and in float64."""

    draw: Draw
    network: MLP
    images: Images
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActiveUnits:
    """Count the units of one ReLU layer until as many are active as the input has elements.

    Parameters
    ----------
    initialisation : str
        Of the layer's weights.
    ratios : tuple of float
        Widths over n at which it is noted whether n units are active.
    """

    draw: Draw
    images: Images
    initialisation: str = "default"
    ratios: tuple[float, ...] = (1.8, 1.9, 1.95, 2.0, 2.05, 2.1, 2.2)
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalRank:
    """Rank and null space of an MLP's Jacobian at an image, in float64."""

    draw: Draw
    network: MLP
    images: Images
    batch: int = 1


Cell = Inversion | ExactInverse | ActiveUnits | LocalRank


def block(cell: Cell) -> tuple[Cell, ...]:
    """The cells that are measured together with this one, itself included."""
    first = cell.draw.replicate - cell.draw.replicate % cell.batch
    return tuple(
        dataclasses.replace(cell, draw=dataclasses.replace(cell.draw, replicate=number))
        for number in range(first, first + cell.batch)
    )


def canonical(cell: Cell) -> dict[str, object]:
    """The settings of a cell as plain JSON values, with the names of their types."""
    return cast(dict[str, object], _plain(cell))


def identity(cell: Cell, *, context: Mapping[str, object]) -> str:
    """SHA-256 (hex) of the canonical cell and of what else decides its outcome.

    Parameters
    ----------
    cell : Cell
        The cell.
    context : mapping
        Version of the engine, device, precision flags, versions of the libraries that draw and
        compute.
    """
    text = json.dumps(
        {"cell": canonical(cell), "context": dict(context)},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.metadata.get("identity", True)
        }
        return {"type": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
