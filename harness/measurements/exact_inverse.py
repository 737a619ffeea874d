"""Exact inverses of square linear stacks, in two precisions."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.inversion.distances import l2
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import ExactInverse
from harness.subjects.images.originals import draw_original
from harness.subjects.mlp import draw_stack

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def invert_exactly(cell: ExactInverse) -> Measurement:
    """Solve layer by layer from the output back to the input, in both dtypes."""
    image, label = draw_original(cell.images, cell.seeds)
    layers = draw_stack(cell.network, cell.seeds)
    values = {}
    for name, dtype in _DTYPES.items():
        original = image.flatten().to(dtype)
        recovered = _solve(
            [(weight.to(dtype), bias.to(dtype)) for weight, bias in layers], original
        )
        error = l2((recovered.double() - original.double())[None]) / l2(original.double()[None])
        values[f"error_{name}"] = float(error)
    matrix = functools.reduce(lambda before, weight: weight @ before, [each for each, _ in layers])
    singular = torch.linalg.svdvals(matrix)
    values["condition"] = float(singular[0] / singular[-1])
    return Measurement(values=values, outcome=outcome_of(values), labels={"image": label})


def _solve(layers: Sequence[tuple[Tensor, Tensor]], original: Tensor) -> Tensor:
    hidden = original
    for weight, bias in layers:
        hidden = weight @ hidden + bias
    for weight, bias in reversed(layers):
        hidden = torch.linalg.solve(weight, hidden - bias)
    return hidden
