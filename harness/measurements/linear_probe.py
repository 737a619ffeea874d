"""How much of the input a linear probe recovers from a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.measurements.image_quality import ProbeExamples, probe
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import LinearProbe
from harness.plan.seeds import Source
from harness.subjects.generators import weights_seed
from harness.subjects.resnet import truncated_resnet, whole_resnet
from harness.subjects.training.content import PICTURES, TrainingSet, crops

_PIXELS = 32
"""Side to which larger target images are averaged."""

_AT_ONCE = 32
"""Crops in a batch."""


def linear_probe(cell: LinearProbe) -> Measurement:
    """R^2 of a ridge regression of the pixels on the layer's outputs, for unseen crops.

    Also the R^2 of the same regression on the number of the picture that a crop is from.
    """
    rng = cell.seeds.rng(Source.IMAGE)
    layer = truncated_resnet(
        whole_resnet(cell.network, seed=weights_seed(cell.seeds)), layer=cell.network.layer
    )
    seen, unseen = (
        crops(classes=len(PICTURES), pixels=cell.pixels, number=number, rng=rng, held_out=held_out)
        for number, held_out in ((cell.examples, False), (cell.examples // 4, True))
    )
    known = _examples(seen, _outputs(layer, seen))
    values = {
        "r_squared": probe(known, _examples(unseen, _outputs(layer, unseen))),
        "r_squared_of_picture": probe(
            *(_examples(some, _picture(some)) for some in (seen, unseen))
        ),
        "features": float(known.features.shape[1]),
    }
    return Measurement(values=values, outcome=outcome_of(values))


def _outputs(layer: nn.Module, drawn: TrainingSet) -> Tensor:
    """The layer's outputs, one row a crop."""
    with torch.no_grad():
        parts = torch.split(torch.arange(len(drawn.labels)), _AT_ONCE)
        return torch.cat([layer(drawn.pictures(some)).flatten(1) for some in parts])


def _picture(drawn: TrainingSet) -> Tensor:
    """Which picture each crop is from, one column a picture."""
    return nn.functional.one_hot(drawn.labels, len(PICTURES))


def _examples(drawn: TrainingSet, features: Tensor) -> ProbeExamples:
    images = drawn.pictures(torch.arange(len(drawn.labels)))
    small = nn.functional.adaptive_avg_pool2d(images, min(images.shape[-1], _PIXELS))
    return ProbeExamples(
        features=features.double().numpy(), targets=small.flatten(1).double().numpy()
    )
