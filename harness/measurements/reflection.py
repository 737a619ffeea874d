"""Whether a reconstruction resembles its image more, or what the network was trained on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.measurements.image_quality import nearest
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import JUDGE, Reflection
from harness.plan.seeds import Source
from harness.subjects.generators import weights_seed
from harness.subjects.resnet import build_resnet
from harness.subjects.training.content import PICTURES, crops

_COMPARED = ("reconstruction", "start", "noised")


def reflection(cell: Reflection, run: Measurement) -> Measurement:
    """Distances of the reconstruction to its image and to the nearest training crop, by the judge.

    Also those of the start and of the noised image, and the share of the crops that are nearer to
    the reconstruction than the image is.
    """
    training = cell.network.training
    assert training is not None  # the cell's own rule
    judge = build_resnet(cell.network, seed=weights_seed(JUDGE))
    shown = crops(
        classes=training.classes,
        pixels=cell.images.pixels,
        number=cell.crops * training.classes,
        rng=cell.seeds.rng(Source.PRIOR),
        held_out=False,
    )
    labels = [picture.label for picture in PICTURES]
    # Crops of the image's own picture are left out, if it is one of the classes.
    own = labels.index(run.labels["image"]) if run.labels["image"] in labels else -1
    learnt = _features(judge, shown.pictures(torch.nonzero(shown.labels != own).flatten()))
    image, *compared = (
        _features(judge, torch.from_numpy(run.images[name]).float()[None])
        for name in ("target", *_COMPARED)
    )
    values = dict(run.values)
    for name, features in zip(_COMPARED, compared, strict=True):
        found = nearest(features[0], {"image": image, "training": learnt})
        values |= {f"{name}_to_{what}": distance for what, distance in found.items()}
    distances = np.linalg.norm(learnt - compared[0], axis=1)
    values["nearer"] = float(np.mean(distances < values["reconstruction_to_image"]))
    decisive = ("reconstruction_to_image", "reconstruction_to_training")
    return Measurement(
        values=values,
        outcome=outcome_of({name: values[name] for name in decisive}),
        labels=run.labels,
        images=run.images,
    )


def _features(
    judge: nn.Module, images: Float[Tensor, "batch 3 rows columns"]
) -> NDArray[np.float64]:
    """The inputs of the judge's head."""
    body = nn.Sequential(*list(judge.children())[:-1])
    with torch.no_grad():
        found: NDArray[np.float64] = body(images.clone()).flatten(1).double().numpy()
    return found
