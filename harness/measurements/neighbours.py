"""Inputs whose outputs lie near that of an image, by exact inversion of square linear stacks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.inversion.distances import l2
from harness.measurements.measurement import Measurement, outcome_of
from harness.measurements.theory import neighbour_stretch
from harness.plan.cells import NeighbourLaw, Neighbours
from harness.plan.images import NOISE_TEXT
from harness.plan.seeds import Source
from harness.subjects.generators import torch_generator
from harness.subjects.images.originals import draw_original
from harness.subjects.images.starts import draw_noise
from harness.subjects.mlp import draw_layers, draw_stack


def neighbours(cell: Neighbours) -> Measurement:
    """Distances of the neighbours, as found and clipped to [0, 1]; sorted in the traces."""
    image, label = draw_original(cell.images, cell.seeds)
    original = image.flatten()[None]
    layers = draw_stack(cell.network, cell.seeds)
    output = _forward(layers, original)
    noise = cell.sd * torch.randn(
        cell.points,
        output.shape[1],
        dtype=torch.float64,
        generator=torch_generator(cell.seeds, Source.NOISE, 1),
    )
    found = output + noise
    for weight, bias in reversed(layers):
        found = torch.linalg.solve(weight, (found - bias).T).T
    distances, outputs = l2(found - original), l2(noise)
    order = distances.argsort()
    residuals = l2(_forward(layers, found) - output - noise) / outputs
    noised = float(l2(draw_noise(NOISE_TEXT, cell.images, cell.seeds).flatten()[None]))
    values = {
        "distance": float(distances.median()),
        "m_n": noised,
        "nearer_than_noised": float((distances < noised).double().mean()),
        "outside": float(((found < 0) | (found > 1)).double().mean(1).median()),
        "clipped": float(l2(found.clamp(0, 1) - original).median()),
        "error": float(residuals.max()),
    }
    return Measurement(
        values=values,
        outcome=outcome_of(values),
        traces={
            "iteration": tuple(map(float, range(1, cell.points + 1))),
            "distance": tuple(distances[order].tolist()),
            "output": tuple(outputs[order].tolist()),
        },
        labels={"image": label},
    )


def neighbour_law(cell: NeighbourLaw) -> Measurement:
    """The median over networks of the stretch of one output's distance, and its law."""
    n, depth = cell.network.inputs, len(cell.network.widths)
    generator = torch_generator(cell.seeds, Source.WEIGHTS)
    found = torch.randn(
        cell.networks,
        n,
        1,
        dtype=torch.float64,
        generator=torch_generator(cell.seeds, Source.NOISE),
    )
    lengths = l2(found)
    for layer in reversed(draw_layers(cell.network, generators=[generator] * cell.networks)):
        found = torch.linalg.solve(layer.matrix, found)
    stretch = float((l2(found) / lengths).median())
    # Standard deviations of the weights, as `MLP` states the initialisations.
    sd = {"gaussian": n**-0.5, "default": (3 * n) ** -0.5}[cell.network.initialisation]
    law = neighbour_stretch(depth=depth, sd=sd)
    values = {"stretch": stretch, "law": law, "log_ratio": math.log(stretch / law)}
    return Measurement(values=values, outcome=outcome_of(values))


def _forward(layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor) -> Tensor:
    for weight, bias in layers:
        inputs = inputs @ weight.T + bias
    return inputs
