"""The condition number of a ResNet's Jacobian."""

from __future__ import annotations

import torch

from harness.encoders.spectrum import jacobian, spectra
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import JacobianSpectrum
from harness.subjects.images.originals import draw_original
from harness.subjects.networks import build_encoder


def jacobian_spectrum(cell: JacobianSpectrum) -> Measurement:
    """Condition number and rank by LAPACK's tolerance, and the share of outputs that are 0."""
    image, label = draw_original(cell.images, cell.seeds)
    encoder = build_encoder(
        cell.network,
        [cell.seeds],
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    (found,) = spectra(jacobian(encoder, image[None]))
    values = {
        "condition": found.condition,
        "rank": float(found.rank),
        "units": float(len(found.values)),
        "decided": float(found.decided),
        "zero_share": float((encoder.encode(image[None]) == 0).double().mean()),
    }
    return Measurement(values=values, outcome=outcome_of(values), labels={"image": label})
