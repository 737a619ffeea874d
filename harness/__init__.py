"""What a layer of a network keeps of its input: invert it, and look at what is recovered.

    import harness

    found = harness.invert(network, images, layer="layer3")
    print(found)

The names in `__all__` are the public API; nothing else in this package is promised to stay. Each
is imported when it is first used, so that importing the package takes no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.api.invert import invert
    from harness.api.recovery import Recovery, load
    from harness.errors import (
        DepthClaimsError,
        DeviceError,
        ImageError,
        ModuleError,
        RecoveryError,
        SettingError,
        StuckWarning,
        UnknownNameError,
        WeightsError,
    )
    from harness.plan.decoders import (
        LBFGS,
        Adam,
        AnnealedLBFGS,
        Blur,
        Descent,
        GaussNewton,
        LinearSolve,
        Whitening,
    )
    from harness.plan.images import Start
    from harness.subjects.weights import load_weights

__all__ = [
    "LBFGS",
    "Adam",
    "AnnealedLBFGS",
    "Blur",
    "DepthClaimsError",
    "Descent",
    "DeviceError",
    "GaussNewton",
    "ImageError",
    "LinearSolve",
    "ModuleError",
    "Recovery",
    "RecoveryError",
    "SettingError",
    "Start",
    "StuckWarning",
    "UnknownNameError",
    "WeightsError",
    "Whitening",
    "invert",
    "load",
    "load_weights",
]

_MODULES = {
    "harness.api.invert": ("invert",),
    "harness.api.recovery": ("Recovery", "load"),
    "harness.plan.decoders": (
        "LBFGS",
        "Adam",
        "AnnealedLBFGS",
        "Blur",
        "Descent",
        "GaussNewton",
        "LinearSolve",
        "Whitening",
    ),
    "harness.plan.images": ("Start",),
    "harness.subjects.weights": ("load_weights",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME.get(name, "harness.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
