"""Precisions by name, and the flags of libraries that they need."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
from collections.abc import Iterator, Mapping

import torch

from harness.errors import DeviceError


@dataclasses.dataclass(frozen=True)
class Precision:
    """Dtypes of images and networks, and whether products may be computed in TF32.

    Parameters
    ----------
    images : torch.dtype
        Of images, gradients and the state of a decoder.
    network : torch.dtype
        Of weights and activations.
    tf32 : bool
        Whether products of float32 may be computed in TF32.
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


# The newer of torch's two interfaces to TF32. The older one does not affect what inherits from
# `torch.backends.fp32_precision`, and fails once the newer one has been used.
_MATRICES, _CONVOLUTIONS = "cuda.matmul.fp32_precision", "cudnn.conv.fp32_precision"
_PRODUCTS = (_MATRICES, _CONVOLUTIONS, "cudnn.rnn.fp32_precision")

_ON_CPU = ("mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision")
"""oneDNN may also multiply in less than float32, on processors that can."""

_REPEATABLE: dict[str, object] = {
    "cudnn.deterministic": True,
    # Chosen by a timing, algorithms differ from run to run.
    "cudnn.benchmark": False,
    # Whether partial sums of products in bfloat16 are rounded to it.
    "cuda.matmul.allow_bf16_reduced_precision_reduction": False,
}


@contextlib.contextmanager
def precision_of(name: str, *, device: torch.device) -> Iterator[Precision]:
    """A precision by its name, with the flags of libraries set for it.

    By default cuDNN's convolutions use TF32, and algorithms that add in any order. Afterwards the
    flags are set to their previous values; torch does not say which of these were inherited.

    Raises
    ------
    DeviceError
        If the device has no such precision.
    """
    precision = _PRECISIONS[name]
    if precision.tf32 and device.type != "cuda":
        raise DeviceError(
            f"{name} on {device.type}",
            rule="TF32 is a way in which GPUs multiply",
            remedy="Choose float32, or --device cuda",
        )
    wanted = {
        **dict.fromkeys(_PRODUCTS, "tf32" if precision.tf32 else "ieee"),
        **dict.fromkeys(_ON_CPU, "ieee"),
        **_REPEATABLE,
    }
    before = {flag: operator.attrgetter(flag)(torch.backends) for flag in wanted}
    try:
        _set_flags(wanted)
        yield precision
    finally:
        _set_flags(before)


def uses_tensor_cores(weight: torch.Tensor) -> bool:
    """Whether a GPU now computes convolutions with a weight on tensor cores, in low precision."""
    if weight.dtype == torch.float32:
        return _is_tf32(_CONVOLUTIONS)
    return weight.dtype in (torch.bfloat16, torch.float16)


def products_are_as_precise(weight: torch.Tensor) -> bool:
    """Whether a GPU's products of matrices are now as precise as its convolutions."""
    return weight.dtype != torch.float32 or _is_tf32(_MATRICES) == _is_tf32(_CONVOLUTIONS)


def tf32_allowed() -> tuple[bool, bool]:
    """Whether products of float32 matrices, and convolutions, may be computed in TF32 now."""
    return _is_tf32(_MATRICES), _is_tf32(_CONVOLUTIONS)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Run torch with a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_tf32(flag: str) -> bool:
    return bool(operator.attrgetter(flag)(torch.backends) == "tf32")


def _set_flags(flags: Mapping[str, object]) -> None:
    """Set attributes of `torch.backends`."""
    for flag, value in flags.items():
        place, _, attribute = flag.rpartition(".")
        setattr(operator.attrgetter(place)(torch.backends), attribute, value)
