"""Probes: cells that look at a network, or at a statement, without recovering an image.

They are measured one replicate at a time, on the CPU and in a precision of their own: float64
where ranks and condition numbers are sought, float32 where a network is only looked at. The other
kinds of cells are in `harness.plan.cells`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata

from harness.plan.decoders import Blur, Decoder
from harness.plan.fields import LATER
from harness.plan.images import Images
from harness.plan.networks import MLP, ResNet
from harness.plan.seeds import ReplicateSeeds


@functools.cache
def _hypothesis() -> str:
    return importlib.metadata.version("hypothesis")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """Look for a counterexample to an exact statement.

    Parameters
    ----------
    statement : str
        One of `harness.measurements.exact.statements`.
    examples : int
        Examples to try at most.
    below : float
        The statement holds for an example whose residual is below this.
    drawn_by : str
        Version of hypothesis, which draws the examples.
    """

    seeds: ReplicateSeeds
    statement: str
    examples: int
    below: float
    drawn_by: str = dataclasses.field(default_factory=_hypothesis)
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Condition numbers of a linear stack up to each of its layers, in float64."""

    seeds: ReplicateSeeds
    network: MLP
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpreadRate:
    """By how much each layer of a very deep linear stack parts its singular values, in nats.

    Logarithms of the diagonals of successive QR decompositions are summed, which no depth brings
    out of range.

    Parameters
    ----------
    inputs, width, depth : int
        n, m >= n of every layer, and how many there are.
    initialisation : str
        Of their weights.
    """

    seeds: ReplicateSeeds
    inputs: int
    width: int
    depth: int
    initialisation: str
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Inputs a'' whose outputs lie near that of the image: noise on the output, inverted exactly.

    Parameters
    ----------
    network : MLP
        Square layers without activations.
    images
        What is disturbed.
    sd : float
        Standard deviation of the noise on the output.
    points : int
        How many.
    """

    seeds: ReplicateSeeds
    network: MLP
    images: Images
    sd: float = 1e-3
    points: int = 256
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighbourLaw:
    """The distance of one a'' in each of many small square stacks, over the distance of its output.

    Parameters
    ----------
    network : MLP
        Square layers without activations or biases.
    networks : int
        How many are drawn.
    """

    seeds: ReplicateSeeds
    network: MLP
    networks: int
    batch: int = 1


STATISTICS = ("eval", "train", "calibrated")
"""Whose statistics BatchNorm takes: its initial ones, those of the batch, or those of photographs
that it saw before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientNorms:
    """Norms of the article's gradient at the start, by the layer that it comes from.

    Parameters
    ----------
    network : ResNet
        Its cut plays no part: all are measured.
    images : Images
        The photographs.
    statistics : str
        One of `STATISTICS`.
    together : int
        Photographs, each with a start of its own, that go through the network together.
    """

    seeds: ReplicateSeeds
    network: ResNet
    images: Images
    statistics: str
    together: int = 8
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquareLayer:
    """Rank of one layer that has as many outputs as inputs, activation included, at an image.

    Parameters
    ----------
    layer : str
        "dense", or "convolution" (3 x 3, padded, as many channels out as in).
    activation : str
        Its last operation, one of `harness.plan.networks.ACTIVATIONS` other than "none".
    """

    seeds: ReplicateSeeds
    images: Images
    layer: str
    activation: str
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledRank:
    """Ranks of a ResNet's first convolution before and after max-pooling, in float64.

    Parameters
    ----------
    network : ResNet
        Its cut plays no part.
    directions : int
        Of the null space, among which a second image with the same output is sought.
    """

    seeds: ReplicateSeeds
    network: ResNet
    images: Images
    directions: int = 64
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroUnits:
    """Share of units that a network's rectifiers set to zero at an image."""

    seeds: ReplicateSeeds
    network: MLP | ResNet
    images: Images
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorInNullSpace:
    """How much of a copy's error no output tells, to first order: its part in the null space.

    The Jacobian is that of the image itself, in float64 whatever the precision of the run.

    Parameters
    ----------
    network, images, decoder, iterations, precision
        As in `harness.plan.cells.Inversion`.
    """

    seeds: ReplicateSeeds
    network: ResNet
    images: Images
    decoder: Decoder
    iterations: int
    precision: str = dataclasses.field(default="float32", metadata=LATER)
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurLoss:
    """How far from an image the last blur of a run would take the image itself."""

    seeds: ReplicateSeeds
    images: Images
    blur: Blur
    batch: int = 1


Probe = (
    Search
    | Conditioning
    | SpreadRate
    | Neighbours
    | NeighbourLaw
    | GradientNorms
    | SquareLayer
    | PooledRank
    | ZeroUnits
    | ErrorInNullSpace
    | BlurLoss
)
