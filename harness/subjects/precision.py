"""Precisions by name: of images and of the network, and what libraries may do to products."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch

from harness.errors import DeviceError


@dataclasses.dataclass(frozen=True)
class Precision:
    """How numbers are kept and multiplied.

    Parameters
    ----------
    images : torch.dtype
        Of images, gradients and whatever a decoder keeps.
    network : torch.dtype
        Of weights and activations.
    tf32 : bool
        Whether products of float32 may be taken in TF32.
    """

    images: torch.dtype
    network: torch.dtype
    tf32: bool = False


_PRECISIONS = {
    "float32": Precision(torch.float32, torch.float32),
    "tf32": Precision(torch.float32, torch.float32, tf32=True),
    "float64": Precision(torch.float64, torch.float64),
    "bf16": Precision(torch.float32, torch.bfloat16),
}


@contextlib.contextmanager
def precision_of(name: str, *, device: torch.device) -> Iterator[Precision]:
    """The precision of a name, with the flags of libraries set for it.

    cuDNN's convolutions use TF32, and algorithms that add in any order, unless told otherwise.

    Raises
    ------
    DeviceError
        Where the device has no such precision.
    """
    precision = _PRECISIONS[name]
    if precision.tf32 and device.type != "cuda":
        raise DeviceError(
            f"{name} on {device.type}",
            rule="TF32 is a way in which GPUs multiply",
            remedy="Choose float32, or --device cuda",
        )
    before = (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
    )
    try:
        _set_flags(precision.tf32, precision.tf32, True)
        yield precision
    finally:
        _set_flags(*before)


def _set_flags(products: bool, convolutions: bool, deterministic: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cudnn.deterministic = deterministic
