"""One image from any source."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from PIL import Image

from harness.errors import ImageError, UnknownNameError
from harness.plan.images import SOURCES
from harness.subjects.images.dead_leaves import draw_dead_leaves
from harness.subjects.images.folder import list_images, load_image
from harness.subjects.images.photographs import draw_photograph, random_crop


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """An image and what to call it.

    Parameters
    ----------
    values : array of float32, shape (3, pixels, pixels)
        In [0, 1], contiguous, owned by the caller.
    label : str
        What it shows: a photograph's label, a file's name, "digit 7", "dead leaves".
    """

    values: Float32[NDArray[np.float32], "3 pixels pixels"]
    label: str


def draw_image(
    source: str, *, pixels: int, rng: np.random.Generator, folder: Path | None = None
) -> Drawn:
    """Draw one image.

    Photographs and the images of a folder are drawn uniformly with replacement and cropped as by
    `harness.subjects.images.photographs.draw_box`. Digits are drawn uniformly from scikit-learn's
    1797 and enlarged from 8 x 8 bilinearly. Dead leaves are independent synthetic images.

    Parameters
    ----------
    source : str
        One of `SOURCES`.
    pixels : int
        Side of the image.
    rng : numpy.random.Generator
        The source of randomness.
    folder : Path or None
        The folder of the source "folder". It is listed at every draw: check it once with
        `harness.subjects.images.folder.scan_folder` before anything expensive.

    Raises
    ------
    UnknownNameError
        If there is no such source.
    ImageError
        If a photograph is missing from its wheel, if the folder is not given or cannot be used.
    ValueError
        If `pixels` is below 1.
    """
    if pixels < 1:
        raise ValueError(f"an image needs at least one pixel: {pixels=}")
    match source:
        case "photographs":
            label, image = draw_photograph(rng=rng)
            return Drawn(values=random_crop(image, pixels=pixels, rng=rng), label=label)
        case "dead-leaves":
            return Drawn(values=draw_dead_leaves(pixels=pixels, rng=rng), label="dead leaves")
        case "digits":
            return _draw_digit(pixels=pixels, rng=rng)
        case "folder":
            return _draw_from(folder, pixels=pixels, rng=rng)
    raise UnknownNameError.nearest(source, SOURCES, what="source of images")


def _draw_from(folder: Path | None, *, pixels: int, rng: np.random.Generator) -> Drawn:
    if folder is None:
        raise ImageError("folder", rule="no folder of images is given", remedy="Give --images DIR")
    paths = list_images(folder)
    path = paths[rng.integers(len(paths))]
    # File names need not be valid text, but labels are.
    label = os.fsencode(path.name).decode("utf-8", "replace")
    return Drawn(values=random_crop(load_image(path), pixels=pixels, rng=rng), label=label)


@functools.cache
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load scikit-learn's digits, shape (1797, 8, 8) in [0, 1], and what each one is."""
    # Imported here, since it takes a second that only digits need.
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target


def _draw_digit(*, pixels: int, rng: np.random.Generator) -> Drawn:
    images, targets = _digits()
    chosen = int(rng.integers(len(images)))
    # Bilinear weights are positive and sum to one: the values stay within [0, 1] up to rounding.
    resized = Image.fromarray(images[chosen]).resize((pixels, pixels), Image.Resampling.BILINEAR)
    grey = np.clip(np.asarray(resized, dtype=np.float32), 0, 1)
    return Drawn(values=np.repeat(grey[np.newaxis], 3, axis=0), label=f"digit {targets[chosen]}")
