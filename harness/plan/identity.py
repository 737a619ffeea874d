"""Identities: the SHA-256 of canonical settings and of all else that decides an outcome."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from harness.plan.cells import Cell
from harness.plan.networks import Network

ENGINE: Mapping[str, int] = {"cpu": 9, "cuda": 9, "any": 8}
"""Version of everything between a cell and its measurement, by device; raised where outcomes
change. "any" is for trained networks, which are used on every device."""

LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pillow",
    "scikit-image",
    "scikit-learn",
)
"""Libraries that draw or compute; scipy for the windows of SSIM, ranks and linear programmes."""


def canonical(cell: Cell | Network) -> dict[str, object]:
    """The settings of a cell as plain JSON values, with the names of their types."""
    return cast(dict[str, object], _plain(cell))


def identity(cell: Cell | Network, *, context: Mapping[str, object]) -> str:
    """SHA-256 (hex) of the canonical cell and of all else that decides its outcome.

    Parameters
    ----------
    cell : Cell or Network
        The cell, or a network to train.
    context : mapping
        Version of the engine, device, precision flags, versions of the libraries that draw and
        compute.
    """
    text = json.dumps(
        {"cell": canonical(cell), "context": dict(context)},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def context(*, device: str) -> dict[str, object]:
    """What decides the outcome of a cell besides its settings.

    Versions of the libraries that draw (weights by constructor and seed, photographs) and compute,
    the kind of device and the precision flags; found without importing the libraries.
    """
    return {
        "engine": ENGINE[device],
        "device": device,
        "precision": "ieee",
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.metadata.get("identity", True)
        }
        return {"type": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
