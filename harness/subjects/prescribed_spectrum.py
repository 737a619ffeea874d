"""Linear maps with a prescribed spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.encoders.encoder import AffineEncoder
from harness.plan.networks import PrescribedSpectrum


def singular_values(network: PrescribedSpectrum) -> Float[Tensor, " n"]:
    """Evenly spaced in their logarithms, in descending order, of mean square 1; in float64."""
    values = torch.logspace(0, -math.log10(network.condition), network.inputs, dtype=torch.float64)
    scaled: Tensor = values / values.square().mean().sqrt()
    return scaled


def prescribed_spectrum_encoder(
    network: PrescribedSpectrum,
    *,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
    device: torch.device,
) -> AffineEncoder:
    """Encoder of a batch of maps with fresh singular vectors, drawn in float64."""
    matrices = []
    for generator in generators:
        # The right ones first, so that maps with other numbers of outputs share them.
        right, left = (
            nn.init.orthogonal_(
                torch.empty(rows, network.inputs, dtype=torch.float64), generator=generator
            )
            for rows in (network.inputs, network.outputs)
        )
        matrices.append(left * singular_values(network) @ right.T)
    matrix = torch.stack(matrices).to(device, dtype)
    return AffineEncoder(matrix, matrix.new_zeros(len(matrix), network.outputs))
