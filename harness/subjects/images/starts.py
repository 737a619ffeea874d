"""Where a replicate's descents start, and the noise of its noised image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from harness.plan.images import Images, Start
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.generators import torch_generator


def draw_starts(
    settings: Start, images: Images, seeds: ReplicateSeeds, *, restarts: int = 1
) -> Float[Tensor, "restarts channels rows columns"]:
    """Draw the starts a0 in float64; the first ones are the same however many there are."""
    return torch.empty(restarts, *images.shape, dtype=torch.float64).normal_(
        settings.mean, settings.sd, generator=torch_generator(seeds, Source.START)
    )


def draw_noise(
    sd: float, images: Images, seeds: ReplicateSeeds
) -> Float[Tensor, "channels rows columns"]:
    """Draw a' - a in float64."""
    return torch.empty(images.shape, dtype=torch.float64).normal_(
        0, sd, generator=torch_generator(seeds, Source.NOISE)
    )
