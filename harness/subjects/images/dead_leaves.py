"""Dead leaves: synthetic images with occlusion and the scaling of natural ones.

Opaque discs fall on top of each other forever; their radii follow a power law, their colours are
independent. The limit is stationary, and two points at a distance d show the same leaf with
probability g(d) / (2 g(0) - g(d)), g(d) being the mean area that a disc shares with itself shifted
by d (Matheron 1968). Source of the radius law: Lee, Mumford & Huang, "Occlusion models for natural
images", International Journal of Computer Vision 41 (2001), 35-59.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Leaves drawn at a time; changing it changes the image that a seed gives."""


def draw_radii(
    count: int, *, smallest: float, largest: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw radii of density proportional to r^-3 between two cutoffs.

    The exponent -3 makes the model scale-invariant; it needs both cutoffs to exist.
    """
    upper = (smallest / largest) ** 2
    radii: NDArray[np.float64] = smallest / np.sqrt(1 - rng.random(count) * (1 - upper))
    return radii


def draw_dead_leaves(
    *,
    pixels: int,
    rng: np.random.Generator,
    smallest: float = 1.0,
    largest: float | None = None,
    supersampling: int = 2,
) -> NDArray[np.float32]:
    """Draw one image of the dead-leaves model, shape (3, pixels, pixels), in [0, 1].

    Leaves are laid from front to back until they cover everything, which draws exactly from the
    stationary law: no burn-in, no bare ground. Their colours are uniform in the RGB cube.

    Parameters
    ----------
    pixels : int
        Side of the image.
    rng : numpy.random.Generator
        The source of randomness.
    smallest, largest : float
        Cutoffs of the radii, in pixels; `largest` defaults to half the side.
    supersampling : int
        Samples along each side of a pixel, which are averaged; 1 leaves hard edges.

    Raises
    ------
    ValueError
        If a size is not positive or the cutoffs are the wrong way round.
    """
    if largest is None:
        largest = max(smallest, pixels / 2)
    if pixels < 1 or supersampling < 1 or not 0 < smallest <= largest:
        raise ValueError(
            f"sizes must be positive and the cutoffs in order: {pixels=}, {supersampling=}, "
            f"{smallest=}, {largest=}"
        )
    fine = pixels * supersampling
    leaf, count = _front_leaves(
        fine, smallest=smallest * supersampling, largest=largest * supersampling, rng=rng
    )
    colours = rng.random((count, 3), dtype=np.float32)
    samples = colours[leaf].reshape(pixels, supersampling, pixels, supersampling, 3)
    return np.ascontiguousarray(samples.mean(axis=(1, 3)).transpose(2, 0, 1))


def _front_leaves(
    side: int, *, smallest: float, largest: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int]:
    """The number of the front leaf at each sample, shape (side, side), and the number of leaves."""
    bare = np.iinfo(np.int64).max
    front = np.full(side * side, bare)
    drawn = 0
    while (front == bare).any():
        radii = draw_radii(BLOCK, smallest=smallest, largest=largest, rng=rng)
        # Centres extend beyond the edge by the largest radius, so that the law is the same there.
        centres = rng.uniform(-largest, side + largest, size=(2, BLOCK))
        leaf, sample = _covered(centres, radii, side=side)
        np.minimum.at(front, sample, drawn + leaf)
        drawn += BLOCK
    return front.reshape(side, side), drawn


def _covered(
    centres: NDArray[np.float64], radii: NDArray[np.float64], *, side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair every leaf with the flat index of each sample whose centre it covers."""
    # Sample i lies at i + 1/2. The bounding boxes are listed end to end, then reduced to the discs,
    # without a loop over the leaves.
    first = np.maximum(np.ceil(centres - radii - 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centres + radii - 0.5), side - 1).astype(np.int64)
    rows, columns = np.maximum(last - first + 1, 0)
    area = rows * columns
    leaf = np.repeat(np.arange(radii.size), area)
    place = np.arange(area.sum()) - np.repeat(np.cumsum(area) - area, area)
    row = first[0, leaf] + place // columns[leaf]
    column = first[1, leaf] + place % columns[leaf]
    down, across = row + 0.5 - centres[0, leaf], column + 0.5 - centres[1, leaf]
    inside = down**2 + across**2 <= radii[leaf] ** 2
    return leaf[inside], row[inside] * side + column[inside]
