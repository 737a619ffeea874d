"""Rank and null space of a network at an image."""

from __future__ import annotations

import torch

from harness.encoders.spectrum import decompose, jacobian
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import LocalRank
from harness.plan.images import ARTICLE_START
from harness.subjects.images.originals import draw_original
from harness.subjects.images.starts import draw_starts
from harness.subjects.networks import build_encoder


def local_rank(cell: LocalRank) -> Measurement:
    """Rank at the image, a direction of its null space, and the lower bound that it sets on m_i."""
    image, label = draw_original(cell.images, cell.seeds)
    original = image.flatten()[None]
    encoder = build_encoder(
        cell.network, [cell.seeds], dtype=torch.float64, device=torch.device("cpu")
    )
    (found,) = decompose(jacobian(encoder, original))
    (start,) = draw_starts(ARTICLE_START, cell.images, cell.seeds)
    values = {
        "rank": float(found.rank),
        "rank_share": found.rank / cell.images.elements,
        "gap": found.gap,
        "decided": float(found.decided),
        "condition": found.condition,
        "floor": float(found.null_share(start.flatten()[None] - original)),
    }
    if len(found.null):
        output = encoder.encode(original)
        moved = encoder.encode(original + found.null[-1])
        scale = max(float(found.values[0]), float(output.norm()))
        eps = torch.finfo(torch.float64).eps
        values["witness_residual"] = float((moved - output).norm()) / (eps * scale)
    return Measurement(
        values=values, outcome=outcome_of(values, but="gap"), labels={"image": label}
    )
