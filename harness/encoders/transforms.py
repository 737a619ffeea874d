"""Transforms of torchvision that a network may begin with, recognised without importing it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_normalize(transform: object) -> bool:
    """Whether a transform is torchvision's `Normalize`, of either version."""
    kind = type(transform)
    return kind.__name__ == "Normalize" and kind.__module__.startswith("torchvision.transforms")


def normalize(transform: Any, inputs: Tensor, *, dtype: torch.dtype) -> Tensor:
    """What `Normalize` does to inputs of a dtype, without its checks, which cannot be traced."""
    mean, sd = (
        torch.as_tensor(each, dtype=dtype).reshape(-1, 1, 1)
        for each in (transform.mean, transform.std)
    )
    return (inputs - mean) / sd
