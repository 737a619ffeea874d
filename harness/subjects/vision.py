"""torchvision's networks, with or without torchvision's compiled operators.

On import, torchvision registers fake kernels for two operators of its compiled extension. A
torchvision without that extension, or whose extension was built for another build of torch,
therefore fails to import, although its networks need none of its operators. Defining the two
schemas beforehand is enough.

Import torchvision's names from here, and from nowhere else.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

import torch

__all__ = ["models"]

_NAMESPACE = "torchvision"
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A definition lasts as long as its library, so the library has to live as long as the process.
definitions: list[torch.library.Library] = []


def _load_extension() -> None:
    """Load torchvision's extension as torchvision does, without importing torchvision.

    A failed import would leave half-initialised submodules in `sys.modules`. Loading the extension
    twice is harmless: the loader then returns the first one.
    """
    spec = importlib.util.find_spec(_NAMESPACE)
    for folder in (spec and spec.submodule_search_locations) or []:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder, f"_C{suffix}")
            if path.is_file():
                try:
                    torch.ops.load_library(os.fspath(path))  # type: ignore[no-untyped-call]
                except (ImportError, OSError):  # built for another torch, therefore useless
                    continue
                return


def _is_defined(operator: str) -> bool:
    return hasattr(getattr(torch.ops, _NAMESPACE), operator)


def _define_missing_schemas() -> None:
    """Make `import torchvision` possible where it is not."""
    if _NAMESPACE in sys.modules:
        return
    if not all(map(_is_defined, _SCHEMAS)):
        _load_extension()
    for operator, schema in _SCHEMAS.items():
        if not _is_defined(operator):
            library = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(schema)  # type: ignore[no-untyped-call]
            definitions.append(library)


_define_missing_schemas()

from torchvision import models  # noqa: E402  (the schemas have to be there first)
