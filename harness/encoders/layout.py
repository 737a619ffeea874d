"""How tensors lie in memory: images channels last, everything else contiguous."""

from __future__ import annotations

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """Images channels last, so that the pixels of a batch are rows; vectors contiguous."""
    return x.contiguous(
        memory_format=torch.channels_last if x.dim() == 4 else torch.contiguous_format
    )


def accumulate(y: Tensor, added: Tensor | None) -> Tensor:
    """Add a tensor to another in place, where there is one."""
    return y if added is None else y.add_(added)
