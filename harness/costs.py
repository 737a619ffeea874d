"""What measuring a block of cells costs, in seconds of one core.

Of one core of 2020's, fitted to measured runs; they order work and tell the time left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import probes, training_cells
from harness.cells import ActiveUnits, Cell, ExactInverse, Inversion, LocalRank
from harness.settings import CUTS, LBFGS, MLP, GaussNewton, ResNet, Shaped, Training

_STEP_OVERHEAD = 4e-4
_RESNET_STEP = {
    "resnet18": dict(zip(CUTS, (0.0008, 0.001, 0.0015, 0.0025, 0.0035, 0.005), strict=True)),
    "resnet50": dict(zip(CUTS, (0.0008, 0.001, 0.002, 0.004, 0.010, 0.018), strict=True)),
    "resnet152": dict(zip(CUTS, (0.0008, 0.001, 0.002, 0.008, 0.035, 0.048), strict=True)),
}
"""Seconds of a gradient at 32 pixels, by cut."""

_TRAINED_IMAGE = {"resnet18": 0.0012, "resnet50": 0.004}
"""Seconds that an image takes in training at 32 pixels, at torchvision's own width."""


def estimate(mates: Sequence[Cell]) -> float:
    """Seconds that a block takes on one core, within a factor of about two."""
    cell = mates[0]
    match cell:
        case Inversion(network=network, decoder=decoder):
            evaluations = 1.0
            if isinstance(decoder, LBFGS):
                evaluations = 1.4
            if isinstance(decoder, GaussNewton):
                evaluations = 2.0 + 1.2 * decoder.inner
            return cell.iterations * _step(cell, mates=len(mates)) * evaluations
        case ExactInverse(network=network):
            return 3e-10 * network.inputs**3 + 0.02
        case ActiveUnits(images=images):
            return 3e-8 * images.elements**2 + 0.01
        case LocalRank(network=network):
            return 3e-4 * network.widths[-1] + 5e-9 * network.inputs**3
    return _ONE_BY_ONE[type(cell)](cell) * len(mates)


def _step(cell: Inversion, *, mates: int) -> float:
    """Seconds of one gradient."""
    match cell.network:
        case ResNet(name=name, cut=cut):
            table = _RESNET_STEP.get(name, _RESNET_STEP["resnet50"])
            size = max(1.0, (cell.images.pixels / 48) ** 2) * cell.network.width
            return table.get(cut, table["layer4"]) * size
        case MLP() as network:
            widths = (network.inputs, *network.widths)
            flops = sum(a * b for a, b in itertools.pairwise(widths))
            if network.linear:
                flops = network.inputs * network.widths[-1]
            return 5e-5 + _STEP_OVERHEAD * (not network.linear) + 4 * flops * mates / 4e9
        case Shaped(inputs=inputs, outputs=outputs):
            return 5e-5 + 4 * inputs * outputs * mates / 4e9


def _training(network: ResNet, training: Training) -> float:
    image = _TRAINED_IMAGE.get(network.name, _TRAINED_IMAGE["resnet50"])
    size = max(1.0, (training.pixels / 48) ** 2) * network.width
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
    training_cells.Train: lambda cell: _training(cell.network, cell.network.training),
    training_cells.JacobianSpectrum: lambda cell: (
        1e-10 * cell.images.elements**3 * cell.network.width + 0.1
    ),
    training_cells.LinearProbe: lambda cell: (
        5e-4 * cell.examples * max(1.0, (cell.pixels / 32) ** 2) + 1.0
    ),
    training_cells.Reflection: lambda cell: (
        cell.iterations * _deep(cell.network.name) * cell.network.width
    ),
    training_cells.EarlyUpdates: lambda cell: (
        1e-9 * cell.width**3 * cell.steps * len(cell.conditions) + 0.05
    ),
    probes.ErrorInNullSpace: lambda cell: (
        cell.iterations * _deep(cell.network.name) + 1e-10 * cell.images.elements**3
    ),
}
"""One replicate of each probe and of what concerns training."""
