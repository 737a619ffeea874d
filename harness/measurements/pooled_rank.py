"""Ranks of a ResNet's first layers before and after max-pooling."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.nn import functional as F

from harness.encoders.spectrum import decompose, jacobian, spectra
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import PooledRank
from harness.subjects.generators import weights_seed
from harness.subjects.images.originals import draw_original
from harness.subjects.resnet import build_resnet, encoder_of, truncated_resnet

_CPU = torch.device("cpu")


def pooled_rank(cell: PooledRank) -> Measurement:
    """Ranks, the arg-max positions that bound them, and a second input with the same output."""
    image, label = draw_original(cell.images, cell.seeds)
    inputs, n = image[None], cell.images.elements
    whole = build_resnet(cell.network, seed=weights_seed(cell.seeds))
    early, late = (
        encoder_of(whole, layer=layer, dtype=torch.float64, device=_CPU)
        for layer in ("conv1", "stem")
    )
    (before,) = spectra(jacobian(early, inputs))
    (after,) = decompose(jacobian(late, inputs))
    before_pooling = truncated_resnet(whole, layer="stem")[:-1].double()
    before_relu = truncated_resnet(whole, layer="stem")[:-2].double()
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
        change = same_output_change(before_relu, inputs, along=after.null[-cell.directions :])
        output = late.encode(inputs)
        moved = late.encode(inputs + change)
        scale = torch.finfo(torch.float64).eps * float(output.norm())
        values |= {
            "witness_distance": float(change.norm()),
            "witness_change": float(change.abs().max()),
            "witness_residual": float((moved - output).norm()) / scale,
        }
    return Measurement(values=values, outcome=outcome_of(values), labels={"image": label})


def same_output_change(
    before_relu: nn.Module,
    inputs: Float[Tensor, "1 channels rows columns"],
    *,
    along: Float[Tensor, "directions n"],
) -> Float[Tensor, "1 channels rows columns"]:
    """A change of an image, within [0, 1], that leaves the output after pooling as it is.

    As long as every window takes its value from the same place, or stays 0, the layers are affine
    and the directions of the null space change nothing. These are linear inequalities: no value in
    a window may exceed the window's output. A linear programme goes as far as they allow; nine
    tenths of the way are well inside.
    """
    basis = along.reshape(-1, *inputs.shape[1:])
    with torch.no_grad():
        values = before_relu(inputs)[0]
        moves = before_relu(basis) - before_relu(torch.zeros_like(inputs))
        pooled = F.max_pool2d(values.clamp(min=0)[None], 3, stride=2, padding=1)[0]
    limit = torch.full_like(values, torch.inf)
    for row, column in np.ndindex(*pooled.shape[1:]):
        window = limit[
            :,
            max(0, 2 * row - 1) : 2 * row + 2,
            max(0, 2 * column - 1) : 2 * column + 2,
        ]
        window.clamp_(max=pooled[:, row, column][:, None, None])
    slack = (limit - values).flatten()
    # The value that a window takes has no slack, but the directions do not move it.
    free = slack > 0
    pixels = inputs.flatten()
    found = linprog(
        -np.ones(len(along)),
        A_ub=torch.cat([moves.flatten(1).T[free], along.T, -along.T]).numpy(),
        b_ub=torch.cat([slack[free], 1 - pixels, pixels]).numpy(),
        bounds=(None, None),
        method="highs",
    )
    assert found.success, found.message  # the image itself is a solution, and pixels are bounded
    return 0.9 * (torch.from_numpy(found.x) @ along).reshape(inputs.shape)


def _positions(before_pooling: nn.Module, inputs: Tensor) -> Tensor:
    """Where each window of each channel takes its value from; -1 where that is 0."""
    with torch.no_grad():
        values = before_pooling(inputs.clone())
        pooled, taken = F.max_pool2d(values, 3, stride=2, padding=1, return_indices=True)
    channels, pixels = values.shape[1], values[0, 0].numel()
    offsets = torch.arange(channels).reshape(1, -1, 1, 1) * pixels
    return torch.where(pooled > 0, taken + offsets, -1)
