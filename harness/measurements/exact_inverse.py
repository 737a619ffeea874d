"""Exact inverses of square linear stacks, in two precisions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.encoders.stacks import Layer
from harness.inversion.distances import l2
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import ExactInverse
from harness.plan.seeds import Source
from harness.subjects.generators import torch_generator
from harness.subjects.images.originals import draw_original
from harness.subjects.mlp import draw_layers

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def invert_exactly(cell: ExactInverse) -> Measurement:
    """Solve layer by layer from the output back to the input, in both dtypes."""
    image, label = draw_original(cell.images, cell.seeds)
    layers = draw_layers(cell.network, generators=[torch_generator(cell.seeds, Source.WEIGHTS)])
    values = {}
    for name, dtype in _DTYPES.items():
        original = image.flatten().to(dtype)
        recovered = _solve(
            [Layer(layer.weight.to(dtype), layer.bias.to(dtype)) for layer in layers], original
        )
        error = l2((recovered.double() - original.double())[None]) / l2(original.double()[None])
        values[f"error_{name}"] = float(error)
    matrix = layers[0].weight[0]
    for layer in layers[1:]:
        matrix = layer.weight[0] @ matrix
    singular = torch.linalg.svdvals(matrix)
    values["condition"] = float(singular[0] / singular[-1])
    return Measurement(values=values, outcome=outcome_of(values), labels={"image": label})


def _solve(layers: Sequence[Layer], original: Tensor) -> Tensor:
    hidden = original
    for layer in layers:
        hidden = layer.weight[0] @ hidden + layer.bias[0]
    for layer in reversed(layers):
        hidden = torch.linalg.solve(layer.weight[0], hidden - layer.bias[0])
    return hidden
