"""What a copy keeps of its image: its looks, and what the network makes of it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from harness.measurements.image_quality import likeness
from harness.plan.cells import Inversion
from harness.plan.networks import ResNet
from harness.subjects.generators import weights_seed
from harness.subjects.resnet import whole_resnet


def kept(
    cell: Inversion,
    *,
    original: Float[Tensor, "channels rows columns"],
    noised: Float[Tensor, "channels rows columns"],
    reconstruction: Float[Tensor, "channels rows columns"],
) -> dict[str, float]:
    """Likeness by name and, where the network has learnt classes, whether the image's is kept.

    Empty for networks that do not look at images.
    """
    if not isinstance(cell.network, ResNet):
        return {}
    found = likeness(original.numpy(), reconstruction.numpy())
    if cell.network.training is None and cell.network.weights is None:
        return found
    whole = whole_resnet(cell.network, seed=weights_seed(cell.seeds))
    with torch.no_grad():
        # One at a time, as a batch might round otherwise.
        own, beside, found_in_reconstruction = (
            int(whole(image.float()[None].clone()).argmax())
            for image in (original, noised, reconstruction)
        )
    return {
        **found,
        "class_kept": float(found_in_reconstruction == own),
        "class_kept_noised": float(beside == own),
    }
