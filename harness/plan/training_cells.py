"""Cells on training and on what was trained; the other kinds are in `harness.plan.cells`."""

from __future__ import annotations

import dataclasses

from harness.errors import SettingError
from harness.plan.decoders import Decoder
from harness.plan.fields import LATER
from harness.plan.images import NOISE_TEXT, Images
from harness.plan.networks import ResNet
from harness.plan.seeds import ReplicateSeeds, Stream

JUDGE = ReplicateSeeds(replicate=0, stream=Stream.CONTROL)
"""Whose network judges what a copy reflects; no replicate of a claim has it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network and see how well it does: what all cells of the trained network wait for."""

    seeds: ReplicateSeeds
    network: ResNet
    batch: int = 1

    def __post_init__(self) -> None:
        if self.network.training is None:
            raise SettingError(
                self.network.name,
                rule="its settings do not say how it is trained",
                remedy="Give ResNet(training=...)",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class JacobianSpectrum:
    """Rank and condition number of a ResNet's Jacobian at an image, in float64."""

    seeds: ReplicateSeeds
    network: ResNet
    images: Images
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """How much of its input a linear regression finds in the output of a ResNet.

    Trained on crops of the bundled pictures and judged on crops of their held-out thirds.

    Parameters
    ----------
    pixels : int
        Side of the crops.
    examples : int
        Crops to fit; a quarter as many judge.
    """

    seeds: ReplicateSeeds
    network: ResNet
    pixels: int
    examples: int = 400
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reflection:
    """What a copy resembles more, its image or what the network was trained on.

    Compared are deep features of another network that was trained alike, the judge (`JUDGE`), which
    takes no part in the copy and is the same for all replicates. It looks in float32.

    Parameters
    ----------
    network, images, decoder, iterations, noise, precision
        As in `Inversion`.
    crops : int
        Training crops of each picture; those of the image's own picture are left out.
    """

    seeds: ReplicateSeeds
    network: ResNet
    images: Images
    decoder: Decoder
    iterations: int
    crops: int = 16
    noise: float = NOISE_TEXT
    precision: str = dataclasses.field(default="float32", metadata=LATER)
    batch: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyUpdates:
    """By how much updates of the first layer alone lower a loss, for later layers of any condition.

    A linear stack whose first layer is trained by plain gradient descent and whose later layers
    stay as they are: square, with random singular vectors and singular values spaced evenly in
    their logarithm, of equal Frobenius norm. The inputs are white, the targets those that another
    first layer would give.

    Parameters
    ----------
    width : int
        Of every layer.
    depth : int
        Layers after the first.
    conditions : tuple of float
        Condition numbers of all later layers together, each a stack of its own.
    rate : float
        Of the descent, over the largest that converges.
    steps : int
        Of the descent.
    """

    seeds: ReplicateSeeds
    width: int
    depth: int
    conditions: tuple[float, ...]
    rate: float
    steps: int
    batch: int = 1


TrainingCell = Train | JacobianSpectrum | LinearProbe | Reflection | EarlyUpdates
