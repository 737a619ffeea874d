"""How similar a reconstruction is to its image, and whether the network sees the same class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from harness.measurements.image_quality import similarity
from harness.plan.cells import Inversion
from harness.plan.networks import ResNet
from harness.subjects.generators import weights_seed
from harness.subjects.resnet import whole_resnet


def reconstruction_quality(
    cell: Inversion,
    *,
    original: Float[Tensor, "channels rows columns"],
    noised: Float[Tensor, "channels rows columns"],
    reconstruction: Float[Tensor, "channels rows columns"],
) -> dict[str, float]:
    """Similarity by name and, where the network was trained, whether its class is the image's.

    Empty for networks of vectors.
    """
    if not isinstance(cell.network, ResNet):
        return {}
    found = similarity(original.numpy(), reconstruction.numpy())
    if cell.network.training is None and cell.network.weights is None:
        return found
    whole = whole_resnet(cell.network, seed=weights_seed(cell.seeds))
    with torch.no_grad():
        # One at a time, since rounding may depend on the batch.
        own, of_noised, of_reconstruction = (
            int(whole(image.float()[None].clone()).argmax())
            for image in (original, noised, reconstruction)
        )
    return {
        **found,
        "same_class": float(of_reconstruction == own),
        "same_class_noised": float(of_noised == own),
    }
