"""A folder of the user's images: listed, checked and decoded.

The images are the files directly inside the folder whose suffix belongs to a format that Pillow
reads, sorted by name; hidden files, other files and subfolders are ignored. A file with such a
suffix that cannot be used is an error, never silently skipped.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from harness.errors import ImageError

MIN_SIDE = 8
"""Least width and height of an image, in pixels."""

MAX_PIXELS = 64_000_000
"""Most pixels of an image (width times height); below the size at which Pillow warns."""

# Containers that Pillow cannot decode, or only with the help of another program.
_NOT_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})


def list_images(folder: Path) -> tuple[Path, ...]:
    """The images of a folder, at least one, without opening them.

    Raises
    ------
    ImageError
        If the folder is missing, is not a folder, cannot be listed, holds no image, or holds
        something with an image's suffix that is no file.
    """
    try:
        if not folder.exists():
            raise ImageError(folder, rule="no such folder", remedy="Give a folder that exists")
        if not folder.is_dir():
            raise ImageError(folder, rule="not a folder", remedy="Give the folder that contains it")
        found = sorted(
            (path for path in folder.iterdir() if _is_meant(path)), key=lambda path: path.name
        )
    except OSError as error:
        raise ImageError(
            folder,
            rule=f"the folder cannot be listed ({error.strerror})",
            remedy="Check its permissions",
        ) from error
    if not found:
        raise ImageError(
            folder,
            rule="the folder holds no image that Pillow reads",
            remedy="Put images, such as .png or .jpg, directly into it (subfolders are not read)",
        )
    for path in found:
        # A dangling link, or a pipe, which would block forever.
        if not path.is_file():
            raise ImageError(path, rule="not a file", remedy="Remove or replace it")
    return tuple(found)


def scan_folder(folder: Path) -> tuple[Path, ...]:
    """The images of a folder, each decoded once, so that none fails later.

    Raises
    ------
    ImageError
        As `list_images`, and if an image is unreadable, truncated, has a side below `MIN_SIDE`,
        more than `MAX_PIXELS` pixels, or values without a stated range.
    """
    paths = list_images(folder)
    for path in paths:
        decode(path)
    return paths


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) of the images' names and contents, wherever the folder lies.

    Raises
    ------
    ImageError
        As `list_images`, and if a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in list_images(folder):
        try:
            with path.open("rb") as stream:
                contents = hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise _unreadable(path, error) from error
        # Both parts have a fixed length, so that a name cannot run into the contents.
        name = path.name.encode("utf-8", "surrogateescape")
        digest.update(hashlib.sha256(name).digest() + contents)
    return digest.hexdigest()


def load_image(path: Path) -> Image.Image:
    """As `decode`, cached as long as the file is unchanged, and shared: do not change it.

    Raises
    ------
    ImageError
        As `decode`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _load(path, status.st_mtime_ns, status.st_size)


def decode(path: Path) -> Image.Image:
    """Decode an image to RGB as a viewer shows it.

    The EXIF orientation is applied, transparency is composed onto white, grey becomes three equal
    channels, palettes are looked up, 16-bit grey is rounded to 8 bits, floating point must lie in
    [0, 1]. Only the first frame or page counts.

    Raises
    ------
    ImageError
        If the image is unreadable, truncated, too small, too large, or has values without a
        stated range.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's other warnings are about metadata, which do not matter here.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(path, image.size)
                return _to_rgb(path, ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_large(path) from error
    # A damaged file makes Pillow's decoders raise almost anything.
    except Exception as error:
        raise _unreadable(path, error) from error


# Few, since an image of the largest size takes 192 MB.
@functools.lru_cache(maxsize=8)
def _load(path: Path, _modified: int, _size: int) -> Image.Image:
    return decode(path)


@functools.cache
def _suffixes() -> frozenset[str]:
    """Suffixes, in lower case with their dot, of the formats that Pillow reads."""
    suffixes = Image.registered_extensions()
    readable = Image.OPEN.keys() - _NOT_IMAGES
    return frozenset(suffix for suffix, name in suffixes.items() if name in readable)


def _is_meant(path: Path) -> bool:
    """Whether an entry of the folder is meant to be an image, usable or not."""
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in _suffixes() and not path.is_dir()


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path)
    if min(size) < MIN_SIDE:
        raise ImageError(
            path,
            rule=f"{width} x {height} pixels, where each side needs at least {MIN_SIDE}",
            remedy="Remove it or give a larger version",
        )


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    # Pillow clips these modes to 0..255 where it converts them.
    if image.mode == "F":
        return _scaled(path, image, top=1.0)
    if image.mode == "I" or image.mode.startswith("I;"):
        return _scaled(path, image, top=65535.0)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scaled(path: Path, image: Image.Image, *, top: float) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    # In this form, NaN is refused as well.
    if not (values.min() >= 0 and values.max() <= top):
        raise ImageError(
            path,
            rule=f"values from {values.min():g} to {values.max():g}, where 0 to {top:g} is read",
            remedy="Save it with 8 or 16 bits a channel",
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8)).convert("RGB")


def _too_large(path: Path) -> ImageError:
    return ImageError(
        path,
        rule=f"more than {MAX_PIXELS // 1_000_000} million pixels, or than Pillow's own limit",
        remedy="Reduce it first; a crop is reduced anyway",
    )


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(
        path,
        rule=f"cannot be read as an image ({type(error).__name__}: {error})",
        remedy="Repair or remove it",
    )
