"""Named settings of a measurement: networks, images, starts and decoders, as frozen values."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TypeVar

from harness.errors import SettingError, UnknownNameError

OUTSIDE_IDENTITY = {"identity": False}
"""Field metadata of what says where something lies, not what it is."""

LATER = {"later": True}
"""Field metadata of a setting that came later: identities say nothing of it where it has its
default, so that they stay what they were before there was a choice."""

CUTS = ("conv1", "stem", "layer1", "layer2", "layer3", "layer4")
"""Where a ResNet is cut, from shallow to deep: conv1 before BatchNorm, stem after max-pooling;
the article's Conv2 to Conv5 are layer1 to layer4."""

ACTIVATIONS = ("none", "relu", "leaky-relu", "tanh", "sigmoid")
INITIALISATIONS = ("default", "gaussian", "orthogonal")
BLOCKS = ("attention", "transformer", "mixer")
"""Blocks on tokens: self-attention alone, a transformer's and an MLP-mixer's."""

P = TypeVar("P")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Weights from a local file, known by their digest."""

    sha256: str
    path: Path = dataclasses.field(metadata=OUTSIDE_IDENTITY, compare=False)


CONTENTS = ("noise", "photographs")
"""What networks are trained on here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained to classify images, from its untrained weights on, by Adam.

    Parameters
    ----------
    content : str
        "noise": images of independent elements N(1/2, 1/4) under random labels, which can only be
        memorised; they stay the same from epoch to epoch. "photographs": random crops of the
        bundled photographs and textures, to be told from each other; a third of each picture is
        held out, and colours and sides of the crops are drawn anew in every epoch.
    classes : int
        Labels. Of photographs and textures the first ones.
    images : int
        Of the training set.
    pixels : int
        Their side.
    epochs : int
        Passes over them.
    batch : int
        Images a step.
    rate : float
        Of Adam.
    schedule : str
        "fixed", or "decreasing": the rate falls linearly from epoch to epoch, towards zero.
    device : str
        "cpu" or "cuda": on another device sums are rounded otherwise, and other weights come out.
    folder : Path or None
        Where trained weights are kept, known by the digest of what they come from.

    Raises
    ------
    SettingError
        Where a number is out of range.
    """

    content: str
    classes: int
    images: int
    pixels: int
    epochs: int
    batch: int = 128
    rate: float = 1e-4
    schedule: str = "fixed"
    device: str = dataclasses.field(default="cpu", metadata=LATER)
    folder: Path | None = dataclasses.field(default=None, metadata=OUTSIDE_IDENTITY, compare=False)

    def __post_init__(self) -> None:
        _known(self.content, CONTENTS, what="content to train on")
        _known(self.schedule, SCHEDULES, what="schedule")
        check(
            self.images >= self.batch > 1 and self.epochs > 0 and self.pixels > 0,
            self,
            rule="a training has an epoch of at least one batch of at least two images",
            remedy="Choose more images, or a smaller batch",
        )
        check(
            1 < self.classes <= self.images and self.rate > 0,
            self,
            rule="there are two classes or more, an image or more for each, and a rate above 0",
            remedy="Choose numbers like the article's: 100 classes of 10,000 images, rate 0.0001",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet:
    """A torchvision ResNet cut at a layer, in eval mode.

    Parameters
    ----------
    name : str
        torchvision's name ("resnet50").
    cut : str
        One of `CUTS`.
    weights : WeightsFile or None
        None draws them from the replicate's seed, by torchvision's own initialisation.
    width : float
        Share of torchvision's channels that each layer has.
    training : Training or None
        Trained from the weights that the replicate's seed gives; None leaves them as they are.
    """

    name: str
    cut: str
    weights: WeightsFile | None = None
    width: float = dataclasses.field(default=1.0, metadata=LATER)
    training: Training | None = dataclasses.field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check(
            0 < self.width <= 1,
            self.width,
            rule="a width is a share of torchvision's channels, above 0 and up to 1",
            remedy="Choose 1 for torchvision's own",
        )
        check(
            self.weights is None or (self.training is None and self.width == 1),
            self,
            rule="weights from a file belong to torchvision's own width and are not trained here",
            remedy="Leave out either weights, or width and training",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLP:
    """A stack of fully connected layers.

    Parameters
    ----------
    inputs : int
        Elements of the input, n.
    widths : tuple of int
        Units of each layer, the last one is the output.
    activation : str
        One of `ACTIVATIONS`, after every layer but the last; "none" makes the stack linear.
    initialisation : str
        "default" (torch's U(-1/sqrt(fan_in), 1/sqrt(fan_in))), "gaussian" (N(0, 1/sqrt(fan_in)))
        or "orthogonal".
    bias : bool
        Whether layers have biases, U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    """

    inputs: int
    widths: tuple[int, ...]
    activation: str = "none"
    initialisation: str = "default"
    bias: bool = True

    @property
    def linear(self) -> bool:
        """Whether the whole stack is one affine map."""
        return self.activation == "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shaped:
    """A linear map with a chosen spectrum between random singular vectors (Haar).

    Singular values fall evenly in their logarithms; their mean square is 1.

    Parameters
    ----------
    inputs, outputs : int
        n, and no fewer outputs.
    condition : float
        Greatest over least singular value, at least 1.
    """

    inputs: int
    outputs: int
    condition: float

    def __post_init__(self) -> None:
        check(
            self.outputs >= self.inputs and self.condition >= 1,
            self,
            rule="the map has a condition number: no fewer outputs than inputs, and 1 at least",
            remedy="Choose larger numbers",
        )


Network = ResNet | MLP | Shaped


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder of the user's images, known by the digest of its content."""

    sha256: str
    path: Path = dataclasses.field(metadata=OUTSIDE_IDENTITY, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Where a replicate's image comes from, and its shape.

    Parameters
    ----------
    pixels : int
        Width in pixels.
    rows : int or None
        Height; None means square. Fewer rows than pixels keep the upper part of a square crop.
    channels : int
        3, or 1 for the mean of the three.
    source : str
        "photographs", "dead-leaves", "digits" or "folder".
    folder : ImageFolder or None
        The folder, for source "folder".
    """

    pixels: int
    rows: int | None = None
    channels: int = 3
    source: str = "photographs"
    folder: ImageFolder | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.channels, self.rows or self.pixels, self.pixels

    @property
    def elements(self) -> int:
        """Elements of an image, n."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a descent, N(mean, sd) element by element (the article's N(0.7, 1/20))."""

    mean: float = 0.7
    sd: float = 0.05


ARTICLE_START = Start()
"""The article's start."""

NOISE_TEXT = 1 / 25
"""Standard deviation of a' - a in the article's text."""
NOISE_CODE = 1 / 18
"""Standard deviation of a' - a in the article's published code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blur:
    """A Gaussian blur after each step.

    Sigma falls linearly over the run (the article's 2.4 to 0.4), so that a longer run is not a
    continued shorter one.

    Parameters
    ----------
    kernel : int
        Pixels along each axis, odd.
    first, last : float
        Sigma in pixels.

    Raises
    ------
    SettingError
        Where a number is out of range; so do all settings below.
    """

    kernel: int = 3
    first: float = 2.4
    last: float = 0.4

    def __post_init__(self) -> None:
        check(
            self.kernel > 0 and self.kernel % 2 == 1,
            self,
            rule="a kernel has a pixel in its middle",
            remedy="Choose an odd number of pixels",
        )
        check(
            self.first > 0 and self.last > 0,
            self,
            rule="sigma is above 0",
            remedy="Leave the blur out where there should be none",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """Values clipped to an interval after each step."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check(self.low < self.high, self, rule="low is below high", remedy="Swap them")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TotalVariation:
    """The isotropic total variation of the image, added to the loss (Rudin, Osher, Fatemi 1992).

    Parameters
    ----------
    weight : float
        Its factor.
    smoothing : float
        Rounds the kink at 0: sqrt(dx^2 + dy^2 + smoothing^2).
    """

    weight: float
    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        check(
            self.weight > 0 and self.smoothing > 0,
            self,
            rule="weight and smoothing are above 0",
            remedy="Leave the prior out, or smooth less, where they should be 0",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Jitter:
    """The image shifted cyclically at each step, by up to `pixels` along each axis."""

    pixels: int = 2

    def __post_init__(self) -> None:
        check(
            self.pixels > 0,
            self,
            rule="a shift is of one pixel or more",
            remedy="Leave the jitter out where there should be none",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkPrior:
    """The image as the output of a small convolutional network, whose weights are sought.

    A deep image prior (Ulyanov, Vedaldi, Lempitsky 2018): the network's fixed input is noise, its
    output passes a sigmoid. The start of the decoder is a draw of its weights.

    Parameters
    ----------
    channels : int
        Of its input and of each hidden layer.
    depth : int
        Convolutions, each after a doubling of the resolution.
    """

    channels: int = 16
    depth: int = 2

    def __post_init__(self) -> None:
        check(
            self.channels > 0 and self.depth >= 0,
            self,
            rule="a network has channels, and no less than no halvings",
            remedy="Choose larger numbers",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whitening:
    """The image as coordinates of equal size: its spectrum over that of natural images.

    Amplitudes of photographs fall as 1 / f (Field 1987). A step along such coordinates moves an
    image by what photographs vary by, smooth changes first; it reaches the same images.

    Parameters
    ----------
    exponent : float
        Of the fall; 0 leaves pixels.
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        check(
            self.exponent > 0,
            self,
            rule="amplitudes fall with the frequency: the exponent is above 0",
            remedy="Leave the whitening out where the decoder should move pixels",
        )


Prior = Blur | Box | TotalVariation | Jitter | NetworkPrior | Whitening
"""What an image is expected to be; a decoder takes any number of them."""

LOSSES = ("l1", "l2", "relative-l2")
TOLERANCES = ("target", "noised")
"""What a tolerance is a share of: |O(a)|, or m_r, the distance that a' has."""
SCHEDULES = ("fixed", "decreasing")
RULES = ("gradient", "polyak", "normalised")
KEEPS = ("last", "best")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """What all decoders have in common.

    Parameters
    ----------
    loss : str
        "l1" (sum of absolute differences), "l2" (half the sum of squares) or "relative-l2" (the
        same over that of the target).
    priors : tuple of Prior
        What an image is expected to be; one of each kind at most.
    keep : str
        Which image of a run is its result: the "last" one, or that of the least loss ("best").
    tolerance : float
        A sample ends where m_g falls to this share of a reference; 0 lets it run on.
    tolerance_of : str
        The reference, one of `TOLERANCES`.

    Raises
    ------
    SettingError
        Where a name is unknown, a number is out of range, or priors exclude each other.
    """

    loss: str = "l2"
    priors: tuple[Prior, ...] = ()
    keep: str = "best"
    tolerance: float = 0.0
    tolerance_of: str = dataclasses.field(default="target", metadata=LATER)

    def __post_init__(self) -> None:
        _known(self.loss, LOSSES, what="loss")
        _known(self.keep, KEEPS, what="image to keep")
        _known(self.tolerance_of, TOLERANCES, what="reference of a tolerance")
        check(
            0 <= self.tolerance < (1 if self.tolerance_of == "target" else math.inf),
            f"tolerance={self.tolerance}",
            rule="a tolerance is a share of the target's norm, from 0 to below 1, or any of m_r",
            remedy="Choose 0 for a run of all its iterations",
        )
        kinds = [type(prior) for prior in self.priors]
        check(
            len(set(kinds)) == len(kinds),
            self.priors,
            rule="a decoder takes one prior of a kind",
            remedy="Leave out the second",
        )
        check(
            len({NetworkPrior, Whitening} & set(kinds)) + bool({Blur, Box} & set(kinds)) <= 1,
            self.priors,
            rule="a blur and a box act on an image after each step; with a network prior the "
            "decoder moves weights instead, with a whitening a spectrum",
            remedy="Leave out these, or the network prior, or the whitening",
        )

    def prior(self, kind: type[P]) -> P | None:
        """The prior of a kind, if there is one."""
        return next((prior for prior in self.priors if isinstance(prior, kind)), None)

    def _refuse(self, *kinds: type[Prior], reason: str) -> None:
        for prior in self.priors:
            check(
                not isinstance(prior, kinds),
                prior,
                rule=f"{type(self).__name__} cannot take it, since {reason}",
                remedy="Leave it out, or choose Descent or Adam",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent(Decoding):
    """Gradient descent, a <- a - size * g; by default the article's, except for its blur.

    Parameters
    ----------
    step : float
        epsilon; 0.1 in the article.
    factor : float
        Factor of the loss: 0.15 for its ResNets, 0.35 for its MLPs.
    schedule : str
        "fixed" (its code) or "decreasing" (its text: linearly to zero, but not below `minimum`).
    minimum : float
        Least step of the decreasing schedule.
    rule : str
        What the size of a step is, `factor * step` being s: s itself ("gradient"); s times the
        loss over |g|^2, Polyak's for a least loss of 0 ("polyak"; s = 1 is his own); or s times
        sqrt(n) / |g|, which moves an element by s in the mean square ("normalised").
    """

    loss: str = "l1"
    keep: str = "last"
    step: float = 0.1
    factor: float = 0.15
    schedule: str = "fixed"
    minimum: float = 1e-4
    rule: str = "gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        _known(self.schedule, SCHEDULES, what="schedule")
        _known(self.rule, RULES, what="rule of a step")
        check(
            self.step * self.factor > 0 and self.minimum >= 0,
            self,
            rule="a step goes down the loss: step times factor is above 0, minimum not below",
            remedy="Choose larger numbers",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(Decoding):
    """Adam on the input, its rate falling to zero along half a cosine (Kingma and Ba 2015)."""

    rate: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.rate > 0 and 0 <= self.beta1 < 1 and 0 <= self.beta2 < 1,
            self,
            rule="a rate is above 0, and a moment decays by a share from 0 to below 1",
            remedy="Choose numbers like those of the default",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGS(Decoding):
    """L-BFGS with a line search for each sample (Nocedal and Wright 2006, algorithm 7.5).

    An iteration is one gradient: a trial of the line search, taken or not.

    Parameters
    ----------
    history : int
        Evaluations looked back on. Each trial that is taken leaves a pair of step and change of the
        gradient there, as far as it has positive curvature; one that is rejected takes a place too.
    stationary : float
        A sample ends where its gradient's norm falls to this share of the first.
    """

    history: int = 20
    stationary: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(Blur, Box, Jitter, reason="they change the image or the loss between steps")
        check(
            self.history > 0 and 0 <= self.stationary < 1,
            self,
            rule="a history has an evaluation or more, and a share is from 0 to below 1",
            remedy="Choose numbers like those of the default",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussNewton(Decoding):
    """Gauss-Newton, its steps damped by Nielsen's rule and found by conjugate gradients.

    An iteration is a step tried: two evaluations, and for each inner iteration one product with J
    and one with its transpose.

    Parameters
    ----------
    inner : int
        Iterations of conjugate gradients a step.
    damping : float
        Initial damping over the squared norm of J, estimated along the gradient.
    stationary : float
        A sample ends where its gradient's norm falls to this share of the first.
    """

    inner: int = 10
    damping: float = 1e-3
    stationary: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(
            Blur,
            Box,
            Jitter,
            TotalVariation,
            NetworkPrior,
            Whitening,
            reason="it minimises squares alone",
        )
        check(
            self.loss != "l1",
            self.loss,
            rule="Gauss-Newton minimises squares",
            remedy="Choose l2 or relative-l2",
        )
        check(
            self.inner > 0 and self.damping > 0 and 0 <= self.stationary < 1,
            self,
            rule="a solver takes an iteration or more, a damping grows from above 0, and a share "
            "is from 0 to below 1",
            remedy="Choose numbers like those of the default",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearSolve(Decoding):
    """The exact solution for a linear network: of all best ones, that nearest to the start.

    Parameters
    ----------
    rcond : float or None
        Singular values below this share of the largest count as 0; None is max(m, n) * eps.
    """

    rcond: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(
            Blur,
            Box,
            Jitter,
            TotalVariation,
            NetworkPrior,
            Whitening,
            reason="it solves equations alone",
        )
        check(
            self.rcond is None or 0 <= self.rcond < 1,
            self,
            rule="a share of the largest singular value is from 0 to below 1",
            remedy="Leave it out for that of rounding",
        )


Decoder = Descent | Adam | LBFGS | GaussNewton | LinearSolve

PRECISIONS = ("float32", "tf32", "float64", "bf16")
"""IEEE float32; float32 with products in TF32 (CUDA); IEEE float64; bfloat16 in the network, for
scouting."""


def decoder_name(decoder: Decoder) -> str:
    """A decoder's name for people: its method."""
    match decoder:
        case Descent(rule="gradient"):
            return "descent"
        case Descent(rule=rule):
            return rule
        case Adam():
            return "adam"
        case LBFGS():
            return "l-bfgs"
        case GaussNewton():
            return "gauss-newton"
        case LinearSolve():
            return "linear"


def _known(name: str, names: tuple[str, ...], *, what: str) -> None:
    if name not in names:
        raise UnknownNameError.nearest(name, names, what=what)


def check(holds: bool, value: object, *, rule: str, remedy: str) -> None:
    """Refuse a value by an error, where a condition does not hold; one with nan never does.

    Parameters
    ----------
    holds : bool
        The condition.
    value, rule, remedy
        As in `harness.errors.DepthClaimsError`.

    Raises
    ------
    SettingError
        Where it does not hold.
    """
    if not holds:
        raise SettingError(value, rule=rule, remedy=remedy)
