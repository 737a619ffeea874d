"""Distances between images and between outputs, one value for each sample.

m_r is taken in `recover`, m_g and m_i of the end in `restarts`, and along a run in `trace`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def l2(difference: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """L2 norm of each sample (m_g of outputs, m_i of inputs; the article's equation for m)."""
    norms: Tensor = torch.linalg.vector_norm(difference, dim=_all_but_samples(difference))
    return norms


def total(values: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """Sum over each sample."""
    return values.sum(_all_but_samples(values))


def per_sample(values: Shaped[Tensor, " batch"], *, like: Tensor) -> Shaped[Tensor, "batch ..."]:
    """One number for each sample, shaped to broadcast against a batch."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _all_but_samples(values: Tensor) -> tuple[int, ...]:
    """All axes but the first; flattening would copy images in channels-last layout."""
    return tuple(range(1, values.dim()))
