"""A folder of the user's images: every way in which it can be wrong, and how images are decoded."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from harness.errors import ImageError
from harness.subjects.images import folder as module
from harness.subjects.images.folder import (
    MIN_SIDE,
    decode,
    folder_digest,
    list_images,
    load_image,
    scan_folder,
)
from harness.subjects.images.sources import draw_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (12, 10)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds one empty chunk of data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


# What belongs to a folder


def test_images_are_listed_by_name_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "C.tif", "10.bmp", "9.gif"):
        save(tmp_path / name)
    for name in (".hidden.png", "._a.JPG", "notes.txt", "noext", "clip.mpg", "scan.pdf"):
        (tmp_path / name).write_bytes(b"not an image")
    (tmp_path / "folder.png").mkdir()
    save(tmp_path / "folder.png" / "deeper.png")
    expected = ["10.bmp", "9.gif", "C.tif", "a.JPG", "b.png"]
    assert [path.name for path in list_images(tmp_path)] == expected
    assert scan_folder(tmp_path) == list_images(tmp_path)


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "missing": lambda path: path / "absent",
    "a file": lambda path: save(path / "file.png"),
    "below a file": lambda path: save(path / "file.png") / "below",
    "empty": lambda path: path,
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("use", [list_images, scan_folder, folder_digest])
def test_a_folder_without_images_is_refused(
    kind: str, use: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    folder = FOLDERS[kind](tmp_path)
    with pytest.raises(ImageError) as caught:
        use(folder)
    assert caught.value.value == folder


def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions themselves would not stop root.
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ImageError, match="Permission denied"):
        list_images(tmp_path)


# What is wrong with a file


def truncated(path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def broken_checksum(path: Path) -> None:
    contents = bytearray(save(path).read_bytes())
    contents[20] ^= 1
    path.write_bytes(contents)


def tiff(path: Path, value: float, kind: type[np.generic]) -> None:
    Image.fromarray(np.full((10, 10), value, kind)).save(path, "tiff")


SPOILT: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("plain text"),
    "empty": lambda path: path.touch(),
    "truncated": lambda path: truncated(path, "png"),
    "truncated JPEG": lambda path: truncated(path, "jpeg"),
    "broken checksum": broken_checksum,
    # Pillow raises a ValueError, which is no OSError.
    "broken header": lambda path: path.write_bytes(b"P6\nten 10\n255\n"),
    "too narrow": lambda path: save(path, size=(MIN_SIDE - 1, 50)),
    "too flat": lambda path: save(path, size=(50, MIN_SIDE - 1)),
    "too large": lambda path: path.write_bytes(png_header(8001, 8000)),
    "warned of by Pillow": lambda path: path.write_bytes(png_header(10_000, 10_000)),
    "refused by Pillow": lambda path: path.write_bytes(png_header(50_000, 50_000)),
    "dangling link": lambda path: path.symlink_to(path.parent / "nowhere.png"),
    "pipe": os.mkfifo,
    "float above 1": lambda path: tiff(path, 300, np.float32),
    "float below 0": lambda path: tiff(path, -0.5, np.float32),
    "not a number": lambda path: tiff(path, np.nan, np.float32),
    "integer above 65535": lambda path: tiff(path, 70_000, np.int32),
}


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.timeout(60)
def test_a_file_that_cannot_be_used_is_named(kind: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    bad = tmp_path / "b.png"
    SPOILT[kind](bad)
    save(tmp_path / "c.png")
    with pytest.raises(ImageError) as caught:
        scan_folder(tmp_path)
    assert caught.value.value == bad


def test_the_smallest_and_the_largest_sizes_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png", size=(MIN_SIDE, MIN_SIDE))
    monkeypatch.setattr(module, "MAX_PIXELS", 200)
    save(tmp_path / "b.png", size=(20, 10))
    assert len(scan_folder(tmp_path)) == 2
    save(tmp_path / "c.png", size=(21, 10))
    with pytest.raises(ImageError, match=r"c\.png"):
        scan_folder(tmp_path)


def test_a_warning_about_metadata_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png")
    opened = Image.open

    def complain(file: Path) -> Image.Image:
        warnings.warn("Corrupt EXIF data", UserWarning, stacklevel=1)
        return opened(file)

    monkeypatch.setattr(Image, "open", complain)
    assert decode(path).size == (12, 10)


def test_a_file_that_vanishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone.png"
    with pytest.raises(ImageError, match=r"gone\.png"):
        load_image(gone)
    monkeypatch.setattr(module, "list_images", lambda _: (gone,))
    with pytest.raises(ImageError, match=r"gone\.png"):
        folder_digest(tmp_path)


# How an image is decoded


@given(
    values=hnp.arrays(np.uint8, st.tuples(st.integers(8, 12), st.integers(8, 12), st.just(4))),
    kind=st.sampled_from(["png", "webp", "tiff"]),
)
@settings(max_examples=40, deadline=None)
def test_transparency_lies_on_white(
    values: NDArray[np.uint8], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"alpha.{kind}"
    Image.fromarray(values).save(path, lossless=True, exact=True)
    colour, opacity = values[..., :3].astype(float), values[..., 3:] / 255
    expected = colour * opacity + 255 * (1 - opacity)
    np.testing.assert_allclose(np.asarray(decode(path)), expected, atol=1)


@given(values=hnp.arrays(np.uint8, st.tuples(st.integers(8, 12), st.integers(8, 12))))
@settings(max_examples=30, deadline=None)
def test_grey_becomes_three_equal_channels(
    values: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "grey.png"
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(np.asarray(decode(path)), np.stack([values] * 3, axis=2))


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
@given(values=hnp.arrays(np.uint16, (8, 9)))
@settings(max_examples=30, deadline=None)
def test_sixteen_bits_are_scaled_not_clipped(
    kind: str, values: NDArray[np.uint16], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"deep.{kind}"
    Image.fromarray(values).save(path)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(decode(path)), np.stack([expected] * 3, axis=2))


def test_floating_point_from_zero_to_one_is_scaled(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    path = tmp_path / "float.tiff"
    Image.fromarray(values).save(path)
    np.testing.assert_allclose(
        np.asarray(decode(path))[..., 1] / 255, values, atol=0.5 / 255 + 1e-6
    )


def test_palettes_are_looked_up_with_their_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([*RED, *GREEN, *BLUE])
    image.paste(1, (0, 0, 5, 10))
    image.paste(2, (5, 0, 10, 5))
    plain, clear = tmp_path / "plain.png", tmp_path / "clear.gif"
    image.save(plain)
    image.save(clear, transparency=2)
    for path, corner in ((plain, BLUE), (clear, WHITE)):
        decoded = decode(path)
        assert decoded.mode == "RGB"
        assert [decoded.getpixel(at) for at in ((1, 1), (8, 8), (8, 1))] == [GREEN, RED, corner]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    kind = "png" if mode in {"1", "L", "LA"} else "tiff"
    path = tmp_path / f"image.{kind}"
    Image.new("RGB", (10, 10), WHITE).convert(mode).save(path)
    decoded = decode(path)
    assert decoded.mode == "RGB"
    assert decoded.getpixel((4, 4)) == WHITE


def test_the_first_of_several_frames_is_taken(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (10, 10), RED), Image.new("RGB", (10, 10), BLUE)
    path = tmp_path / "moving.gif"
    first.save(path, save_all=True, append_images=[second])
    assert decode(path).getpixel((0, 0)) == RED


# Where each EXIF orientation has to put the file's upper left and upper right corner.
UPRIGHT = {
    1: ("upper left", "upper right"),
    2: ("upper right", "upper left"),
    3: ("lower right", "lower left"),
    4: ("lower left", "lower right"),
    5: ("upper left", "lower left"),
    6: ("upper right", "lower right"),
    7: ("lower right", "upper right"),
    8: ("lower left", "upper left"),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "jpg", "tiff"])
def test_the_exif_orientation_is_applied(orientation: int, kind: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (48, 32), WHITE)
    image.paste(RED, (0, 0, 16, 16))
    image.paste(BLUE, (32, 0, 48, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{kind}"
    image.save(path, exif=exif)
    decoded = decode(path)
    assert decoded.size == ((48, 32) if orientation <= 4 else (32, 48))
    right, lower = decoded.width - 5, decoded.height - 5
    corners = {
        "upper left": (4, 4),
        "upper right": (right, 4),
        "lower left": (4, lower),
        "lower right": (right, lower),
    }
    for corner, colour in zip(UPRIGHT[orientation], (RED, BLUE), strict=True):
        column, row = corners[corner]
        np.testing.assert_allclose(np.asarray(decoded)[row, column], colour, atol=6)


# Identity, draws and what is remembered


def test_the_digest_is_of_names_and_contents_wherever_they_lie(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, names in ((here, ("a.png", "b.png")), (there, ("b.png", "a.png"))):
        folder.mkdir()
        for name in names:
            save(folder / name, RED if name == "a.png" else BLUE)
    digest = folder_digest(here)
    assert len(digest) == 64
    assert folder_digest(there) == digest
    (there / "notes.txt").write_text("no image")
    assert folder_digest(there) == digest

    (there / "b.png").rename(there / "c.png")  # in the same place
    renamed = folder_digest(there)
    save(here / "a.png", BLUE), save(here / "b.png", RED)
    exchanged = folder_digest(here)
    save(here / "a.png", GREEN)
    changed = folder_digest(here)
    save(here / "c.png")
    assert len({digest, renamed, exchanged, changed, folder_digest(here)}) == 5


@given(pixels=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_draw_has_its_shape_and_range_and_one_seed_one_image(
    pixels: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mixed"
    if not folder.exists():
        folder.mkdir()
        rng = np.random.default_rng(0)
        for name, channels in (("grey.png", ()), ("colour.png", (3,)), ("alpha.png", (4,))):
            Image.fromarray(rng.integers(0, 256, (20, 31, *channels), np.uint8)).save(folder / name)
    drawn = draw_image("folder", pixels=pixels, rng=np.random.default_rng(seed), folder=folder)
    again = draw_image("folder", pixels=pixels, rng=np.random.default_rng(seed), folder=folder)
    assert drawn.label in {"grey.png", "colour.png", "alpha.png"}
    assert drawn.values.shape == (3, pixels, pixels)
    assert drawn.values.dtype == np.float32
    assert 0 <= drawn.values.min() <= drawn.values.max() <= 1
    np.testing.assert_array_equal(drawn.values, again.values)


def test_every_image_is_drawn_with_its_own_label(tmp_path: Path) -> None:
    colours = {"red.png": RED, "green.png": GREEN, "blue.png": BLUE}
    for name, colour in colours.items():
        save(tmp_path / name, colour)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        drawn = draw_image("folder", pixels=8, rng=rng, folder=tmp_path)
        np.testing.assert_array_equal(drawn.values[:, 3, 3] * 255, colours[drawn.label])
        seen.add(drawn.label)
    assert seen == set(colours)


def test_the_source_folder_needs_a_folder() -> None:
    with pytest.raises(ImageError, match="--images DIR"):
        draw_image("folder", pixels=8, rng=np.random.default_rng(0))


def test_an_image_is_remembered_until_its_file_changes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RED)
    first = load_image(path)
    assert load_image(path) is first
    save(path, BLUE)
    os.utime(path, ns=(0, 0))
    assert load_image(path).getpixel((0, 0)) == BLUE
