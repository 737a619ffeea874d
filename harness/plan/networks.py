"""Settings of networks: architecture, layer, weights, training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import SettingError, WeightsError
from harness.files import sha256_of
from harness.plan.fields import OUTSIDE_IDENTITY, SCHEDULES, check, check_types, known
from harness.plan.sources import Source, check_arguments, find

RESNET_LAYERS = ("conv1", "stem", "layer1", "layer2", "layer3", "layer4")
"""Layers of a ResNet, from shallow to deep: conv1 before BatchNorm, stem after max-pooling; the
article's Conv2 to Conv5 are layer1 to layer4."""


RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
"""torchvision's networks that have a ResNet's layers."""


ACTIVATIONS = ("none", "relu", "leaky-relu", "tanh", "sigmoid")


INITIALISATIONS = ("default", "gaussian", "orthogonal")


BLOCKS = ("attention", "transformer", "mixer")
"""Blocks on tokens: self-attention alone, a transformer's and an MLP-mixer's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Weights from a local file, identified by their digest."""

    sha256: str
    path: Path = dataclasses.field(metadata=OUTSIDE_IDENTITY, compare=False)

    @classmethod
    def of(cls, path: Path) -> WeightsFile:
        """A weights file with its digest.

        Raises
        ------
        WeightsError
            Where there is no such file.
        """
        try:
            return cls(sha256=sha256_of(path), path=path)
        except OSError as error:
            raise WeightsError.unreadable(path, error) from error


CONTENTS = ("noise", "photographs")
"""What networks are trained on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How an untrained network is trained to classify images, by Adam.

    Parameters
    ----------
    content : str
        "noise": images of independent elements N(1/2, 1/4) under random labels, which can only be
        memorised; the same in every epoch. "photographs": random crops of the bundled photographs
        and textures, one class each; a third of each picture is held out, and crops are mirrored
        and recoloured at random in every epoch.
    classes : int
        Number of labels; of photographs and textures, the first ones.
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
        "fixed", or "decreasing": linearly towards zero, epoch by epoch.
    device : str
        "cpu" or "cuda"; another device rounds differently and yields other weights.
    folder : Path or None
        Where trained weights are stored.

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
    device: str = "cpu"
    folder: Path | None = dataclasses.field(default=None, metadata=OUTSIDE_IDENTITY, compare=False)

    def __post_init__(self) -> None:
        known(self.content, CONTENTS, what="content to train on")
        known(self.schedule, SCHEDULES, what="schedule")
        check(
            self.images >= self.batch > 1 and self.epochs > 0 and self.pixels > 0,
            self,
            rule="a training has at least one epoch of at least one batch of at least two images",
            remedy="Choose more images, or a smaller batch",
        )
        check(
            1 < self.classes <= self.images and self.rate > 0,
            self,
            rule="there are at least two classes, at least one image each, and a rate above 0",
            remedy="Choose numbers like the article's: 100 classes of 10,000 images, rate 0.0001",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet:
    """A torchvision ResNet up to a layer, in eval mode.

    Parameters
    ----------
    name : str
        One of `RESNETS`.
    layer : str
        One of `RESNET_LAYERS`.
    weights : WeightsFile or None
        None for torchvision's initialisation with the replicate's seed.
    width_multiplier : float
        Share of torchvision's channels that each layer has.
    training : Training or None
        How its initial weights are trained; None leaves them as they are.

    Raises
    ------
    UnknownNameError
        Where there is no such network or layer.
    SettingError
        Where a number is out of range, or the settings contradict each other.
    """

    name: str
    layer: str
    weights: WeightsFile | None = None
    width_multiplier: float = 1.0
    training: Training | None = None

    def __post_init__(self) -> None:
        check_types(self)
        known(self.name, RESNETS, what="ResNet of torchvision")
        known(self.layer, RESNET_LAYERS, what="layer of a ResNet")
        check(
            0 < self.width_multiplier <= 1,
            self.width_multiplier,
            rule="a width multiplier is a share of torchvision's channels, above 0 and up to 1",
            remedy="Choose 1 for torchvision's own",
        )
        check(
            self.weights is None or (self.training is None and self.width_multiplier == 1),
            self,
            rule="weights from a file fit torchvision's own width and are not trained further",
            remedy="Leave out either weights, or width_multiplier and training",
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

    Raises
    ------
    UnknownNameError
        Where there is no such activation or initialisation.
    SettingError
        Where it has no layers or no units.
    """

    inputs: int
    widths: tuple[int, ...]
    activation: str = "none"
    initialisation: str = "default"
    bias: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        known(self.activation, ACTIVATIONS, what="activation")
        known(self.initialisation, INITIALISATIONS, what="initialisation")
        check(
            len(self.widths) > 0 and min(self.inputs, *self.widths) > 0,
            self,
            rule="a stack has at least one layer, and every layer at least one unit",
            remedy="Choose such widths",
        )

    @property
    def linear(self) -> bool:
        """Whether the whole stack is one affine map."""
        return self.activation == "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrescribedSpectrum:
    """A linear map with a prescribed spectrum and random singular vectors (Haar).

    Singular values are evenly spaced in their logarithms; their mean square is 1.

    Parameters
    ----------
    inputs, outputs : int
        n, and at least as many outputs.
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
            rule="there are as many outputs as inputs or more, and the condition is 1 or more",
            remedy="Choose larger numbers",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModuleFactory:
    """A network of one's own: what a function returns, up to a layer, in eval mode.

    The function is called anew for every replicate, with torch's, numpy's and Python's random
    generators seeded by the replicate. The network takes images, shape (batch, channels, rows,
    columns). Make one by `module`, which checks what can be known without running the code.

    Parameters
    ----------
    name : str
        The function's, or a class's, in its file.
    layer : str or None
        A dotted name as in `module.named_modules()`, known once the module is made; None for the
        output of the whole module.
    source : Source
        The file.
    arguments : str
        What it is called with, by name, as JSON.
    weights : WeightsFile or None
        Loaded into what it returns; None leaves the weights as they were drawn.
    """

    name: str
    layer: str | None
    source: Source
    arguments: str = "{}"
    weights: WeightsFile | None = None

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def text(self) -> str:
        """What it is called: its file and function."""
        return f"{self.source.path.name}:{self.name}"


def module(
    factory: str,
    *,
    layer: str | None = None,
    arguments: Mapping[str, object] | None = None,
    weights: str | Path | None = None,
    folder: Path = Path(),
) -> ModuleFactory:
    """A network of one's own, by the name of the function that makes it.

    Its measurements are known by the content of the function's file and of the files beside it
    that it imports, by the arguments, and by the content of the weights: once one of them is
    edited, all is measured anew. Data that the code reads by itself is not looked at.

    Parameters
    ----------
    factory : str
        "my_net.py:make", or "package.module:make" for what can be imported.
    layer : str or None
        The layer to invert, as in `module.named_modules()`; None for the whole module's output.
    arguments : mapping or None
        What it is called with, by name: names, numbers, truth values, None, and lists or
        dictionaries of these; tuples arrive as lists.
    weights : str, Path or None
        A file for `harness.load_weights`; None has weights drawn anew for every replicate.
    folder : Path
        To which the paths are relative.

    Raises
    ------
    ModuleError
        Where there is no such file or module, or it is no Python.
    UnknownNameError
        Where the file has no such function.
    SettingError
        Where it does not take these arguments, or JSON cannot hold them.
    WeightsError
        Where there is no such weights file.
    """
    source, name = find(factory, folder=folder)
    check_arguments(source, name, given := arguments or {})
    try:
        text = json.dumps(given, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"the arguments of {factory}",
            rule=f"they are names and finite numbers, and lists of these ({error})",
            remedy="Give such a value, and make of it what the network needs in the function",
        ) from error
    return ModuleFactory(
        name=name,
        layer=layer,
        source=source,
        arguments=text,
        weights=None if weights is None else WeightsFile.of((folder / weights).resolve()),
    )


Network = ResNet | MLP | PrescribedSpectrum | ModuleFactory
