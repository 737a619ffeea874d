"""Where a measurement comes from: commit, versions, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from harness.plan.identity import ENGINE, LIBRARIES

_PACKAGES = (*LIBRARIES, "statsmodels")

_PRECISIONS = {
    "float32": "IEEE float32 (no TF32)",
    "tf32": "float32, products in TF32",
    "float64": "IEEE float64",
    "bf16": "bfloat16 in the network, IEEE float32 outside",
}


def provenance(*, device: str, precision: str) -> dict[str, object]:
    """Commit and dirty flag, versions of packages, device and precision, as plain JSON values.

    torch is not imported for it.
    """
    commit, dirty = _commit(Path(__file__).resolve().parent)
    return {
        "commit": commit,
        "dirty": dirty,
        "engine": ENGINE[device],
        **machine(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": device,
        "precision": _PRECISIONS[precision],
    }


@functools.cache
def machine() -> dict[str, str]:
    """Python, platform and processor of this machine."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
    }


def processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """The commit of a checkout and whether files differ from it; None where there is none."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
