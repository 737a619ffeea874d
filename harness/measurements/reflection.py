"""What a copy resembles more: its image, or what the network was trained on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.checkpoint import Checkpoint
from harness.errors import SettingError
from harness.measurements.image_quality import nearest
from harness.measurements.inversion import invert_block
from harness.measurements.measurement import Measurement, outcome_of
from harness.measurements.training import trained
from harness.plan.cells import Inversion
from harness.plan.seeds import Source
from harness.plan.training_cells import JUDGE, Reflection
from harness.subjects.generators import weights_seed
from harness.subjects.resnet import build_resnet
from harness.subjects.training.content import PICTURES, crops

_LOOKED_AT = ("reconstruction", "start", "noised")


def reflection(
    cell: Reflection, *, device: torch.device, checkpoint: Checkpoint | None
) -> Measurement:
    """Distances of the copy to its image and to the nearest training crop, as the judge sees them.

    Beside them the same of the start and of the noised image, and the share of the crops that are
    nearer to the copy than the image is.
    """
    training = cell.network.training
    if training is None or training.content != "photographs":
        raise SettingError(
            training,
            rule="a network that was not trained on pictures has no training crops",
            remedy='Give Training(content="photographs", ...)',
        )
    trained(cell.network, JUDGE)
    (copied,) = invert_block(
        [
            Inversion(
                seeds=cell.seeds,
                network=cell.network,
                images=cell.images,
                decoder=cell.decoder,
                iterations=cell.iterations,
                noise=cell.noise,
                precision=cell.precision,
            )
        ],
        device=device,
        checkpoint=checkpoint,
    )
    judge = build_resnet(cell.network, seed=weights_seed(JUDGE))
    shown = crops(
        classes=training.classes,
        pixels=cell.images.pixels,
        number=cell.crops * training.classes,
        rng=cell.seeds.rng(Source.PRIOR),
        held_out=False,
    )
    # No label at all where the image is of no class.
    own = next(
        (
            number
            for number, picture in enumerate(PICTURES)
            if picture.label == copied.labels["image"]
        ),
        None,
    )
    others = shown.pictures(
        torch.tensor([place for place, label in enumerate(shown.labels.tolist()) if label != own])
    )
    learnt = _features(judge, others)
    image, *looks = (
        _features(judge, torch.from_numpy(copied.images[name]).float()[None])
        for name in ("target", *_LOOKED_AT)
    )
    values = dict(copied.values)
    for name, features in zip(_LOOKED_AT, looks, strict=True):
        found = nearest(features[0], {"image": image, "training": learnt})
        values |= {f"{name}_to_{what}": distance for what, distance in found.items()}
    distances = np.linalg.norm(learnt - looks[0], axis=1)
    values["nearer"] = float(np.mean(distances < values["reconstruction_to_image"]))
    return Measurement(
        values=values,
        outcome=outcome_of(
            {
                name: values[name]
                for name in ("reconstruction_to_image", "reconstruction_to_training")
            }
        ),
        labels=copied.labels,
        images=copied.images,
    )


def _features(
    judge: nn.Module, images: Float[Tensor, "batch 3 rows columns"]
) -> NDArray[np.float64]:
    """What the judge's head sees."""
    body = nn.Sequential(*list(judge.children())[:-1])
    with torch.no_grad():
        found: NDArray[np.float64] = body(images.clone()).flatten(1).double().numpy()
    return found
