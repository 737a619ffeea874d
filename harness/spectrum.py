"""Singular values, rank and null space of linear maps and of Jacobians, in float64."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from harness.subjects.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of a matrix, its rank decided at a tolerance.

    Parameters
    ----------
    values : tensor, shape (min(m, n),)
        Singular values, descending.
    rank : int
        Singular values above ``max(m, n) * eps * values[0]`` (LAPACK's and numpy's rule).
    gap : float
        The least singular value counted over the greatest one not counted; infinite where all or
        none are counted.
    null : tensor, shape (n - rank, n)
        Orthonormal basis of the null space.
    """

    values: Float[Tensor, " k"]
    rank: int
    gap: float
    null: Float[Tensor, "nullity n"]

    @property
    def condition(self) -> float:
        """Greatest over least singular value counted, 1 for a matrix of rank 0."""
        return float(self.values[0] / self.values[self.rank - 1]) if self.rank else 1.0


def spectrum(matrix: Float[Tensor, "m n"]) -> Spectrum:
    """Singular values, rank and null space of a matrix.

    Parameters
    ----------
    matrix : tensor of float64, shape (m, n)
    """
    _, values, right = torch.linalg.svd(matrix, full_matrices=True)
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps * float(values[0])
    rank = int((values > tolerance).sum())
    below = float(values[rank]) if rank < len(values) else 0.0
    above = float(values[rank - 1]) if rank else 0.0
    return Spectrum(
        values=values,
        rank=rank,
        gap=above / below if below else float("inf"),
        null=right[rank:],
    )


def jacobian(encoder: Encoder, inputs: Float[Tensor, " n"]) -> Float[Tensor, "m n"]:
    """The Jacobian of an encoder of one sample at an input, by one pullback an output.

    Parameters
    ----------
    encoder : Encoder
        Of a batch of one.
    inputs : tensor, shape (n,)
        Where.
    """
    outputs = encoder.encode(inputs[None]).numel()
    rows = []
    for output in range(outputs):
        value, pullback = encoder.pull(inputs[None])
        cotangent = torch.zeros_like(value).flatten()
        cotangent[output] = 1
        rows.append(pullback(cotangent.reshape(value.shape)).flatten())
    return torch.stack(rows)
