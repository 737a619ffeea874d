"""Rank of one layer with as many outputs as inputs."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from harness.encoders.encoder import ModuleEncoder
from harness.encoders.spectrum import jacobian, spectra
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import SquareLayer
from harness.subjects.generators import global_seed, weights_seed
from harness.subjects.images.originals import draw_original

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def square_layer(cell: SquareLayer) -> Measurement:
    """Rank in float64, and by the tolerance of float32."""
    image, label = draw_original(cell.images, cell.seeds)
    n, channels = cell.images.elements, cell.images.channels
    with global_seed(weights_seed(cell.seeds)):
        linear = (
            nn.Sequential(nn.Flatten(), nn.Linear(n, n))
            if cell.layer == "dense"
            else nn.Conv2d(channels, channels, 3, padding=1)
        )
    layer = nn.Sequential(linear, _ACTIVATIONS[cell.activation]()).double().requires_grad_(False)
    (found,) = spectra(jacobian(ModuleEncoder(layer.eval()), image[None]))
    coarse = dataclasses.replace(
        found, tolerance=n * torch.finfo(torch.float32).eps * float(found.values[0])
    )
    values = {
        "rank_share": found.rank / n,
        "effective_share": coarse.rank / n,
        "condition": found.condition,
    }
    return Measurement(values=values, outcome=outcome_of(values), labels={"image": label})
