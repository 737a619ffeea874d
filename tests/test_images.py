"""Photographs, crops, dead leaves and digits: what every image keeps to, and known answers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from harness.errors import ImageError, UnknownNameError
from harness.subjects.images import photographs
from harness.subjects.images.dead_leaves import draw_dead_leaves, draw_radii
from harness.subjects.images.photographs import (
    PHOTOGRAPHS,
    draw_box,
    draw_photograph,
    load_photograph,
    random_crop,
)
from harness.subjects.images.sources import SOURCES, draw_image

BUNDLED = [source for source in SOURCES if source != "folder"]
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("source", BUNDLED)
@settings(max_examples=25, deadline=None)
@given(pixels=st.integers(1, 48), seed=SEEDS)
def test_an_image_has_its_shape_and_range_and_one_seed_one_image(
    source: str, pixels: int, seed: int
) -> None:
    drawn = draw_image(source, pixels=pixels, rng=np.random.default_rng(seed))
    again = draw_image(source, pixels=pixels, rng=np.random.default_rng(seed))
    assert drawn.values.shape == (3, pixels, pixels)
    assert drawn.values.dtype == np.float32
    assert drawn.values.flags.c_contiguous
    assert drawn.values.flags.writeable
    assert drawn.values.min() >= 0
    assert drawn.values.max() <= 1
    assert drawn.label == again.label
    np.testing.assert_array_equal(drawn.values, again.values)


@pytest.mark.parametrize("source", BUNDLED)
def test_images_of_one_generator_differ_and_share_no_memory(source: str) -> None:
    rng = np.random.default_rng(0)
    first = draw_image(source, pixels=16, rng=rng)
    kept = first.values.copy()
    second = draw_image(source, pixels=16, rng=rng)
    assert not np.array_equal(first.values, second.values)
    second.values[:] = -1
    np.testing.assert_array_equal(first.values, kept)
    again = draw_image(source, pixels=16, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again.values, kept)


def test_an_unknown_source_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownNameError, match=r"'photograph': no such source.*photographs"):
        draw_image("photograph", pixels=8, rng=np.random.default_rng(0))


def test_no_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels=0"):
        draw_image("photographs", pixels=0, rng=np.random.default_rng(0))


def test_images_need_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from harness.subjects.images.sources import draw_image\n"
        "draw_image('digits', pixels=8, rng=np.random.default_rng(0))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Photographs


def test_the_photographs_are_ten_distinct_colour_images_in_order() -> None:
    labels = [photograph.label for photograph in PHOTOGRAPHS]
    assert labels == sorted(set(labels))
    assert len(labels) == 10
    contents = set()
    for photograph in PHOTOGRAPHS:
        image = load_photograph(photograph)
        channels = np.asarray(image, dtype=float)
        assert image.mode == "RGB"
        assert min(image.size) >= 300
        assert np.ptp(channels, axis=2).mean() > 4, f"{photograph.label} is grey"
        contents.add(image.tobytes())
    assert len(contents) == 10


def test_photographs_are_drawn_uniformly() -> None:
    rng = np.random.default_rng(3)
    labels = [draw_photograph(rng=rng)[0] for _ in range(2000)]
    _, counts = np.unique(labels, return_counts=True)
    # Chi-square with 9 degrees of freedom: above 27.9 once in a thousand.
    assert len(counts) == 10
    assert ((counts - 200) ** 2 / 200).sum() < 27.9


@pytest.mark.parametrize(
    ("package", "distribution", "version"),
    [("skimage", "scikit-image", r"\d"), ("nowhere", "no-such-thing", "not installed")],
)
def test_a_photograph_missing_from_its_wheel_is_named(
    package: str, distribution: str, version: str
) -> None:
    absent = photographs.Photograph(
        label="absent",
        distribution=distribution,
        package=package,
        file="data/absent.png",
        provenance="none",
    )
    with pytest.raises(ImageError, match=f"data/absent.png: .*{distribution} .{version}") as caught:
        load_photograph(absent)
    assert f"pip install --force-reinstall {distribution}" in caught.value.remedy


# Crops


@given(
    width=st.integers(8, 2000), height=st.integers(8, 2000), pixels=st.integers(1, 400), seed=SEEDS
)
def test_a_crop_is_a_square_inside_the_image_and_no_small_part(
    width: int, height: int, pixels: int, seed: int
) -> None:
    left, upper, right, lower = draw_box(
        (width, height), pixels=pixels, rng=np.random.default_rng(seed)
    )
    side, short = right - left, min(width, height)
    assert side == lower - upper
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    assert short / 2 <= side <= short
    assert side >= min(short, pixels)


def test_every_crop_that_the_law_allows_occurs() -> None:
    rng = np.random.default_rng(0)
    boxes = {draw_box((7, 5), pixels=4, rng=rng) for _ in range(400)}
    expected = {
        (left, upper, left + side, upper + side)
        for side in (4, 5)
        for left in range(7 - side + 1)
        for upper in range(5 - side + 1)
    }
    assert boxes == expected


def test_a_crop_shows_what_its_box_holds() -> None:
    columns, rows = np.meshgrid(np.arange(90), np.arange(60))
    ramps = np.stack([2 * columns, 4 * rows, 255 + 0 * rows], axis=2).astype(np.uint8)
    image = Image.fromarray(ramps)
    left, upper, right, lower = draw_box(image.size, pixels=10, rng=np.random.default_rng(5))
    crop = random_crop(image, pixels=10, rng=np.random.default_rng(5)) * 255
    centres = (np.arange(10) + 0.5) / 10
    column = 2 * (left + centres * (right - left) - 0.5)
    row = 4 * (upper + centres * (lower - upper) - 0.5)
    inner = slice(2, -2)  # the filter is one-sided at the edges
    np.testing.assert_allclose(crop[0, :, inner], np.tile(column[inner], (10, 1)), atol=1.1)
    np.testing.assert_allclose(crop[1, inner, :], np.tile(row[inner, None], (1, 10)), atol=1.1)
    np.testing.assert_array_equal(crop[2], 255)


def test_reducing_does_not_alias() -> None:
    board = np.indices((128, 128)).sum(axis=0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    crop = random_crop(image, pixels=16, rng=np.random.default_rng(0))
    np.testing.assert_allclose(crop, 0.5, atol=0.05)


def test_a_smaller_image_is_enlarged_whole() -> None:
    image = Image.new("RGB", (20, 12), (255, 0, 51))
    assert draw_box(image.size, pixels=32, rng=np.random.default_rng(0))[3] == 12
    crop = random_crop(image, pixels=32, rng=np.random.default_rng(0))
    np.testing.assert_allclose(crop[:, 7, 9], [1, 0, 0.2], atol=1e-7)
    assert crop.shape == (3, 32, 32)


# Dead leaves


def _disc_overlap(radii: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Area of a disc that its copy, shifted, covers too (the lens of two circles)."""
    half = np.clip(distance / (2 * radii), 0, 1)
    return 2 * radii**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))


def _same_leaf(distance: float, smallest: float, largest: float) -> float:
    """Probability that two points at a distance show one leaf (Matheron 1968)."""
    radii = np.geomspace(smallest, largest, 20001)
    density = radii**-3
    shared = np.trapezoid(_disc_overlap(radii, distance) * density, radii)
    whole = np.trapezoid(np.pi * radii**2 * density, radii)
    return float(shared / (2 * whole - shared))


@pytest.mark.slow
@pytest.mark.parametrize("axis", [1, 2])
def test_dead_leaves_have_the_exact_mean_variance_and_correlation(axis: int) -> None:
    rng = np.random.default_rng(11)
    images = [
        draw_dead_leaves(pixels=24, rng=rng, smallest=1.5, largest=10, supersampling=1)
        for _ in range(400)
    ]
    centred = np.stack(images).astype(float) - 0.5
    expected = {0: 1.0} | {lag: _same_leaf(lag, 1.5, 10) for lag in (1, 2, 4, 8, 16)}
    for lag, correlation in expected.items():
        near = np.take(centred, range(24 - lag), axis=axis + 1)
        far = np.take(centred, range(lag, 24), axis=axis + 1)
        each = 12 * (near * far).mean(axis=(1, 2, 3))
        error = each.std(ddof=1) / np.sqrt(len(each))
        assert error < 0.02
        assert abs(each.mean() - correlation) < 4 * error, f"lag {lag}"
    each = 12 * (centred[:, 0] * centred[:, 1]).mean(axis=(1, 2))
    assert abs(each.mean()) < 4 * each.std(ddof=1) / np.sqrt(len(each)), "channels"
    each = centred.mean(axis=(1, 2, 3))
    assert abs(each.mean()) < 4 * each.std(ddof=1) / np.sqrt(len(each))


def test_radii_follow_the_inverse_cube() -> None:
    radii = np.sort(draw_radii(20_000, smallest=2, largest=50, rng=np.random.default_rng(0)))
    exact = (2**-2 - radii**-2.0) / (2**-2 - 50**-2.0)
    steps = np.arange(1, radii.size + 1) / radii.size
    # Kolmogorov-Smirnov: above 1.95 / sqrt(n) once in a thousand.
    assert np.abs(exact - steps).max() < 1.95 / np.sqrt(radii.size)


def test_antialiasing_averages_the_samples_of_each_pixel() -> None:
    options = {"smallest": 2.0, "largest": 8.0}
    smooth = draw_dead_leaves(pixels=16, rng=np.random.default_rng(4), supersampling=3, **options)
    fine = draw_dead_leaves(
        pixels=48, rng=np.random.default_rng(4), smallest=6, largest=24, supersampling=1
    )
    blocks = fine.reshape(3, 16, 3, 16, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(smooth, blocks, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"smallest": 0.0}, {"smallest": 4.0, "largest": 3.0}, {"supersampling": 0}, {"pixels": 0}],
)
def test_impossible_leaves_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sizes must be positive"):
        draw_dead_leaves(**({"pixels": 8} | options), rng=np.random.default_rng(0))


# Digits


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_digit_is_one_of_scikit_learns_in_three_equal_channels(seed: int) -> None:
    digits = load_digits()
    drawn = draw_image("digits", pixels=8, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(drawn.values[0], drawn.values[1])
    np.testing.assert_array_equal(drawn.values[0], drawn.values[2])
    matches = np.abs(digits.images / 16 - drawn.values[0]).max(axis=(1, 2)) < 1e-6
    assert {f"digit {target}" for target in digits.target[matches]} == {drawn.label}


def test_a_digit_is_enlarged_bilinearly() -> None:
    small = draw_image("digits", pixels=8, rng=np.random.default_rng(1)).values[0]
    large = draw_image("digits", pixels=24, rng=np.random.default_rng(1)).values[0]
    expected = ndimage.zoom(small, 3, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(large, expected, atol=1e-6)
