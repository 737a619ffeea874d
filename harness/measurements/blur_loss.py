"""How far a blur alone moves an image."""

from __future__ import annotations

import torch

from harness.inversion.blur import apply_blur, blur_kernels
from harness.inversion.distances import l2
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import BlurLoss
from harness.subjects.images.originals import draw_original


def blur_loss(cell: BlurLoss) -> Measurement:
    """The distance m_i between an image and its blurred self, with the last kernel of a run."""
    image, label = draw_original(cell.images, cell.seeds)
    kernel = blur_kernels(cell.blur, iterations=2, dtype=image.dtype, device=torch.device("cpu"))[1]
    blurred = apply_blur(image[None], kernel=kernel)
    values = {"m_i": float(l2(blurred - image[None]))}
    return Measurement(values=values, outcome=outcome_of(values), labels={"image": label})
