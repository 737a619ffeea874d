"""Statements that a layer has a second input: narrow stacks, and convolutions that are pooled."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
from hypothesis import strategies as st
from scipy.signal import correlate2d

from harness.measurements.exact.maps import Rows, matrices
from harness.measurements.exact.operations import max_pooled, untaken
from harness.measurements.exact.statement import Floats, Statement, in_epsilons, rows_text

# --- a layer that is narrower than the input ------------------------------------------------


@dataclasses.dataclass(frozen=True)
class NarrowStack:
    """Matrices one after the other, with an activation between them, at an input.

    Parameters
    ----------
    activation : str
        "none"; or "relu" or "tanh", where the first layer is the narrow one: after a wide layer, a
        narrow one need not have a second input (|x| + |y| is 0 only at the origin).
    maps : tuple of matrices
        From the input on.
    input : tuple of int
        The input.
    """

    activation: str
    maps: tuple[Rows, ...]
    input: tuple[int, ...]

    def output(self, x: Floats) -> Floats:
        """The output of the last layer."""
        for number, rows in enumerate(self.maps):
            if number and self.activation != "none":
                x = np.maximum(x, 0) if self.activation == "relu" else np.tanh(x)
            x = np.array(rows, dtype=float) @ x
        return x

    def other(self) -> Floats:
        """An input at distance 1, which should have the same output."""
        through = self.maps if self.activation == "none" else self.maps[:1]
        # Up to the first layer that is too narrow: what it loses, no later layer recovers.
        narrow = next(k for k, rows in enumerate(through, 1) if len(rows) < len(self.input))
        matrix = functools.reduce(
            lambda before, rows: np.array(rows, dtype=float) @ before,
            through[:narrow],
            np.eye(len(self.input)),
        )
        vector: Floats = np.linalg.svd(matrix)[2][-1]
        return np.array(self.input, dtype=float) + vector

    def __str__(self) -> str:
        return (
            f"maps {', '.join(map(rows_text, self.maps))}, activation {self.activation}: inputs "
            f"{rows_text(self.input)} and {rows_text(tuple(self.other().tolist()))}"
        )


def _difference(stack: NarrowStack) -> float:
    x, other = np.array(stack.input, dtype=float), stack.other()
    # Rounding errors grow by at most the norms of the layers.
    norms = np.prod([np.linalg.norm(np.array(rows, dtype=float)) for rows in stack.maps])
    scale = float(norms * max(1.0, np.linalg.norm(other)))
    return in_epsilons(stack.output(other) - stack.output(x), scale=scale or 1.0)


@st.composite
def _stacks(draw: st.DrawFn) -> NarrowStack:
    inputs = draw(st.integers(2, 7))
    activation = draw(st.sampled_from(["none", "relu", "tanh"]))
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=3))
    place = 0 if activation != "none" else draw(st.integers(0, len(widths) - 1))
    widths[place] = draw(st.integers(1, inputs - 1))
    maps = tuple(
        draw(matrices(after, before, low=-5, high=5))
        for before, after in itertools.pairwise([inputs, *widths])
    )
    numbers = draw(st.lists(st.integers(-9, 9), min_size=inputs, max_size=inputs))
    return NarrowStack(activation, maps, tuple(numbers))


def narrow_stack_has_two_inputs() -> Statement[NarrowStack]:
    """A layer narrower than the input leaves a second input with the same output."""
    return Statement(_stacks(), _difference)


# --- a convolution followed by pooling ------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PooledConvolution:
    """A 3 x 3 kernel over a padded image of one channel, a ReLU, and max-pooling.

    Pooling takes the largest of 3 x 3 at stride 2, padded by one, as a ResNet's stem does.
    """

    kernel: Rows
    bias: int
    pixels: Rows

    def convolved(self, image: Floats) -> Floats:
        """The output of the convolution, before the ReLU."""
        kernel = np.array(self.kernel, dtype=float)
        found: Floats = correlate2d(image, kernel, mode="same") + self.bias
        return found

    def output(self, image: Floats) -> Floats:
        """The output of pooling."""
        return max_pooled(np.maximum(self.convolved(image), 0))

    def other(self) -> Floats:
        """Another image, which should have the same output."""
        image = np.array(self.pixels, dtype=float)
        units = np.eye(image.size).reshape(-1, *image.shape)
        columns = [(self.convolved(unit) - self.bias).ravel() for unit in units]
        matrix = np.stack(columns, axis=1)
        if np.linalg.matrix_rank(matrix) < image.size:
            change: Floats = np.linalg.svd(matrix)[2][-1]
            return image + change.reshape(image.shape)
        falls = np.zeros_like(image)
        falls[untaken(self.convolved(image))] = -1.0
        return image + np.linalg.solve(matrix, falls.ravel()).reshape(image.shape)

    def __str__(self) -> str:
        other = tuple(map(tuple, self.other().tolist()))
        return (
            f"kernel {rows_text(self.kernel)}, bias {self.bias}: images {rows_text(self.pixels)} "
            f"and {rows_text(other)}"
        )


def _pooled_apart(layer: PooledConvolution) -> float:
    image, other = np.array(layer.pixels, dtype=float), layer.other()
    assert not np.array_equal(image, other)
    largest = max(float(np.abs(each).max()) for each in (image, other))
    scale = float(np.abs(np.array(layer.kernel)).sum() * largest) + abs(layer.bias)
    return in_epsilons(layer.output(other) - layer.output(image), scale=scale or 1.0)


@st.composite
def _pooled(draw: st.DrawFn) -> PooledConvolution:
    side = draw(st.integers(2, 6))
    return PooledConvolution(
        draw(matrices(3, 3, low=-5, high=5)),
        draw(st.integers(-9, 9)),
        draw(matrices(side, side, low=0, high=255)),
    )


def pooled_convolution_has_two_inputs() -> Statement[PooledConvolution]:
    """A convolution of one channel with ReLU and pooling has two images with the same output."""
    return Statement(_pooled(), _pooled_apart)
