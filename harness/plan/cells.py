"""Cells: one condition of one replicate, and what identifies it.

A cell's identity is the SHA-256 of its canonical settings and of whatever else decides its
outcome. Seeds come from the number of the replicate and the source of randomness, not from a claim,
so that claims which ask for the same cell share its measurement.
"""

from __future__ import annotations

import dataclasses

from harness.errors import UnknownNameError
from harness.plan.decoders import PRECISIONS, Decoder, LinearSolve
from harness.plan.fields import check
from harness.plan.images import ARTICLE_START, NOISE_TEXT, Images, Start
from harness.plan.networks import MLP, Network, ResNet
from harness.plan.probes import Probe
from harness.plan.seeds import ReplicateSeeds
from harness.plan.training_cells import TrainingCell

BATCH = 12
"""Replicates of a small network that are measured together; the least number of a look."""

NON_FINITE = "non-finite"
"""Status of a cell in which a value became infinite or not a number."""

UNFINISHED = "not converged"
"""Status of a run that ended above m_r, its loss still falling."""


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
        One of `harness.plan.decoders.PRECISIONS`.
    restarts : int
        Starts of each replicate, run beside each other; the best end is kept.
    batch : int
        Replicates computed together, in aligned blocks; rounding depends on it.

    Raises
    ------
    UnknownNameError
        Where there is no such precision.
    SettingError
        Where a number is out of range, where the decoder has no way to compute in the precision, or
        where networks are ones of which only one is measured at a time.
    """

    seeds: ReplicateSeeds
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
        check(
            self.iterations >= 0 and self.noise >= 0,
            f"iterations={self.iterations}, noise={self.noise}",
            rule="a run takes no less than no steps, and a standard deviation is not below 0",
            remedy="Choose 0 for none",
        )
        check(
            self.restarts > 0 and self.batch > 0,
            f"restarts={self.restarts}, batch={self.batch}",
            rule="an image is recovered from one start or more, in a batch of one or more",
            remedy="Choose 1 for a run by itself",
        )
        check(
            self.batch == 1 or not isinstance(self.network, ResNet),
            f"batch={self.batch}",
            rule="each replicate has a ResNet of its own, and these are measured one at a time",
            remedy="Choose batch=1",
        )
        check(
            self.precision != "bf16" or not isinstance(self.decoder, LinearSolve),
            f"precision={self.precision}",
            rule="an exact solution needs a pseudo-inverse, which no library takes in bfloat16",
            remedy="Choose float64, or another decoder than LinearSolve",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactInverse:
    """Invert a square linear stack layer by layer, in float32 and in float64."""

    seeds: ReplicateSeeds
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

    seeds: ReplicateSeeds
    images: Images
    initialisation: str = "default"
    ratios: tuple[float, ...] = (1.8, 1.9, 1.95, 2.0, 2.05, 2.1, 2.2)
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalRank:
    """Rank and null space of an MLP's Jacobian at an image, in float64."""

    seeds: ReplicateSeeds
    network: MLP
    images: Images
    batch: int = 1


Cell = Inversion | ExactInverse | ActiveUnits | LocalRank | Probe | TrainingCell


def block(cell: Cell) -> tuple[Cell, ...]:
    """The cells that are measured together with this one, itself included."""
    first = cell.seeds.replicate - cell.seeds.replicate % cell.batch
    return tuple(
        dataclasses.replace(cell, seeds=dataclasses.replace(cell.seeds, replicate=number))
        for number in range(first, first + cell.batch)
    )
