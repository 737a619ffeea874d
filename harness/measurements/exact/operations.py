"""Statements about pooling, projections and residual connections."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

from harness.measurements.exact.statement import Floats, Statement, in_epsilons, rows_text

OPERATIONS = ("max-pool", "average-pool", "projection")


def max_pooled(image: Floats) -> Floats:
    """The largest of 3 x 3 at stride 2, padded by one, of a square image, in one row."""
    return np.array([image[window].max() for window in _windows(len(image))])


def untaken(image: Floats) -> tuple[int, int]:
    """A position from which no window of max-pooling takes its value; there are more pixels."""
    free = np.ones_like(image, dtype=bool)
    for window in _windows(len(image)):
        row, column = np.unravel_index(image[window].argmax(), image[window].shape)
        free[window[0].start + row, window[1].start + column] = False
    row, column = np.argwhere(free)[0]
    return int(row), int(column)


def _windows(side: int) -> list[tuple[slice, slice]]:
    spans = [slice(max(0, at - 1), min(side, at + 2)) for at in range(0, side, 2)]
    return [(down, across) for down in spans for across in spans]


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of ResNets on a square image of one channel.

    Parameters
    ----------
    name : str
        One of `OPERATIONS`: 3 x 3 max-pooling at stride 2 padded by one, 2 x 2 average-pooling at
        stride 2, or the 1 x 1 projection to two channels at stride 2 of a block that halves the
        image.
    pixels : tuple of tuple of int
        The image.
    """

    name: str
    pixels: tuple[tuple[int, ...], ...]

    def output(self, image: Floats) -> Floats:
        """The output of the operation."""
        match self.name:
            case "max-pool":
                return max_pooled(image)
            case "average-pool":
                half = len(image) // 2
                blocks = image[: 2 * half, : 2 * half].reshape(half, 2, half, 2)
                return np.asarray(blocks.mean(axis=(1, 3)).ravel())
            case _:
                return np.multiply.outer([1.0, -2.0], image[::2, ::2]).ravel()

    def other(self) -> Floats:
        """Another image, which should have the same output."""
        image = np.array(self.pixels, dtype=float)
        match self.name:
            case "max-pool":
                image[untaken(image)] -= 1
            case "average-pool":
                image[0, 0], image[0, 1] = image[0, 0] + 1, image[0, 1] - 1
            case _:
                image[1, 1] += 1
        return image

    def __str__(self) -> str:
        changed = tuple(tuple(map(int, row)) for row in self.other().tolist())
        return f"{self.name} of {rows_text(self.pixels)} and of {rows_text(changed)}"


def _apart(operation: Operation) -> float:
    image, other = np.array(operation.pixels, dtype=float), operation.other()
    assert not np.array_equal(image, other)
    outputs = operation.output(image), operation.output(other)
    scale = max(float(np.abs(output).max()) for output in outputs) or 1.0
    return in_epsilons(outputs[1] - outputs[0], scale=scale)


@st.composite
def _images(draw: st.DrawFn, *, name: str) -> Operation:
    side = draw(st.integers(2, 6))
    row = st.lists(st.integers(0, 255), min_size=side, max_size=side).map(tuple)
    return Operation(name, tuple(draw(st.lists(row, min_size=side, max_size=side))))


def operation_has_two_inputs(name: str) -> Statement[Operation]:
    """For every image there is another with the same output."""
    return Statement(_images(name=name), _apart)


@dataclasses.dataclass(frozen=True)
class ResidualExample:
    """A residual connection y = x + W relu(x) and an input; the entries of W are eighths."""

    eighths: tuple[tuple[int, ...], ...]
    input: tuple[int, ...]

    @property
    def branch(self) -> Floats:
        """W."""
        return np.array(self.eighths, dtype=float) / 8

    @property
    def lipschitz(self) -> float:
        """A Lipschitz constant of the branch, in the maximum norm."""
        return float(np.abs(self.branch).sum(axis=1).max())

    def recovered(self) -> Floats:
        """The input from the output, by the fixed point of x = y - W relu(x).

        Where the branch is a contraction there is exactly one (Banach; Behrmann et al. 2019).
        """
        x = np.array(self.input, dtype=float)
        y = x + self.branch @ np.maximum(x, 0)
        for _ in range(400):
            x = y - self.branch @ np.maximum(x, 0)
        return x

    def __str__(self) -> str:
        rows = tuple(tuple(value / 8 for value in row) for row in self.eighths)
        return (
            f"branch W relu(x) with W = {rows_text(rows)}, Lipschitz constant "
            f"{self.lipschitz:g}: x = {rows_text(self.input)} is recovered from its output"
        )


def _is_inverted(block: ResidualExample) -> float:
    if block.lipschitz >= 1:
        return 0.0
    x = np.array(block.input, dtype=float)
    error = in_epsilons(block.recovered() - x, scale=max(1.0, float(np.abs(x).max())))
    # 1 / (1 - L) is the condition of the inverse.
    return float(error * (1 - block.lipschitz) < 100)


@st.composite
def _residuals(draw: st.DrawFn) -> ResidualExample:
    size = draw(st.integers(1, 3))
    row = st.lists(st.integers(-8, 8), min_size=size, max_size=size).map(tuple)
    rows = draw(
        st.lists(row, min_size=size, max_size=size).map(tuple).filter(lambda w: any(map(any, w)))
    )
    vector = st.lists(st.integers(-9, 9), min_size=size, max_size=size).map(tuple)
    return ResidualExample(rows, draw(vector.filter(any)))


def residual_is_not_invertible() -> Statement[ResidualExample]:
    """A residual connection has no inverse: the residual is 1 where one is carried out."""
    return Statement(_residuals(), _is_inverted)
