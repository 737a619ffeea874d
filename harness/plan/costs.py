"""What measuring a block of cells costs, in seconds of one core, or of one process beside a GPU.

Of one core of 2020's, and of one of sixteen processes that share an H200, fitted to measured runs;
they order work and tell the time left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.plan import probes, training_cells
from harness.plan.cells import ActiveUnits, Cell, ExactInverse, Inversion, LocalRank
from harness.plan.decoders import LBFGS, Decoder, GaussNewton
from harness.plan.networks import MLP, RESNET_LAYERS, PrescribedSpectrum, ResNet, Training

MACHINES = {
    "cpu": "one core of a processor of about 2020, right within a factor of two",
    "cuda": "one of 16 processes that share an H200, right within a factor of about two",
}
"""What the times are for, by device."""

_STEP_OVERHEAD = 4e-4
_RESNET_STEP = {
    "resnet18": dict(
        zip(RESNET_LAYERS, (0.0008, 0.001, 0.0015, 0.0025, 0.0035, 0.005), strict=True)
    ),
    "resnet50": dict(zip(RESNET_LAYERS, (0.0008, 0.001, 0.002, 0.004, 0.010, 0.018), strict=True)),
    "resnet152": dict(zip(RESNET_LAYERS, (0.0008, 0.001, 0.002, 0.008, 0.035, 0.048), strict=True)),
}
"""Seconds of a gradient at 32 pixels, by cut."""

_SEEN = 0.08
"""Seconds of drawing an image and of comparing its copy with it."""

_LAID_OUT = {"resnet18": 0.06, "resnet50": 0.3, "resnet152": 0.7}
"""Seconds until the weights of a network lie as its steps read them, at torchvision's own width."""

_DECOMPOSED = 1e-10
"""Seconds of a decomposition over the cube of the elements."""

_TRAINED_IMAGE = {"resnet18": 0.0012, "resnet50": 0.004}
"""Seconds that an image takes in training at 32 pixels, at torchvision's own width."""


_CONVOLUTIONS = {
    "resnet18": dict(zip(RESNET_LAYERS, (1, 1, 5, 10, 15, 20), strict=True)),
    "resnet50": dict(zip(RESNET_LAYERS, (1, 1, 11, 24, 43, 53), strict=True)),
    "resnet152": dict(zip(RESNET_LAYERS, (1, 1, 11, 36, 144, 155), strict=True)),
}
"""How many there are, those of shortcuts included, by cut."""

_KERNELS = 8e-5
"""Seconds that a layer and what belongs to it take at least in a step on a shared GPU: some eight
kernels, there and back."""

_IMAGE_STEP = 6e-3
"""Of ResNet-50 up to layer4 at 299 pixels in float32; it falls with the pixels."""

_BYTES = 2.7e12
"""A second that a step on fully connected layers reads, of their weights twice."""

_BUILT = 0.35
"""Seconds of building a network, and of capturing its step."""

_DRAWN = 5e-9
"""Seconds of drawing a weight in float64."""

_GPU_TRAINED_IMAGE = 7e-4
"""Seconds that an image of 64 pixels takes in training on a shared GPU."""


def estimate(mates: Sequence[Cell], *, device: str = "cpu") -> float:
    """Seconds that a block takes, on one core within a factor of about two.

    Parameters
    ----------
    mates : sequence of Cell
        The block.
    device : str
        "cpu" or "cuda". What recovers nothing and trains nothing is measured on the CPU anyway.
    """
    cell = mates[0]
    gpu = device == "cuda"
    match cell:
        case Inversion(network=network, decoder=decoder):
            gradients = cell.iterations * _over_a_gradient(decoder)
            if gpu:
                step, beside = _gpu_step(cell, mates=len(mates)), _built(network, mates=len(mates))
            else:
                step, beside = _step(cell, mates=len(mates)), _prepared(network)
            return gradients * step + beside
        case training_cells.Train(network=network) if gpu:
            assert network.training is not None  # the cell's own rule
            return _gpu_training(network.training)
        case training_cells.Reflection() | probes.ErrorInNullSpace():
            copy = Inversion(
                seeds=cell.seeds,
                network=cell.network,
                images=cell.images,
                decoder=cell.decoder,
                iterations=cell.iterations,
            )
            looked_at = 1.0
            if isinstance(cell, probes.ErrorInNullSpace):
                looked_at = _DECOMPOSED * cell.images.elements**3
            return (estimate([copy], device=device) + looked_at) * len(mates)
        case ExactInverse(network=network):
            return 3e-10 * network.inputs**3 + 0.02
        case ActiveUnits(images=images):
            return 3e-8 * images.elements**2 + 0.01
        case LocalRank(network=network):
            return 3e-4 * network.widths[-1] + 5e-9 * network.inputs**3
    return _ONE_BY_ONE[type(cell)](cell) * len(mates)


def _over_a_gradient(decoder: Decoder) -> float:
    """What an iteration of a decoder costs, over what a gradient costs."""
    match decoder:
        case LBFGS():
            # One gradient, and the products of its history.
            return 1.4
        case GaussNewton(inner=inner):
            return 2.0 + 1.2 * inner
    return 1.0


def _step(cell: Inversion, *, mates: int) -> float:
    """Seconds of one gradient."""
    match cell.network:
        case ResNet(name=name, layer=layer):
            table = _RESNET_STEP.get(name, _RESNET_STEP["resnet50"])
            size = max(1.0, (cell.images.pixels / 48) ** 2) * cell.network.width_multiplier
            return table.get(layer, table["layer4"]) * size
        case MLP() as network:
            flops = _weights(network)
            if network.linear:
                flops = network.inputs * network.widths[-1]
            return 5e-5 + _STEP_OVERHEAD * (not network.linear) + 4 * flops * mates / 4e9
        case PrescribedSpectrum(inputs=inputs, outputs=outputs):
            return 5e-5 + 4 * inputs * outputs * mates / 4e9


def _prepared(network: ResNet | MLP | PrescribedSpectrum) -> float:
    """Seconds beside the steps."""
    if not isinstance(network, ResNet):
        return 0.0
    return _SEEN + _LAID_OUT.get(network.name, _LAID_OUT["resnet50"]) * network.width_multiplier


def _gpu_step(cell: Inversion, *, mates: int) -> float:
    """Seconds of one gradient on a GPU."""
    match cell.network:
        case ResNet(name=name, layer=layer):
            number = _CONVOLUTIONS.get(name, _CONVOLUTIONS["resnet50"])[layer]
            pixels = (cell.images.pixels / 299) ** 2
            arithmetic = _IMAGE_STEP * pixels * number / _CONVOLUTIONS["resnet50"]["layer4"]
            # Doubles are a half as fast at best.
            double = 1 + (cell.precision == "float64")
            return max(number * _KERNELS, cell.restarts * arithmetic) * double
        case MLP() as network:
            weights = _weights(network)
            if network.linear:
                weights = network.inputs * network.widths[-1]
            layers = 1 if network.linear else len(network.widths)
        case PrescribedSpectrum(inputs=inputs, outputs=outputs):
            weights, layers = inputs * outputs, 1
    size = 8 if cell.precision == "float64" else 4
    return max(layers * _KERNELS, 2 * size * weights * mates / _BYTES)


def _built(network: ResNet | MLP | PrescribedSpectrum, *, mates: int) -> float:
    """Seconds beside the steps, on a GPU."""
    match network:
        case MLP():
            return _DRAWN * _weights(network) * mates + _BUILT / 5
        case ResNet():
            return _BUILT
    return _BUILT / 5


def _weights(network: MLP) -> int:
    return sum(a * b for a, b in itertools.pairwise((network.inputs, *network.widths)))


def _gpu_training(training: Training) -> float:
    shown = training.epochs * training.images
    # The crops are cut on the CPU, once.
    layer = 1e-3 * training.images
    return layer + _GPU_TRAINED_IMAGE * max(1.0, (training.pixels / 64) ** 2) * shown


def _training(network: ResNet, training: Training) -> float:
    image = _TRAINED_IMAGE.get(network.name, _TRAINED_IMAGE["resnet50"])
    size = max(1.0, (training.pixels / 48) ** 2) * network.width_multiplier
    return training.epochs * training.images * image * size


def _deep(name: str) -> float:
    return _RESNET_STEP.get(name, _RESNET_STEP["resnet50"])["layer4"]


_ONE_BY_ONE: Mapping[type, Callable[[Any], float]] = {
    probes.Search: lambda cell: 0.01 * cell.examples,
    probes.Conditioning: lambda cell: (
        1e-9 * len(cell.network.widths) * cell.network.inputs**2 * cell.network.widths[0]
    ),
    probes.SpreadRate: lambda cell: 1e-9 * cell.depth * cell.inputs * cell.width**2,
    probes.Neighbours: lambda cell: 1e-10 * len(cell.network.widths) * cell.network.inputs**3,
    probes.NeighbourLaw: lambda cell: 1e-9 * cell.networks * cell.network.inputs**3 + 0.3,
    probes.GradientNorms: lambda cell: (
        2 * cell.together * _deep(cell.network.name) * max(1.0, (cell.images.pixels / 48) ** 2)
    ),
    probes.SquareLayer: lambda cell: 5e-9 * cell.images.elements**3,
    probes.PooledRank: lambda cell: 2e-9 * cell.images.elements**3 + 0.1,
    probes.ZeroUnits: lambda _: 0.2,
    probes.BlurLoss: lambda _: 0.05,
    training_cells.Train: lambda cell: _training(cell.network, cell.network.training),
    training_cells.JacobianSpectrum: lambda cell: (
        1e-10 * cell.images.elements**3 * cell.network.width_multiplier + 0.1
    ),
    training_cells.LinearProbe: lambda cell: (
        5e-4 * cell.examples * max(1.0, (cell.pixels / 32) ** 2) + 1.0
    ),
    training_cells.EarlyUpdates: lambda cell: (
        1e-9 * cell.width**3 * cell.steps * len(cell.conditions) + 0.05
    ),
}
"""One replicate of each probe and of what concerns training, on one core."""
