"""Jacobians of a layer at an input, and their singular values, rank and null space, in float64."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.encoders.encoder import Encoder
from harness.errors import SpectrumError

_EPS = torch.finfo(torch.float64).eps
_GAP = 10.0
"""The gap above which a rank is decided.

Rounding moves a singular value by a modest multiple of eps times the greatest one (Weyl; LAPACK
Users' Guide, section 4.9), of which the default tolerance is an upper bound. What is not counted
shows how far it went: those that are 0 are moved alike, so a value ten times as great is none of
them. Conventions of the tolerance differ by more than that (Press et al. 2007, page 795, have
sqrt(m + n + 1) / 2 for max(m, n)), but they agree wherever they fall into the gap.
"""

_STEPS_A_SECOND = 5e10
"""Arithmetic of a decomposition on two cores; those with AVX-512 were measured at twice as much."""

CHUNK_BYTES = 2**25
"""Bytes that go through a network at once; four times as much took ResNet-18 twice as long."""

_ACTIVATIONS = 16
"""Numbers that a network holds for a sample, relative to its input and output: 13 for ResNet-18 up
to layer2. With `CHUNK_BYTES` it only decides how many samples go through at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeLimit:
    """The most that spectra may cost.

    Parameters
    ----------
    gibibytes : float
        Of memory.
    seconds : float
        On two CPU cores, by an estimate that depends on sizes alone.
    """

    gibibytes: float = 4.0
    seconds: float = 60.0


DEFAULT_LIMIT = SizeLimit()


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Singular values of a matrix, and its rank at a tolerance.

    `dataclasses.replace` gives the same matrix's effective rank at another tolerance.

    Parameters
    ----------
    values : tensor, shape (min(m, n),)
        Singular values, descending.
    tolerance : float
        What a singular value must exceed to be counted.
    """

    values: Float[Tensor, " k"]
    tolerance: float

    @functools.cached_property
    def rank(self) -> int:
        """How many singular values exceed the tolerance."""
        return int((self.values > self.tolerance).sum())

    @property
    def gap(self) -> float:
        """The least singular value counted over the greatest one not counted.

        The tolerance stands for the latter where all are counted, and for the former where none is.
        Infinite where all that are not counted are 0.
        """
        above = float(self.values[self.rank - 1]) if self.rank else self.tolerance
        below = float(self.values[self.rank]) if self.rank < len(self.values) else self.tolerance
        return above / below if below else math.inf

    @property
    def decided(self) -> bool:
        """Whether the gap is at least 10; otherwise the rank is ambiguous."""
        return self.gap >= _GAP

    @property
    def condition(self) -> float:
        """Greatest over least singular value counted, 1 for a matrix of rank 0."""
        return float(self.values[0] / self.values[self.rank - 1]) if self.rank else 1.0


@dataclasses.dataclass(frozen=True)
class Decomposition(Spectrum):
    """Singular values and right singular vectors, and so the null space.

    Parameters
    ----------
    right : tensor, shape (n, n)
        Right singular vectors, one a row, those of the null space last.
    """

    right: Float[Tensor, "n n"]

    @property
    def null(self) -> Float[Tensor, "nullity n"]:
        """Orthonormal basis of the null space."""
        return self.right[self.rank :]

    def null_share(self, errors: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Share of each error that lies in the null space, |P e| / |e|; nan for an error of 0.

        For a linear map and the offset of a start, a0 - a, it is the share that even the
        pseudo-inverse leaves (Penrose 1956).

        Parameters
        ----------
        errors : tensor of float64, shape (batch, ...)
            Each with n elements.
        """
        rows = errors.flatten(1)
        lost = torch.linalg.vector_norm(rows @ self.null.T, dim=1)
        shares: Tensor = (lost / torch.linalg.vector_norm(rows, dim=1)).clamp(max=1)
        return shares


def jacobian(
    encoder: Encoder,
    inputs: Float[Tensor, "batch ..."],
    *,
    limit: SizeLimit = DEFAULT_LIMIT,
    chunk_bytes: int = CHUNK_BYTES,
) -> Float[Tensor, "batch m n"]:
    """The Jacobians of an encoder at a batch of inputs, whose elements are counted row by row.

    VJPs of the unit vectors of the outputs give the rows, or, where there are fewer inputs
    than outputs, JVPs the columns. Each sample is repeated, and many go through the network
    at once, as many as keep the memory bounded.

    Parameters
    ----------
    encoder : Encoder
        In float64.
    inputs : tensor of float64, shape (batch, ...)
        The points.
    limit : SizeLimit
        On the cost of the Jacobians together with their decomposition.
    chunk_bytes : int
        Of what goes through the network at once.

    Raises
    ------
    SpectrumError
        If the inputs are not in float64, or the limit would be exceeded. Then only one output of
        each sample has been computed, to count its elements.
    """
    _require_float64(inputs)
    batch, n = len(inputs), inputs[0].numel()
    m = encoder.encode(inputs)[0].numel()
    _require_room(batch, m, n, limit=limit)
    units = min(m, n)
    most = chunk_bytes // (8 * batch * _ACTIVATIONS * (m + n))
    chunks = math.ceil(units / max(1, most))
    repeats = math.ceil(units / chunks)
    point = inputs.repeat_interleave(repeats, dim=0)
    move: Callable[[Tensor], Tensor]
    if n < m:
        _, move, _ = encoder.linearize(point)
        like = point
    else:
        like, move = encoder.vjp(point)
    moved = inputs.new_empty(batch, units, max(m, n))
    for first in range(0, units, repeats):
        # Past the last unit vector come zeros: an encoder is compiled for one size of batch.
        unit = inputs.new_zeros(repeats, units)
        unit.diagonal(first).fill_(1)
        rows = move(unit.repeat(batch, 1).reshape(like.shape)).reshape(batch, repeats, -1)
        moved[:, first : first + repeats] = rows[:, : units - first]
    return moved.mT if n < m else moved


def spectra(
    matrices: Float[Tensor, "batch m n"], *, limit: SizeLimit = DEFAULT_LIMIT
) -> tuple[Spectrum, ...]:
    """Singular values of matrices, and their rank at LAPACK's tolerance, max(m, n) eps s_0.

    One after the other, since LAPACK has no batches. About half the cost of `decompose`.

    Parameters
    ----------
    matrices : tensor of float64, shape (batch, m, n)
        As from `jacobian`.
    limit : SizeLimit
        On the cost.

    Raises
    ------
    SpectrumError
        If the matrices are not finite, not in float64, or so large that the limit would be
        exceeded.
    """
    _require_matrices(matrices, limit=limit)
    found = []
    for matrix in matrices:
        # LAPACK is up to twice as fast where a matrix is tall.
        tall = matrix.mT if matrix.shape[0] < matrix.shape[1] else matrix
        values = torch.linalg.svdvals(tall)
        found.append(Spectrum(values, _tolerance(matrix, values)))
    return tuple(found)


def decompose(
    matrices: Float[Tensor, "batch m n"], *, limit: SizeLimit = DEFAULT_LIMIT
) -> tuple[Decomposition, ...]:
    """As `spectra`, with the right singular vectors.

    Householder transformations of the matrix itself (gesdd), never of its Gram matrix, whose
    condition is the square.
    """
    _require_matrices(matrices, limit=limit)
    found = []
    for matrix in matrices:
        if matrix.shape[0] <= matrix.shape[1]:
            vectors, values, _ = torch.linalg.svd(matrix.mT)
            right = vectors.mT
        else:
            # The triangle has the same right vectors and spares the long left ones.
            _, values, right = torch.linalg.svd(torch.linalg.qr(matrix, mode="r").R)
        found.append(Decomposition(values, _tolerance(matrix, values), right))
    return tuple(found)


def _tolerance(matrix: Float[Tensor, "m n"], values: Float[Tensor, " k"]) -> float:
    return max(matrix.shape) * _EPS * float(values[0])


def _require_float64(tensor: Tensor) -> None:
    if tensor.dtype != torch.float64:
        raise SpectrumError(
            str(tensor.dtype),
            rule="rounding of less than float64 hides small singular values",
            remedy="Build the encoder, and give the inputs, in torch.float64",
        )


def _require_matrices(matrices: Float[Tensor, "batch m n"], *, limit: SizeLimit) -> None:
    _require_float64(matrices)
    _require_room(*matrices.shape, limit=limit)
    if not bool(matrices.isfinite().all()):
        raise SpectrumError(
            "x".join(map(str, matrices.shape)),
            rule="a matrix with values that are not finite has no singular values",
            remedy="Look at the weights and the input: the network overflows",
        )


def _require_room(batch: int, m: int, n: int, *, limit: SizeLimit) -> None:
    """Refuse what would cost more than the limit, estimated for a full decomposition."""
    low = min(m, n)
    # The Jacobians and the right vectors of all; the copy and the workspace of one, measured.
    numbers = batch * (m * n + n * n) + m * n + 6 * low**2
    gibibytes = 8 * numbers / 2**30
    # R-SVD (Golub and Van Loan 2013, section 8.6), after a QR decomposition where m > n.
    steps = 4 * n**2 * m + 22 * m**3 if m <= n else 2 * m * n**2 + 24 * n**3
    seconds = batch * steps / _STEPS_A_SECOND
    if gibibytes > limit.gibibytes or seconds > limit.seconds:
        raise SpectrumError(
            f"{batch} Jacobian{'s' * (batch > 1)} of {m} outputs x {n} inputs",
            rule=f"exact singular values and vectors would take about {gibibytes:.3g} GiB and "
            f"{seconds:.3g} seconds of two cores, after {low} passes of each input through the "
            f"network, and the limit is {limit.gibibytes:g} GiB and {limit.seconds:g} seconds",
            remedy="Take smaller images, fewer at a time, or a higher "
            "harness.encoders.spectrum.SizeLimit",
        )
