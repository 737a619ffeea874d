"""Products with a matrix of which few rows count, and only those rows are read.

Behind a rectifier about half of all units are shut. A wide layer at batch 1 takes as long as its
weights take to be read, so reading half of them takes half as long; both directions read the same
rows, and what was read on the way there is still in the cache on the way back.
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
"""Into how many the rows are divided, for threads to share."""

_LARGE = 2**23
"""Bytes of a matrix from which on reading half of it saves more than finding the rows costs."""

_TAKEN = (torch.float32, torch.float64)
"""Dtypes of which torch's sparse products on a CPU take some rows alone."""


def pays(stacks: Sequence[Float[Tensor, "networks k l"]]) -> bool:
    """Whether reading some rows of each matrix alone pays, and gives what all would.

    On a CPU, where a matrix is too large for the cache of a core, in a dtype of which torch takes
    such products. A row that is not finite spoils a product even where it is taken 0 times.
    """
    large = any(each[0].numel() * each.element_size() >= _LARGE for each in stacks)
    return large and all(
        each.device.type == "cpu" and each.dtype in _TAKEN and bool(each.isfinite().all())
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
    _settle_warnings()
    parts = torch.arange(_PARTS + 1) * len(rows) // _PARTS
    places = torch.sparse_csr_tensor(
        parts, rows, vector.new_zeros(len(rows)), (_PARTS, len(matrix)), check_invariants=False
    )
    vectors = vector.expand(_PARTS, -1).contiguous()
    products = torch.sparse.sampled_addmm(places, vectors, matrix.t()).values()
    return vector.new_zeros(len(matrix)).index_put_((rows,), products)


@functools.cache
def _settle_warnings() -> None:
    """Have torch say once, unheard, that its compressed matrices may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)
