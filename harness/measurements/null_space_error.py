"""The part of a reconstruction's error in the null space of the network at the image."""

from __future__ import annotations

import torch

from harness.encoders.spectrum import decompose, jacobian
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import ErrorInNullSpace
from harness.subjects.networks import build_encoder


def error_in_null_space(cell: ErrorInNullSpace, run: Measurement) -> Measurement:
    """Shares of the squared distance to the image, at the start and at the end of a run."""
    original, start, reconstruction = (
        torch.from_numpy(run.images[name]).double()
        for name in ("target", "start", "reconstruction")
    )
    encoder = build_encoder(
        cell.network,
        [cell.seeds],
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    (found,) = decompose(jacobian(encoder, original[None]))
    errors = torch.stack([start - original, reconstruction - original])
    first, last = found.null_share(errors).square()
    values = {
        "null_dimension_share": 1 - found.rank / cell.images.elements,
        "null_share_start": float(first),
        "null_share": float(last),
        "r": run.values["r"],
        "m_g_share": run.values["m_g"] / run.values["m_g0"],
    }
    return Measurement(values=values, outcome=outcome_of(values), labels=run.labels)
