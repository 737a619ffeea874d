"""Products with a matrix that read only the rows that matter.

After a ReLU about half of all units are 0. At batch 1 a wide layer takes as long as reading its
weights does, so reading half of them takes half as long. Both directions read the same rows, which
are still in the cache on the way back.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

_PARTS = 8
"""Parts into which the rows are divided, for threads to share."""

LARGE = 2**23
"""Bytes of a matrix above which reading half of it saves more than finding the rows costs."""

_DTYPES = (torch.float32, torch.float64)
"""Dtypes in which torch has such sparse products on a CPU."""


def is_worthwhile(stacks: Sequence[Float[Tensor, "_ _ _"]]) -> bool:
    """Whether reading only some rows of each matrix is faster, with the same result.

    It is on a CPU where a matrix is too large for a core's cache. A row that is not finite spoils
    the product of all rows even where its factor is 0.
    """
    large = any(each[0].numel() * each.element_size() >= LARGE for each in stacks)
    return large and all(
        each.device.type == "cpu" and each.dtype in _DTYPES and bool(each.isfinite().all())
        for each in stacks
    )


def combined(
    matrix: Float[Tensor, "k l"], factors: Float[Tensor, " k"]
) -> tuple[Float[Tensor, " l"], Int[Tensor, " rows"]]:
    """The sum of all rows, each times its factor, and the rows whose factor is not 0."""
    rows = factors.nonzero()[:, 0]
    starts = torch.arange(0, max(len(rows), 1), max(-(-len(rows) // _PARTS), 1))
    sums = F.embedding_bag(rows, matrix, starts, mode="sum", per_sample_weights=factors[rows])
    return sums.sum(0), rows


def dotted(
    matrix: Float[Tensor, "k l"], vector: Float[Tensor, " l"], rows: Int[Tensor, " rows"]
) -> Float[Tensor, " k"]:
    """The product of some rows with a vector, 0 for all others."""
    _silence_warning()
    parts = torch.arange(_PARTS + 1) * len(rows) // _PARTS
    places = torch.sparse_csr_tensor(
        parts, rows, vector.new_zeros(len(rows)), (_PARTS, len(matrix)), check_invariants=False
    )
    vectors = vector.expand(_PARTS, -1).contiguous()
    products = torch.sparse.sampled_addmm(places, vectors, matrix.t()).values()
    return vector.new_zeros(len(matrix)).index_put_((rows,), products)


@functools.cache
def _silence_warning() -> None:
    """Hide torch's warning, given once, that its compressed matrices are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)
