"""Statements about linear maps: null spaces, their composition, and distances through them."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from harness.measurements.exact.statement import EPS, Statement, in_epsilons, rows_text

Rows = tuple[tuple[int, ...], ...]


def matrices(rows: int, columns: int, *, low: int, high: int) -> st.SearchStrategy[Rows]:
    """Matrices of integers between two limits."""
    row = st.lists(st.integers(low, high), min_size=columns, max_size=columns).map(tuple)
    return st.lists(row, min_size=rows, max_size=rows).map(tuple)


# --- fewer outputs than inputs --------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """A matrix."""

    rows: Rows

    def __str__(self) -> str:
        return f"matrix {rows_text(self.rows)}"


@st.composite
def _wide(draw: st.DrawFn) -> LinearMap:
    outputs = draw(st.integers(1, 6))
    inputs = draw(st.integers(outputs + 1, 8))
    return LinearMap(draw(matrices(outputs, inputs, low=-9, high=9)))


def _null_residual(map_: LinearMap) -> float:
    matrix = np.array(map_.rows, dtype=float)
    # The last right singular vector, of norm 1.
    vector = np.linalg.svd(matrix)[2][-1]
    return in_epsilons(matrix @ vector, scale=float(np.linalg.norm(matrix, 2)))


def null_vector() -> Statement[LinearMap]:
    """A map with fewer outputs than inputs maps a nonzero input to 0."""
    return Statement(_wide(), _null_residual)


# --- preimages of a composition -------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Composition:
    """Successive linear maps on vectors of integers modulo a prime.

    There are finitely many inputs, so that preimages can be counted; every output that has any has
    equally many.
    """

    prime: int
    maps: tuple[Rows, ...]

    def preimages(self) -> tuple[int, ...]:
        """How many inputs share an output, before the first map and after each."""
        inputs = len(self.maps[0][0])
        found = np.array(list(itertools.product(range(self.prime), repeat=inputs)))
        counts = [1]
        for rows in self.maps:
            found = found @ np.array(rows).T % self.prime
            counts.append(int((found == 0).all(axis=1).sum()))
        return tuple(counts)

    def __str__(self) -> str:
        counted = ", then ".join(map(str, self.preimages()))
        return (
            f"maps {', '.join(map(rows_text, self.maps))} modulo {self.prime}: inputs for an "
            f"output {counted}"
        )


def _standstills(composition: Composition) -> float:
    counts = composition.preimages()
    return float(sum(after < 2 * before for before, after in itertools.pairwise(counts)))


@st.composite
def _shrinking(draw: st.DrawFn) -> Composition:
    prime = draw(st.sampled_from([2, 3]))
    widths = sorted(draw(st.sets(st.integers(1, 5), min_size=3, max_size=4)), reverse=True)
    maps = []
    for inputs, outputs in itertools.pairwise(widths):
        rest = draw(matrices(outputs, inputs - outputs, low=0, high=prime - 1))
        order = draw(st.permutations(range(inputs)))
        # Surjective; every kernel of a surjective map is that of a map like this.
        rows = np.hstack([np.eye(outputs, dtype=int), np.array(rest)])[:, order]
        maps.append(tuple(tuple(row) for row in rows.tolist()))
    return Composition(prime, tuple(maps))


@st.composite
def _square(draw: st.DrawFn) -> Composition:
    prime = draw(st.sampled_from([2, 3]))
    width = draw(st.integers(2, 3))
    maps = []
    for _ in range(draw(st.integers(2, 3))):
        rows = draw(
            matrices(width - 1, width, low=0, high=prime - 1).filter(
                lambda rows: any(map(any, rows))
            )
        )
        # The last row follows from the others, so that the map is singular.
        shares = draw(st.lists(st.integers(0, prime - 1), min_size=width - 1, max_size=width - 1))
        last = (np.array(shares) @ np.array(rows) % prime).tolist()
        maps.append((*rows, tuple(last)))
    return Composition(prime, tuple(maps))


def preimages_multiply(*, square: bool) -> Statement[Composition]:
    """Every further map at least doubles the inputs of an output; the residual counts exceptions.

    The maps are surjective and ever narrower, or square and singular.
    """
    return Statement(_square() if square else _shrinking(), _standstills)


# --- distances ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of the plane."""

    first: Fraction
    second: Fraction

    def __str__(self) -> str:
        return f"x = ({self.first}, {self.second})"


def _example_failures(x: Point) -> float:
    """Failures of the article's numbers: E = diag(1/1000, 1), e = (1, 1), a = (1000, 0), in L1."""
    moves = {"e": (Fraction(1), Fraction(1)), "a": (Fraction(1000), Fraction(0))}
    outputs, inputs = {}, {}
    for name, (first, second) in moves.items():
        moved = Point(x.first + first, x.second + second)
        inputs[name] = abs(moved.first - x.first) + abs(moved.second - x.second)
        outputs[name] = abs(moved.first / 1000 - x.first / 1000) + abs(moved.second - x.second)
    said = (
        outputs["a"] == 1,
        outputs["e"] == Fraction(1001, 1000),
        outputs["a"] < outputs["e"],
        inputs["a"] == 1000 and inputs["e"] == 2,
    )
    return float(said.count(False))


def contraction_example() -> Statement[Point]:
    """The article's statements about its example in two dimensions, at every point of the plane."""
    coordinate = st.fractions(-1000, 1000, max_denominator=1000)
    return Statement(st.builds(Point, coordinate, coordinate), _example_failures)


@dataclasses.dataclass(frozen=True)
class Shift:
    """A map and a small shift of the input."""

    rows: Rows
    shift: tuple[int, ...]

    @property
    def least(self) -> float:
        """The least distance of an input whose output is as far away as the shifted one's."""
        matrix = np.array(self.rows, dtype=float)
        moved = matrix @ np.array(self.shift)
        return float(np.linalg.norm(moved) / np.linalg.norm(matrix, 2))

    @property
    def length(self) -> float:
        """|a' - a|."""
        return float(np.linalg.norm(self.shift))

    def __str__(self) -> str:
        return (
            f"matrix {rows_text(self.rows)}, a' - a = {rows_text(self.shift)} of length "
            f"{self.length:.6g}: an input at {self.least:.6g} has its output as far away"
        )


@st.composite
def _shifts(draw: st.DrawFn) -> Shift:
    size = draw(st.integers(2, 5))
    # Invertible maps suffice; where something is lost, an input at any distance may have the same
    # output as the image.
    matrix = np.diag(draw(st.lists(st.integers(1, 9), min_size=size, max_size=size)))
    for row, column in zip(*np.triu_indices(size, k=1), strict=True):
        matrix[row, column] = draw(st.integers(-9, 9))
    vector = st.lists(st.integers(-9, 9), min_size=size, max_size=size).map(tuple)
    rows = tuple(tuple(row) for row in matrix.tolist())
    return Shift(rows, draw(vector.filter(any)))


def shift_is_a_bound() -> Statement[Shift]:
    """No input nearer than a' has an output as far away as that of a'."""
    return Statement(_shifts(), lambda shift: (1 - shift.least / shift.length) / EPS)
