"""Colour photographs that ship inside the wheels of scikit-image and scikit-learn, and crops."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import importlib.resources

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from PIL import Image

from harness.errors import ImageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photograph in an installed package, and its provenance.

    Parameters
    ----------
    label : str
        Its short name.
    distribution : str
        The distribution whose wheel holds the file, as pip spells it.
    package : str
        The package that the distribution installs.
    file : str
        The file's path inside the package, with forward slashes.
    provenance : str
        What it shows, who made it, and under which terms.
    """

    label: str
    distribution: str
    package: str
    file: str
    provenance: str


def _skimage(label: str, name: str, provenance: str) -> Photograph:
    return Photograph(
        label=label,
        distribution="scikit-image",
        package="skimage",
        file=f"data/{name}",
        provenance=provenance,
    )


def _sklearn(label: str, name: str, provenance: str) -> Photograph:
    return Photograph(
        label=label,
        distribution="scikit-learn",
        package="sklearn",
        file=f"datasets/images/{name}",
        provenance=provenance,
    )


# Left out: greyscale photographs, scans of text, drawings and synthetic images, anything that
# scikit-image would have to download, and motorcycle_right.png, the same scene from 19 cm away.
PHOTOGRAPHS: tuple[Photograph, ...] = (
    _skimage("astronaut", "astronaut.png", "Eileen Collins, NASA; public domain"),
    _skimage("cat", "chelsea.png", "Chelsea, Stefan van der Walt; CC0"),
    _sklearn("china", "china.jpg", "a pagoda, Flickr user danielbuechele; CC BY 2.0"),
    _skimage("coffee", "coffee.png", "a coffee cup, Rachel Michetti; CC0"),
    _sklearn("flower", "flower.jpg", "a dahlia, Flickr user vultilion; CC BY 2.0"),
    _skimage("galaxies", "hubble_deep_field.jpg", "eXtreme Deep Field, NASA; public domain"),
    _skimage(
        "motorcycle", "motorcycle_left.png", "Scharstein et al., Middlebury 2014 stereo benchmark"
    ),
    _skimage("retina", "retina.jpg", "fundus of a left eye, Wikimedia Commons; CC0"),
    _skimage("rocket", "rocket.jpg", "Falcon 9 with DSCOVR, SpaceX; public domain"),
    _skimage("tissue", "ihc.png", "stained colonic glands, CMMI; no known restrictions"),
)
"""Every photograph that can be drawn, by label: ten distinct colour photographs."""

TEXTURES: tuple[Photograph, ...] = (
    _skimage("brick", "brick.png", "a brick wall, CC0Textures; CC0"),
    _skimage("grass", "grass.png", "grass, linolafett; CC0"),
    _skimage("gravel", "gravel.png", "gravel, CC0Textures; CC0"),
)
"""Grey textures, further classes for training; never a replicate's image."""


@functools.cache
def load_photograph(photograph: Photograph) -> Image.Image:
    """The photograph in RGB, at least 300 pixels a side; cached and shared: do not change it.

    Raises
    ------
    ImageError
        If the installed package lacks the file.
    """
    try:
        file = importlib.resources.files(photograph.package).joinpath(photograph.file)
        with file.open("rb") as stream, Image.open(stream) as image:
            return image.convert("RGB")
    except (ModuleNotFoundError, OSError) as error:
        raise ImageError(
            photograph.file,
            rule=f"not in the installed {photograph.distribution} ({_version(photograph)})",
            remedy=f"Run pip install --force-reinstall {photograph.distribution}",
        ) from error


def draw_photograph(*, rng: np.random.Generator) -> tuple[str, Image.Image]:
    """Draw one of `PHOTOGRAPHS`, uniformly and with replacement: its label, and all of it."""
    photograph = PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))]
    return photograph.label, load_photograph(photograph)


def draw_box(
    size: tuple[int, int], *, pixels: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a square crop of an image: left, upper, right and lower, the last two exclusive.

    The side is a uniform integer from the larger of `pixels` and half the image's short side
    (rounded up) to the short side; the position is uniform inside the image. So a crop shows a good
    part of the scene, never an enlarged flat corner, and is only ever reduced. Where the short side
    of the image is below `pixels`, the crop spans it and is enlarged.

    Parameters
    ----------
    size : tuple of int
        Width and height of the image.
    pixels : int
        Side to which the crop will be resized.
    rng : numpy.random.Generator
        The source of randomness; three integers are drawn.
    """
    width, height = size
    short = min(size)
    least = min(short, max(pixels, -(-short // 2)))
    side = int(rng.integers(least, short, endpoint=True))
    left = int(rng.integers(0, width - side, endpoint=True))
    upper = int(rng.integers(0, height - side, endpoint=True))
    return left, upper, left + side, upper + side


def random_crop(
    image: Image.Image, *, pixels: int, rng: np.random.Generator
) -> Float32[NDArray[np.float32], "3 rows columns"]:
    """Draw a square crop of an RGB image (see `draw_box`) and resize it with antialiasing.

    Values are multiples of 1/255 in [0, 1]: Pillow's Lanczos filter widens with the reduction and
    rounds to 8 bits.
    """
    box = draw_box(image.size, pixels=pixels, rng=rng)
    resized = image.resize((pixels, pixels), Image.Resampling.LANCZOS, box=box)
    channels = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(channels) / np.float32(255)


def _version(photograph: Photograph) -> str:
    try:
        return importlib.metadata.version(photograph.distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
