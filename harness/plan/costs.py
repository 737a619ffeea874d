"""What measuring a block of cells costs: seconds of one core, or of a process that shares a GPU.

The constants are fitted to measured runs, within a factor of about two. They order work and give a
first forecast.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.plan import cells
from harness.plan.cells import Cell, Inversion
from harness.plan.decoders import Decoder, GaussNewton, QuasiNewton
from harness.plan.networks import (
    MLP,
    RESNET_LAYERS,
    ModuleFactory,
    Network,
    PrescribedSpectrum,
    ResNet,
)

MACHINES = {
    "cpu": "one core of a processor of about 2020, right within a factor of two",
    "cuda": "one of 16 processes that share an H200, right within a factor of about two",
}
"""What the times are for, by device."""

_CONVOLUTIONS = {
    "resnet18": (1, 1, 5, 10, 15, 20),
    "resnet50": (1, 1, 11, 24, 43, 53),
    "resnet152": (1, 1, 11, 36, 144, 155),
}
"""How many there are up to each of `RESNET_LAYERS`, those of shortcuts included."""

_LIKELY = ResNet(name="resnet18", layer="layer2")
"""What a network of one's own is taken for, since only running it would tell."""


def estimate(mates: Sequence[Cell], *, device: str = "cpu") -> float:
    """Seconds that a block takes.

    Parameters
    ----------
    mates : sequence of Cell
        The block.
    device : str
        "cpu" or "cuda". Cells without an inversion or a training run on the CPU anyway.
    """
    cell, gpu = mates[0], device == "cuda"
    match cell:
        case Inversion():
            return _inversion(cell, mates=len(mates), gpu=gpu)
        case cells.Reflection():
            each = _inversion(cell.inversion, mates=1, gpu=gpu) + 1
        case cells.ErrorInNullSpace():
            decomposition = 1e-10 * cell.images.elements**3
            each = _inversion(cell.inversion, mates=1, gpu=gpu) + decomposition
        case cells.Train():
            each = _training(cell, gpu=gpu)
        case _:
            each = _PER_REPLICATE[type(cell)](cell)
    return each * len(mates)


def _inversion(cell: Inversion, *, mates: int, gpu: bool) -> float:
    gradients = cell.iterations * _gradients_per_iteration(cell.decoder)
    if gpu:
        return gradients * _gpu_gradient(cell, mates=mates) + _gpu_setup(cell.network, mates=mates)
    match cell.network:
        case ResNet() as network:
            # Drawing the image, comparing its reconstruction and packing the weights come first.
            setup = 0.08 + 0.005 * _convolutions(network, "layer4") * network.width_multiplier
            return setup + gradients * _resnet_gradient(network, pixels=cell.images.pixels)
        case ModuleFactory():
            return 0.2 + gradients * _resnet_gradient(_LIKELY, pixels=cell.images.pixels)
        case network:
            layers, weights = _dense(network)
            return gradients * (5e-5 + 4e-4 * (layers > 1) + 1e-9 * weights * mates)


def _gradients_per_iteration(decoder: Decoder) -> float:
    """What an iteration of a decoder costs, over what a gradient costs."""
    match decoder:
        case QuasiNewton():
            return 1.4
        case GaussNewton(inner=inner):
            return 2.0 + 1.2 * inner
    return 1.0


def _resnet_gradient(network: ResNet, *, pixels: int, layer: str | None = None) -> float:
    """Seconds of a gradient on one core."""
    size = max(1.0, (pixels / 48) ** 2) * network.width_multiplier
    return (5e-4 + 2.5e-4 * _convolutions(network, layer or network.layer)) * size


def _gpu_gradient(cell: Inversion, *, mates: int) -> float:
    double = cell.precision == "float64"
    match _LIKELY if isinstance(cell.network, ModuleFactory) else cell.network:
        case ResNet() as network:
            layers = _convolutions(network, network.layer)
            work = cell.restarts * 6e-3 * (cell.images.pixels / 299) ** 2 * layers / 53
            work, least = work * (1 + double), 8e-5 * layers * (1 + double)
        case network:
            # Bound by reading the weights twice.
            layers, weights = _dense(network)
            work, least = 2 * (8 if double else 4) * weights * mates / 2.7e12, 8e-5 * layers
    return max(work, least)


def _gpu_setup(network: Network, *, mates: int) -> float:
    """Seconds of drawing the weights and of capturing a step."""
    match network:
        case ResNet() | ModuleFactory():
            return 0.35
        case MLP():
            widths = (network.inputs, *network.widths)
            return 0.07 + 5e-9 * sum(a * b for a, b in itertools.pairwise(widths)) * mates
    return 0.07


def _training(cell: cells.Train, *, gpu: bool) -> float:
    network, training = cell.network, cell.network.training
    assert training is not None  # the cell's own rule
    shown = training.epochs * training.images
    if gpu:
        # The crops are cut on the CPU, once.
        return 1e-3 * training.images + 7e-4 * max(1.0, (training.pixels / 64) ** 2) * shown
    size = max(1.0, (training.pixels / 48) ** 2) * network.width_multiplier
    return 7e-5 * _convolutions(network, "layer4") * size * shown


def _convolutions(network: ResNet, layer: str) -> int:
    counts = _CONVOLUTIONS.get(network.name, _CONVOLUTIONS["resnet50"])
    return dict(zip(RESNET_LAYERS, counts, strict=True)).get(layer, counts[-1])


def _dense(network: MLP | PrescribedSpectrum) -> tuple[int, int]:
    """Layers and weights of a step; linear stacks are composed into one layer."""
    if isinstance(network, MLP) and not network.linear:
        widths = (network.inputs, *network.widths)
        return len(network.widths), sum(a * b for a, b in itertools.pairwise(widths))
    outputs = network.widths[-1] if isinstance(network, MLP) else network.outputs
    return 1, network.inputs * outputs


_PER_REPLICATE: Mapping[type[Cell], Callable[[Any], float]] = {
    cells.ExactInverse: lambda cell: 0.02 + 3e-10 * cell.network.inputs**3,
    cells.ActiveUnits: lambda cell: 0.01 + 3e-8 * cell.images.elements**2,
    cells.LocalRank: lambda cell: 3e-4 * cell.network.widths[-1] + 5e-9 * cell.network.inputs**3,
    cells.Search: lambda cell: 0.01 * cell.examples,
    cells.Conditioning: lambda cell: (
        1e-9 * len(cell.network.widths) * cell.network.inputs**2 * cell.network.widths[0]
    ),
    cells.SpreadRate: lambda cell: 1e-9 * cell.depth * cell.inputs * cell.width**2,
    cells.Neighbours: lambda cell: 1e-10 * len(cell.network.widths) * cell.network.inputs**3,
    cells.NeighbourLaw: lambda cell: 0.3 + 1e-9 * cell.networks * cell.network.inputs**3,
    cells.GradientNorms: lambda cell: (
        2
        * cell.together
        * _resnet_gradient(cell.network, pixels=cell.images.pixels, layer="layer4")
    ),
    cells.SquareLayer: lambda cell: 5e-9 * cell.images.elements**3,
    cells.PooledRank: lambda cell: 0.1 + 2e-9 * cell.images.elements**3,
    cells.ZeroUnits: lambda _: 0.2,
    cells.BlurLoss: lambda _: 0.05,
    cells.JacobianSpectrum: lambda cell: (
        0.1 + 1e-10 * cell.images.elements**3 * cell.network.width_multiplier
    ),
    cells.LinearProbe: lambda cell: 1.0 + 5e-4 * cell.examples * max(1.0, (cell.pixels / 32) ** 2),
    cells.EarlyUpdates: lambda cell: (
        0.05 + 1e-9 * cell.width**3 * cell.steps * len(cell.conditions)
    ),
}
"""Seconds of one replicate on one core."""
