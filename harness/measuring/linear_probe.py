"""What a linear probe finds of the input in a layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.copies import Examples, probe
from harness.draw import Source
from harness.measuring.measurement import Measurement, status_of
from harness.subjects.draws import weights_seed
from harness.subjects.resnet import cut_resnet, whole_resnet
from harness.training.content import PICTURES, crops
from harness.training_cells import LinearProbe

_PIXELS = 32
"""Side to which the target images are averaged, where they are larger."""

_AT_ONCE = 32


def linear_probe(cell: LinearProbe) -> Measurement:
    """R^2 of a ridge regression of the pixels on the layer's outputs, for unseen crops."""
    rng = cell.draw.rng(Source.IMAGE)
    layer = cut_resnet(
        whole_resnet(cell.network, seed=weights_seed(cell.draw)), cut=cell.network.cut
    )
    seen, unseen = (
        _examples(layer, cell, number=number, rng=rng, held_out=held_out)
        for number, held_out in ((cell.examples, False), (cell.examples // 4, True))
    )
    values = {"r_squared": probe(seen, unseen), "features": float(seen.features.shape[1])}
    return Measurement(values=values, status=status_of(values))


def _examples(
    layer: nn.Module,
    cell: LinearProbe,
    *,
    number: int,
    rng: np.random.Generator,
    held_out: bool,
) -> Examples:
    drawn = crops(
        classes=len(PICTURES), pixels=cell.pixels, number=number, rng=rng, held_out=held_out
    )
    images = drawn.pictures(torch.arange(number))
    with torch.no_grad():
        features = torch.cat(
            [layer(some.clone()).flatten(1) for some in torch.split(images, _AT_ONCE)]
        )
    small = nn.functional.adaptive_avg_pool2d(images, min(cell.pixels, _PIXELS))
    return Examples(features=features.double().numpy(), targets=small.flatten(1).double().numpy())
