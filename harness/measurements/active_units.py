"""Active units of a ReLU layer at an image."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.measurements.measurement import Measurement
from harness.plan.cells import ActiveUnits
from harness.plan.seeds import Source
from harness.subjects.generators import torch_generator
from harness.subjects.images.originals import draw_original
from harness.subjects.mlp import draw_weight


def count_active(cell: ActiveUnits) -> Measurement:
    """Draw units one by one until n are active; units come in blocks of n for speed."""
    image, label = draw_original(cell.images, cell.seeds)
    n = cell.images.elements
    generator = torch_generator(cell.seeds, Source.WEIGHTS)
    bound = n**-0.5
    counts: list[Tensor] = []
    active = 0
    least = int(max(cell.ratios) * n) + 1
    while active < n or sum(map(len, counts)) < least:
        weight = draw_weight(
            out=n, inputs=n, initialisation=cell.initialisation, generator=generator
        )
        bias = torch.empty(n, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        on = (weight @ image.flatten() + bias) > 0
        counts.append(on)
        active += int(on.sum())
    cumulative = torch.cat(counts).cumsum(0)
    needed = int(torch.searchsorted(cumulative, n)) + 1
    values = {"needed": needed / n}
    for ratio in cell.ratios:
        width = int(ratio * n)
        values[f"enough_{ratio:g}"] = float(cumulative[width - 1] >= n)
    return Measurement(values=values, labels={"image": label})
