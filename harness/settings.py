"""Named settings of a measurement: networks, images, starts and decoders, as frozen values."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

OUTSIDE_IDENTITY = {"identity": False}
"""Field metadata of what says where something lies, not what it is."""

CUTS = ("conv1", "stem", "layer1", "layer2", "layer3", "layer4")
"""Where a ResNet is cut, from shallow to deep: conv1 before BatchNorm, stem after max-pooling;
the article's Conv2 to Conv5 are layer1 to layer4."""

ACTIVATIONS = ("none", "relu", "leaky-relu", "tanh", "sigmoid")
INITIALISATIONS = ("default", "gaussian", "orthogonal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Weights from a local file, known by their digest."""

    sha256: str
    path: Path = dataclasses.field(metadata=OUTSIDE_IDENTITY, compare=False)


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
    """

    name: str
    cut: str
    weights: WeightsFile | None = None


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


Network = ResNet | MLP


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
    """

    kernel: int = 3
    first: float = 2.4
    last: float = 0.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """The article's gradient descent, a <- blur(a - factor * step * g).

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
    blur : Blur or None
        Blur after each step.
    loss : str
        "l1" (sum of absolute differences) or "l2" (half the sum of squares).
    """

    step: float = 0.1
    factor: float = 0.15
    schedule: str = "fixed"
    minimum: float = 1e-4
    blur: Blur | None = Blur()
    loss: str = "l1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam on the input, its rate falling to zero along half a cosine (Kingma and Ba 2015)."""

    rate: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.999
    loss: str = "l2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGS:
    """L-BFGS with a line search for each sample (Nocedal and Wright 2006, algorithm 7.5).

    Parameters
    ----------
    history : int
        Pairs kept.
    tolerance : float
        A sample has converged where its gradient's norm falls below this share of the first.
    """

    history: int = 20
    tolerance: float = 1e-9
    loss: str = "l2"


Decoder = Descent | Adam | LBFGS
