"""Images as pictures, and as PNG files in text, for documents."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(image: NDArray[np.float64]) -> Image.Image:
    """A picture of an image, shape (1 or 3, rows, columns).

    Values beyond [0, 1] are clipped, nan is black.
    """
    clipped = np.nan_to_num(np.clip(image, 0, 1), nan=0.0)
    rows = (clipped * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(rows if rows.shape[2] == 3 else rows[..., 0])


def png_base64(image: NDArray[np.float64]) -> str:
    """A PNG in base64 of an image, as `picture` makes it."""
    buffer = io.BytesIO()
    picture(image).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
