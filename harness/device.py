"""The device to measure on, found without importing torch unless there may be a GPU."""

from __future__ import annotations

import ctypes.util
import importlib.metadata

from harness.errors import DeviceError, UnknownNameError

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> str:
    """Resolve the name of a device to "cpu" or "cuda".

    Raises
    ------
    UnknownNameError
        Where the name is none of `DEVICES`.
    DeviceError
        Where CUDA is asked for and torch finds no GPU.
    """
    if name not in DEVICES:
        raise UnknownNameError.nearest(name, DEVICES, what="device")
    if name == "cpu":
        return "cpu"
    if _has_cuda():
        return "cuda"
    if name == "cuda":
        raise DeviceError(
            "cuda",
            rule="torch finds no GPU here (none is installed, or this torch is a CPU build)",
            remedy="Choose --device cpu, or install a CUDA build of torch",
        )
    return "cpu"


def _has_cuda() -> bool:
    if importlib.metadata.version("torch").endswith("+cpu") or not ctypes.util.find_library("cuda"):
        return False
    import torch

    return bool(torch.cuda.is_available())
