"""The image of a replicate."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.plan.images import Images
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.images.sources import draw_image


def draw_original(
    images: Images, seeds: ReplicateSeeds
) -> tuple[Float[Tensor, "channels rows columns"], str]:
    """Draw the image a in float64; also returns its label."""
    drawn = draw_image(
        images.source,
        pixels=images.pixels,
        rng=seeds.rng(Source.IMAGE),
        folder=images.folder.path if images.folder else None,
    )
    channels, rows, _ = images.shape
    array = np.asarray(drawn.values, dtype=np.float64)[:, :rows]
    if channels == 1:
        array = array.mean(axis=0, keepdims=True)
    return torch.from_numpy(array), drawn.label
