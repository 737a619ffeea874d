"""The conditions of all claims, as their tests state them."""

from __future__ import annotations

import functools
import importlib
import itertools
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import claims
from harness.lab.condition import Condition
from harness.lab.lab import Custom, Lab
from harness.plan.networks import WeightsFile
from harness.plan.profile import Profile


def stated_tests() -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Tests of all claims, with each of their parameters."""
    for module in pkgutil.iter_modules(claims.__path__):
        if not module.name.startswith("test_"):
            continue
        for name, test in vars(importlib.import_module(f"claims.{module.name}")).items():
            if not name.startswith("test_") or not callable(test):
                continue
            marks = {mark.name: mark for mark in getattr(test, "pytestmark", ())}
            varied = {
                mark.args[0]: list(mark.args[1])
                for mark in getattr(test, "pytestmark", ())
                if mark.name == "parametrize"
            }
            if "networks" in marks:
                varied["network"] = list(marks["networks"].args)
            for values in itertools.product(*varied.values()):
                yield test, dict(zip(varied, values, strict=True))


@functools.cache
def stated_conditions(profile: str) -> tuple[Condition, ...]:
    """What a profile measures where there are weights of ImageNet; these are not read."""
    stated: list[Condition] = []
    for test, parameters in stated_tests():
        lab = Lab(
            profile=Profile(profile),
            custom=Custom(),
            precision="float32",
            parameters=parameters,
            receive=stated.append,
            weights=Path("weights"),
            imagenet=WeightsFile(sha256="0" * 64, path=Path("imagenet.pth")),
        )
        test(lab=lab, **parameters)
    return tuple(stated)
