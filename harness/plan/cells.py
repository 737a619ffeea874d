"""Kinds of cells: one condition of one replicate each.

A cell's identity is the SHA-256 of its canonical settings and of whatever else decides its
outcome. Seeds come from the number of the replicate and the source of randomness, not from a claim,
so that claims which ask for the same cell share its measurement.

Inversions and trainings run on the chosen device. All else is measured on the CPU, one replicate at
a time and in a precision of its own: float64 for ranks and condition numbers, float32 where a
network is only evaluated.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Mapping

from harness.errors import SettingError, UnknownNameError
from harness.plan.decoders import PRECISIONS, Blur, Decoder, LinearSolve
from harness.plan.fields import check, check_types
from harness.plan.images import ARTICLE_START, NOISE_TEXT, Images, Start
from harness.plan.networks import MLP, ModuleFactory, Network, ResNet
from harness.plan.seeds import ReplicateSeeds, Stream

BATCH = 12
"""Replicates of a small network that are measured together; the smallest look has as many."""

NON_FINITE = "non-finite"
"""Outcome of a cell in which a value became infinite or not a number."""

STUCK = "stuck"
"""Outcome of a run whose decoder never left its start."""

FAILED: Mapping[str, str] = {
    NON_FINITE: "a value became infinite or not a number",
    STUCK: "a decoder never left its start",
}
"""Outcomes of cells whose values say nothing about a layer, in words."""

UNFINISHED = "not converged"
"""Outcome of a run that ended above m_r while its loss was still falling."""

JUDGE = ReplicateSeeds(replicate=0, stream=Stream.CONTROL)
"""Its network judges what a reconstruction reflects; it is no replicate of any claim."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One condition of one replicate.

    Parameters
    ----------
    seeds : ReplicateSeeds
        The replicate.
    batch : int
        Replicates computed together, in aligned blocks; rounding depends on it.

    Raises
    ------
    SettingError
        Where a setting is not of its kind: a network has to be settings, not a module.
    """

    seeds: ReplicateSeeds
    batch: int = 1

    def __post_init__(self) -> None:
        check_types(self)


def block(cell: Cell) -> tuple[Cell, ...]:
    """The cells that are measured together with this one, itself included."""
    first = cell.seeds.replicate - cell.seeds.replicate % cell.batch
    return tuple(
        dataclasses.replace(cell, seeds=dataclasses.replace(cell.seeds, replicate=number))
        for number in range(first, first + cell.batch)
    )


# --- reconstructions ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inversion(Cell):
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
        Starts of each replicate; the one with the lowest m_g counts.

    Raises
    ------
    UnknownNameError
        Where there is no such precision.
    SettingError
        Where a number is out of range, the decoder does not support the precision, or ResNets or
        modules are batched.
    """

    network: Network
    images: Images
    decoder: Decoder
    iterations: int
    start: Start = ARTICLE_START
    noise: float = NOISE_TEXT
    precision: str = "float32"
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in PRECISIONS:
            raise UnknownNameError.nearest(self.precision, PRECISIONS, what="precision")
        check(
            self.iterations >= 0 and self.noise >= 0,
            f"iterations={self.iterations}, noise={self.noise}",
            rule="neither a number of steps nor a standard deviation can be negative",
            remedy="Choose 0 for none",
        )
        check(
            self.restarts > 0 and self.batch > 0,
            f"restarts={self.restarts}, batch={self.batch}",
            rule="an image has at least one start, and a batch at least one replicate",
            remedy="Choose 1 for a single run",
        )
        check(
            self.batch == 1 or not isinstance(self.network, ResNet | ModuleFactory),
            f"batch={self.batch}",
            rule="each replicate has a network of its own, and such are measured one at a time",
            remedy="Choose batch=1",
        )
        check(
            not (
                isinstance(self.network, ResNet | ModuleFactory)
                and isinstance(self.decoder, LinearSolve)
            ),
            f"decoder={self.decoder}",
            rule="only networks without activations can be solved exactly",
            remedy="Choose LBFGS or GaussNewton",
        )
        check(
            self.precision != "bf16" or not isinstance(self.decoder, LinearSolve),
            f"precision={self.precision}",
            rule="an exact solution needs a pseudo-inverse, which no library computes in bfloat16",
            remedy="Choose float64, or another decoder than LinearSolve",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfReconstruction(Cell):
    """What is measured of one reconstruction from a ResNet.

    Parameters
    ----------
    network, images, decoder, iterations, noise, precision
        As in `Inversion`.
    """

    network: ResNet
    images: Images
    decoder: Decoder
    iterations: int
    noise: float = NOISE_TEXT
    precision: str = "float32"

    @property
    def inversion(self) -> Inversion:
        """The run that yields the reconstruction."""
        return Inversion(
            seeds=self.seeds,
            network=self.network,
            images=self.images,
            decoder=self.decoder,
            iterations=self.iterations,
            noise=self.noise,
            precision=self.precision,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorInNullSpace(OfReconstruction):
    """The part of a reconstruction's error in the null space, which to first order no output shows.

    The null space is that of the Jacobian at the image itself, in float64 whatever the precision
    of the run.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reflection(OfReconstruction):
    """Whether a reconstruction resembles its image more, or what the network was trained on.

    Distances are those of deep features of another network that was trained alike, the judge
    (`JUDGE`). It has no part in the reconstruction and is the same for all replicates; it looks in
    float32.

    Parameters
    ----------
    crops : int
        Training crops of each picture; those of the image's own picture are left out.

    Raises
    ------
    SettingError
        Where the network was not trained on pictures.
    """

    crops: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        training = self.network.training
        check(
            training is not None and training.content == "photographs",
            training,
            rule="a network that was not trained on pictures has no training crops",
            remedy='Give Training(content="photographs", ...)',
        )


# --- networks at an image -------------------------------------------------------------------


STATISTICS = ("eval", "train", "calibrated")
"""What BatchNorm normalises by: its initial statistics, those of the batch, or those of a pass over
the photographs beforehand."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalRank(Cell):
    """Rank and null space of an MLP's Jacobian at an image, in float64."""

    network: MLP
    images: Images


@dataclasses.dataclass(frozen=True, kw_only=True)
class JacobianSpectrum(Cell):
    """Rank and condition number of a ResNet's Jacobian at an image, in float64."""

    network: ResNet
    images: Images


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledRank(Cell):
    """Ranks of a ResNet's first convolution before and after max-pooling, in float64.

    Parameters
    ----------
    network : ResNet
        Its layer is ignored.
    directions : int
        Of the null space, among which a second image with the same output is sought.
    """

    network: ResNet
    images: Images
    directions: int = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquareLayer(Cell):
    """Rank of one layer that has as many outputs as inputs, activation included, at an image.

    Parameters
    ----------
    layer : str
        "dense", or "convolution" (3 x 3, padded, as many channels out as in).
    activation : str
        Its last operation, one of `harness.plan.networks.ACTIVATIONS` other than "none".
    """

    images: Images
    layer: str
    activation: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActiveUnits(Cell):
    """Count the units of one ReLU layer until as many are active as the input has elements.

    Parameters
    ----------
    initialisation : str
        Of the layer's weights.
    ratios : tuple of float
        Widths over n at which to record whether n units are active.
    """

    images: Images
    initialisation: str = "default"
    ratios: tuple[float, ...] = (1.8, 1.9, 1.95, 2.0, 2.05, 2.1, 2.2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroUnits(Cell):
    """Share of units that a network's ReLUs set to zero at an image."""

    network: MLP | ResNet
    images: Images


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientNorms(Cell):
    """Norms of the article's gradient at the start, by the layer that it comes from.

    Parameters
    ----------
    network : ResNet
        Its layer is ignored: all are measured.
    images : Images
        The photographs.
    statistics : str
        One of `STATISTICS`.
    together : int
        Photographs, each with its own start, in one batch through the network.
    """

    network: ResNet
    images: Images
    statistics: str
    together: int = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurLoss(Cell):
    """How far the last blur of a run would move the image itself."""

    images: Images
    blur: Blur


# --- linear stacks --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactInverse(Cell):
    """Invert a square linear stack layer by layer, in float32 and in float64."""

    network: MLP
    images: Images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditioning(Cell):
    """Condition numbers of a linear stack up to each of its layers, in float64."""

    network: MLP


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpreadRate(Cell):
    """By how many nats each layer of a very deep linear stack spreads its singular values.

    Logarithms of the diagonals of successive QR decompositions are summed, which stay in range at
    any depth.

    Parameters
    ----------
    inputs, width, depth : int
        n, the units m >= n of every layer, and the number of layers.
    initialisation : str
        Of their weights.
    """

    inputs: int
    width: int
    depth: int
    initialisation: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours(Cell):
    """Inputs a'' whose outputs lie near that of the image: noise on the output, inverted exactly.

    Parameters
    ----------
    network : MLP
        Square layers without activations.
    images : Images
        The image whose output is disturbed.
    sd : float
        Standard deviation of the noise on the output.
    points : int
        Number of inputs.
    """

    network: MLP
    images: Images
    sd: float = 1e-3
    points: int = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighbourLaw(Cell):
    """The distance of one a'' over that of its output, in each of many small square stacks.

    Parameters
    ----------
    network : MLP
        Square layers without activations or biases.
    networks : int
        Number of stacks.
    """

    network: MLP
    networks: int


# --- training -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Cell):
    """Train a network and measure its accuracy; all cells of the trained network wait for it."""

    network: ResNet

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network.training is None:
            raise SettingError(
                self.network.name,
                rule="its settings have no training",
                remedy="Give ResNet(training=...)",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbe(Cell):
    """How much of its input a linear regression recovers from the output of a ResNet.

    Fitted to crops of the bundled pictures, evaluated on crops of their held-out thirds.

    Parameters
    ----------
    pixels : int
        Side of the crops.
    examples : int
        Crops to fit; a quarter as many are held out.
    """

    network: ResNet
    pixels: int
    examples: int = 400


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyUpdates(Cell):
    """How much updates of the first layer lower a loss, by the condition number of later layers.

    The first layer of a linear stack is trained by plain gradient descent. The later layers are
    fixed: square, with random singular vectors, singular values evenly spaced in their logarithm
    and equal Frobenius norms. The inputs are white; the targets are what another first layer would
    give.

    Parameters
    ----------
    width : int
        Of every layer.
    depth : int
        Layers after the first.
    conditions : tuple of float
        Condition numbers of the product of the later layers, each of a separate stack.
    rate : float
        Learning rate, as a share of the largest that converges.
    steps : int
        Of the descent.
    """

    width: int
    depth: int
    conditions: tuple[float, ...]
    rate: float
    steps: int


# --- exact statements -----------------------------------------------------------------------


@functools.cache
def _hypothesis() -> str:
    return importlib.metadata.version("hypothesis")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Cell):
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

    statement: str
    examples: int
    below: float
    drawn_by: str = dataclasses.field(default_factory=_hypothesis)
