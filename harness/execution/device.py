"""The device to measure on, found without importing torch."""

from __future__ import annotations

import ctypes
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
        Where CUDA is asked for and there is no GPU, or torch is a CPU build.
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
            rule="torch finds no GPU here (none is installed, or torch is a CPU build)",
            remedy="Choose --device cpu, or install a CUDA build of torch",
        )
    return "cpu"


def gpu_memory() -> int:
    """Bytes of the first GPU, in use or not; 0 where the driver reports none."""
    driver, place, size = cuda_driver(), ctypes.c_int(0), ctypes.c_size_t(0)
    known = (
        driver is not None
        and not driver.cuInit(0)
        and not driver.cuDeviceGet(ctypes.byref(place), 0)
        and not driver.cuDeviceTotalMem_v2(ctypes.byref(size), place)
    )
    return size.value if known else 0


def cuda_driver() -> ctypes.CDLL | None:
    """NVIDIA's driver, where it is installed."""
    try:
        # By its usual name where there is no cache of libraries to look it up in.
        return ctypes.CDLL(ctypes.util.find_library("cuda") or "libcuda.so.1")
    except OSError:
        return None


def _has_cuda() -> bool:
    """Whether torch is built for CUDA and the driver finds a GPU."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return False
    driver, count = cuda_driver(), ctypes.c_int(0)
    # CUDA's driver API: calls return 0 for success.
    return (
        driver is not None
        and not driver.cuInit(0)
        and not driver.cuDeviceGetCount(ctypes.byref(count))
        and count.value > 0
    )
