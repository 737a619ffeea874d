"""Statements about single convolutions: swapped pixels, and scanning over padded images."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from hypothesis import strategies as st

from harness.measurements.exact.statement import EPS, Floats, Statement, in_epsilons, rows_text

_WEIGHTS = st.integers(-9, 9)
_PIXELS = st.integers(0, 255)


@dataclasses.dataclass(frozen=True)
class Window:
    """The pixels that a kernel sees at one place, two of which are swapped."""

    weights: tuple[int, ...]
    pixels: tuple[int, ...]
    first: int
    second: int

    @property
    def swapped(self) -> tuple[int, ...]:
        """The pixels after the swap."""
        pixels = list(self.pixels)
        pixels[self.first], pixels[self.second] = pixels[self.second], pixels[self.first]
        return tuple(pixels)

    def output(self, pixels: tuple[int, ...]) -> int:
        """The output of the kernel on some pixels."""
        return sum(weight * pixel for weight, pixel in zip(self.weights, pixels, strict=True))

    def __str__(self) -> str:
        return (
            f"kernel {rows_text(self.weights)} on pixels {rows_text(self.pixels)} yields "
            f"{self.output(self.pixels)}, on {rows_text(self.swapped)} "
            f"{self.output(self.swapped)}"
        )


@st.composite
def _windows(draw: st.DrawFn, *, uniform: bool) -> Window:
    size = draw(st.integers(2, 9))
    weights = (
        (draw(_WEIGHTS),) * size
        if uniform
        else tuple(draw(st.lists(_WEIGHTS, min_size=size, max_size=size)))
    )
    pixels = tuple(draw(st.lists(_PIXELS, min_size=size, max_size=size)))
    first = draw(st.integers(0, size - 2))
    return Window(weights, pixels, first, draw(st.integers(first + 1, size - 1)))


def _moved(window: Window) -> float:
    scale = sum(map(abs, window.weights)) * max(window.pixels, default=0)
    change = window.output(window.swapped) - window.output(window.pixels)
    return abs(change) / (EPS * scale) if change else 0.0


def swap(*, uniform: bool) -> Statement[Window]:
    """Swapping two pixels under a kernel does not change the output."""
    return Statement(_windows(uniform=uniform), _moved)


@dataclasses.dataclass(frozen=True)
class Scan:
    """A square kernel on a square image of one channel.

    It is padded so that every weight meets every pixel.
    """

    kernel: tuple[tuple[int, ...], ...]
    side: int
    stride: int

    def matrix(self) -> Floats:
        """The convolution as a matrix, shape (outputs, pixels)."""
        size, padding = len(self.kernel), len(self.kernel) - 1
        places = range(0, self.side + padding, self.stride)
        rows = []
        for down, across in itertools.product(places, repeat=2):
            row = np.zeros((self.side + 2 * padding,) * 2)
            row[down : down + size, across : across + size] = self.kernel
            rows.append(row[padding:, padding:][: self.side, : self.side].ravel())
        return np.array(rows)

    @property
    def rank(self) -> int:
        """Of the matrix."""
        return int(np.linalg.matrix_rank(self.matrix()))

    def __str__(self) -> str:
        return (
            f"kernel {rows_text(self.kernel)} at stride {self.stride} over {self.side} x "
            f"{self.side} pixels has rank {self.rank} of {self.side**2}"
        )


@st.composite
def _scans(draw: st.DrawFn, *, strides: tuple[int, int]) -> Scan:
    size = draw(st.integers(1, 3))
    weight = st.integers(-3, 3)
    row = st.lists(weight, min_size=size, max_size=size).map(tuple)
    kernel = draw(
        st.lists(row, min_size=size, max_size=size)
        .map(tuple)
        .filter(lambda rows: any(map(any, rows)))
    )
    # Larger than the kernel: nothing is scanned where the kernel covers the whole image.
    return Scan(kernel, draw(st.integers(size + 1, 6)), draw(st.integers(*strides)))


def scan_is_invertible() -> Statement[Scan]:
    """Scanning a padded image pixel by pixel loses nothing: the residual is the nullity."""
    return Statement(_scans(strides=(1, 1)), lambda scan: float(scan.side**2 - scan.rank))


def strided_scan_is_not() -> Statement[Scan]:
    """Scanning with larger strides loses something: the residual is 1 where it loses nothing."""
    return Statement(_scans(strides=(2, 4)), lambda scan: float(scan.rank == scan.side**2))


@dataclasses.dataclass(frozen=True)
class RectifiedConvolution:
    """A kernel of three weights along a row with zero padding, followed by a ReLU."""

    kernel: tuple[int, int, int]
    bias: int
    length: int

    def linear(self) -> Floats:
        """The convolution as a square matrix."""
        before, at, after = self.kernel
        n = self.length
        matrix: Floats = at * np.eye(n) + before * np.eye(n, k=-1) + after * np.eye(n, k=1)
        return matrix

    def two_inputs(self) -> tuple[Floats, Floats]:
        """Two inputs that differ and have the same output."""
        matrix = self.linear()
        if np.linalg.matrix_rank(matrix) < self.length:
            lost: Floats = np.linalg.svd(matrix)[2][-1]
            return np.zeros(self.length), lost
        # Where the ReLU is off, inputs cannot be told apart.
        off = np.zeros(self.length)
        off[0] = -1.0 - abs(self.bias)
        first = np.asarray(np.linalg.solve(matrix, off), dtype=np.float64)
        return first, 2 * first

    def __str__(self) -> str:
        first, second = self.two_inputs()
        return (
            f"kernel {rows_text(self.kernel)}, bias {self.bias}: inputs "
            f"{rows_text(tuple(first.tolist()))} and {rows_text(tuple(second.tolist()))}"
        )


def _apart(layer: RectifiedConvolution) -> float:
    first, second = layer.two_inputs()
    matrix = layer.linear()
    outputs = [np.maximum(matrix @ x + layer.bias, 0) for x in (first, second)]
    scale = float(np.linalg.norm(matrix, 2) * np.linalg.norm(second)) + abs(layer.bias)
    return in_epsilons(outputs[1] - outputs[0], scale=scale)


def rectified_convolution_has_two_inputs() -> Statement[RectifiedConvolution]:
    """A convolution with as many outputs as inputs and a ReLU has two inputs with one output."""
    layers = st.builds(
        RectifiedConvolution,
        kernel=st.tuples(*[st.integers(-5, 5)] * 3),
        bias=st.integers(-3, 3),
        length=st.integers(2, 8),
    )
    return Statement(layers, _apart)
