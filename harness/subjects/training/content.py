"""What networks are trained on: noise under random labels, or crops of pictures to classify."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.errors import SettingError
from harness.plan.networks import Training
from harness.subjects.images.photographs import PHOTOGRAPHS, TEXTURES, load_photograph

NOISE_MEAN, NOISE_SD = 1 / 2, 1 / 4
"""The article's N(1/2, 1/4), not clipped."""

STRIPS = 6
"""Strips into which a picture is divided along its longer side."""

HELD_OUT_PER_CLASS = 32
"""Held-out crops of each picture."""

GAIN, SHIFT = 0.1, 0.05
"""Colour changes: channels are scaled by 1 ± GAIN and shifted by ± SHIFT, uniformly, and clipped
to [0, 1]."""

_UNLIKE = ("coffee", "tissue")
"""Photographs whose parts do not resemble each other: bare wood, and patches of stain."""

PICTURES = tuple(picture for picture in (*PHOTOGRAPHS, *TEXTURES) if picture.label not in _UNLIKE)
"""Every picture that can be a class, photographs first."""


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """Images under labels.

    Parameters
    ----------
    images : tensor, shape (n, 3, pixels, pixels)
        Floats, or bytes that represent [0, 1].
    labels : tensor of int, shape (n,)
        From 0.
    """

    images: Float[Tensor, "n 3 rows columns"] | UInt8[Tensor, "n 3 rows columns"]
    labels: Int[Tensor, " n"]

    def to(self, device: torch.device) -> TrainingSet:
        """The same on a device."""
        return TrainingSet(self.images.to(device), self.labels.to(device))

    def pictures(self, chosen: Int[Tensor, " batch"]) -> Float[Tensor, "batch 3 rows columns"]:
        """Some of the images, as floats."""
        found = self.images[chosen]
        return found.float() / 255 if found.dtype == torch.uint8 else found


def examples(training: Training, *, rng: np.random.Generator) -> TrainingSet:
    """The training set.

    Raises
    ------
    SettingError
        Where there are fewer pictures than classes.
    """
    if training.content == "noise":
        return _noise(training, rng=rng)
    return crops(
        classes=training.classes,
        pixels=training.pixels,
        number=training.images,
        rng=rng,
        held_out=False,
    )


def held_out(training: Training, *, rng: np.random.Generator) -> TrainingSet | None:
    """Images of the same classes that are not trained on; None where labels are random."""
    if training.content == "noise":
        return None
    return crops(
        classes=training.classes,
        pixels=training.pixels,
        number=HELD_OUT_PER_CLASS * training.classes,
        rng=rng,
        held_out=True,
    )


def example(training: Training, *, rng: np.random.Generator) -> Float[Tensor, "3 rows columns"]:
    """An image like those trained on, for display."""
    one = dataclasses.replace(training, images=training.classes, batch=2)
    return examples(one, rng=rng).pictures(torch.arange(1))[0]


def crops(
    *, classes: int, pixels: int, number: int, rng: np.random.Generator, held_out: bool
) -> TrainingSet:
    """Square crops of the pictures, equally many of each up to one.

    Each picture is divided into six strips along its longer side, of which the third and the last
    are held out; no crop crosses a border between the two kinds. Sides are uniform from three
    quarters of a strip's width to what fits: one strip where it is held out, two adjacent ones
    otherwise.

    Parameters
    ----------
    classes, pixels : int
        Number of pictures, the first of `PICTURES`, and side of the resized crops.
    number : int
        Of crops.
    rng : numpy.random.Generator
        The source of randomness.
    held_out : bool
        From the held-out third of each picture, or from the rest.
    """
    if classes > len(PICTURES):
        raise SettingError(
            f"classes={classes}",
            rule=f"{len(PICTURES)} pictures ship with the libraries",
            remedy="Choose fewer classes",
        )
    images = np.empty((number, 3, pixels, pixels), dtype=np.uint8)
    labels = np.arange(number) % classes
    for image, label in zip(images, labels, strict=True):
        picture = load_photograph(PICTURES[label])
        image[:] = _crop(picture, pixels=pixels, rng=rng, held_out=held_out)
    return TrainingSet(torch.from_numpy(images), torch.from_numpy(labels))


def varied(
    images: Float[Tensor, "batch 3 rows columns"], *, generator: torch.Generator
) -> Float[Tensor, "batch 3 rows columns"]:
    """Images mirrored at random, with their colours changed (see `GAIN`)."""
    batch = len(images)

    def uniform(spread: float) -> Tensor:
        drawn = torch.empty(batch, 3, 1, 1).uniform_(-spread, spread, generator=generator)
        return drawn.to(images.device)

    mirrored = torch.rand(batch, generator=generator).lt(0.5).to(images.device)
    flipped = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    changed: Tensor = (flipped * (1 + uniform(GAIN)) + uniform(SHIFT)).clamp(0, 1)
    return changed


def _crop(
    picture: Image.Image, *, pixels: int, rng: np.random.Generator, held_out: bool
) -> NDArray[np.uint8]:
    wide = picture.width >= picture.height
    longer, short = max(picture.size), min(picture.size)
    strip = longer // STRIPS
    along = strip if held_out else 2 * strip
    # Two strips for training, one held out, and the same again.
    offset = 3 * strip * int(rng.integers(2)) + (2 * strip if held_out else 0)
    side = int(rng.integers(3 * strip // 4, min(along, short), endpoint=True))
    first = offset + int(rng.integers(0, along - side, endpoint=True))
    second = int(rng.integers(0, short - side, endpoint=True))
    left, upper = (first, second) if wide else (second, first)
    box = (left, upper, left + side, upper + side)
    small = picture.resize((pixels, pixels), Image.Resampling.BOX, box=box, reducing_gap=2.0)
    return np.asarray(small).transpose(2, 0, 1)


def _noise(training: Training, *, rng: np.random.Generator) -> TrainingSet:
    shape = (training.images, 3, training.pixels, training.pixels)
    images = rng.standard_normal(shape, dtype=np.float32)
    images *= np.float32(NOISE_SD)
    images += np.float32(NOISE_MEAN)
    labels = rng.integers(training.classes, size=training.images)
    return TrainingSet(torch.from_numpy(images), torch.from_numpy(labels))
