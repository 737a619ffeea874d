"""What a replicate draws, as tensors: image, start, noise, weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.encoders.encoder import Encoder
from harness.plan.images import Images, Start
from harness.plan.networks import MLP, Network, ResNet, Shaped
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.images.images import draw_image
from harness.subjects.mlp import mlp_encoder
from harness.subjects.resnet import resnet_encoder
from harness.subjects.shaped import shaped_encoder


def generator(seeds: ReplicateSeeds, source: Source, number: int = 0) -> torch.Generator:
    """Torch's generator for a source of randomness of a replicate, the first or a later one."""
    # torch takes 64 bits but reads the highest one as a sign.
    return torch.Generator().manual_seed(seeds.seed(source, number) >> 1)


def weights_seed(seeds: ReplicateSeeds) -> int:
    """The seed of a replicate's weights, as torch takes it."""
    return seeds.seed(Source.WEIGHTS) >> 1


def original(
    images: Images, seeds: ReplicateSeeds
) -> tuple[Float[Tensor, "channels rows columns"], str]:
    """The image a of a replicate in float64, and its label."""
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


def starts(
    settings: Start, images: Images, seeds: ReplicateSeeds, *, restarts: int = 1
) -> Float[Tensor, "restarts channels rows columns"]:
    """The starts a0 of a replicate in float64, the first ones the same however many there are."""
    return torch.empty(restarts, *images.shape, dtype=torch.float64).normal_(
        settings.mean, settings.sd, generator=generator(seeds, Source.START)
    )


def noise(
    sd: float, images: Images, seeds: ReplicateSeeds
) -> Float[Tensor, "channels rows columns"]:
    """A' - a of a replicate in float64."""
    return torch.empty(images.shape, dtype=torch.float64).normal_(
        0, sd, generator=generator(seeds, Source.NOISE)
    )


def encoder(
    network: Network,
    draws: Sequence[ReplicateSeeds],
    *,
    dtype: torch.dtype,
    device: torch.device,
    shape: tuple[int, int, int] | None = None,
) -> Encoder:
    """Encoder of the networks of some replicates, one a sample.

    A ResNet takes one replicate at a time, since its weights are the replicate's own; given the
    shape of the images, it fits these alone and is faster.
    """
    match network:
        case MLP():
            generators = [generator(seeds, Source.WEIGHTS) for seeds in draws]
            return mlp_encoder(network, generators=generators, dtype=dtype, device=device)
        case Shaped():
            generators = [generator(seeds, Source.WEIGHTS) for seeds in draws]
            return shaped_encoder(network, generators=generators, dtype=dtype, device=device)
        case ResNet():
            (seeds,) = draws
            return resnet_encoder(
                network,
                seed=weights_seed(seeds),
                dtype=dtype,
                device=device,
                shape=shape,
            )
