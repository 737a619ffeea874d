"""Ranks of a ResNet's first layers before and after max-pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.measuring.measurement import Measurement, status_of
from harness.probes import PooledRank
from harness.spectrum import decompose, jacobian, spectra
from harness.subjects import draws
from harness.subjects.resnet import build_resnet, cut_resnet, encoder_of

_CPU = torch.device("cpu")


def pooled_rank(cell: PooledRank) -> Measurement:
    """Ranks, the arg-max positions that rule them, and a second input with the pooled output."""
    image, label = draws.original(cell.images, cell.draw)
    inputs, n = image[None], cell.images.elements
    whole = build_resnet(cell.network, seed=draws.weights_seed(cell.draw))
    early, late = (
        encoder_of(whole, cut=cut, dtype=torch.float64, device=_CPU) for cut in ("conv1", "stem")
    )
    (before,) = spectra(jacobian(early, inputs))
    (after,) = decompose(jacobian(late, inputs))
    before_pooling = cut_resnet(whole, cut="stem")[:-1].double()
    positions = _positions(before_pooling, inputs)
    distinct = len(set(positions[positions >= 0].tolist()))
    law = min(n, distinct)
    values = {
        "rank_conv1_share": before.rank / n,
        "rank_stem_share": after.rank / n,
        "outputs_share": positions.numel() / n,
        "distinct_share": distinct / n,
        "excess": float(after.rank - law),
        "decided": float(after.decided),
    }
    if len(after.null):
        # Where the same pixels stay the largest the map is affine, and the null space exact.
        step, along = 1.0, after.null[-1].reshape(inputs.shape)
        while not torch.equal(_positions(before_pooling, inputs + step * along), positions):
            step /= 2
        output = late.encode(inputs)
        moved = late.encode(inputs + step * along)
        scale = torch.finfo(torch.float64).eps * float(output.norm())
        values |= {
            "witness_distance": step,
            "witness_residual": float((moved - output).norm()) / scale,
        }
    return Measurement(values=values, status=status_of(values), labels={"image": label})


def _positions(before_pooling: nn.Module, inputs: Tensor) -> Tensor:
    """Where each window of each channel takes its value from; -1 where that is 0."""
    with torch.no_grad():
        values = before_pooling(inputs.clone())
        pooled, taken = F.max_pool2d(values, 3, stride=2, padding=1, return_indices=True)
    channels, pixels = values.shape[1], values[0, 0].numel()
    offsets = torch.arange(channels).reshape(1, -1, 1, 1) * pixels
    return torch.where(pooled > 0, taken + offsets, -1)
