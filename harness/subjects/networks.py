"""The networks of replicates, as encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.encoders.encoder import Encoder
from harness.plan.networks import MLP, ModuleFactory, Network, PrescribedSpectrum, ResNet
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.factory import factory_encoder
from harness.subjects.generators import torch_generator, weights_seed
from harness.subjects.mlp import mlp_encoder
from harness.subjects.prescribed_spectrum import prescribed_spectrum_encoder
from harness.subjects.resnet import resnet_encoder


def build_encoder(
    network: Network,
    replicates: Sequence[ReplicateSeeds],
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> Encoder:
    """Encoder of the networks of some replicates, one a sample.

    A ResNet or a module takes one replicate at a time, since its weights are the replicate's own.
    """
    match network:
        case MLP():
            generators = [torch_generator(seeds, Source.WEIGHTS) for seeds in replicates]
            return mlp_encoder(network, generators=generators, dtype=dtype, device=device)
        case PrescribedSpectrum():
            generators = [torch_generator(seeds, Source.WEIGHTS) for seeds in replicates]
            return prescribed_spectrum_encoder(
                network, generators=generators, dtype=dtype, device=device
            )
        case ResNet():
            (seeds,) = replicates
            return resnet_encoder(network, seed=weights_seed(seeds), dtype=dtype, device=device)
        case ModuleFactory():
            (seeds,) = replicates
            return factory_encoder(network, seed=weights_seed(seeds), dtype=dtype, device=device)
