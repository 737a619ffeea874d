"""All claims of the suite, whatever part of it a run selects."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

import claims
from harness.claim import Claim


def all_claims(root: Path, *, planned: Iterable[Claim]) -> tuple[Claim, ...]:
    """Every claim that the files of this folder state, by id, and those that were planned.

    Parameters
    ----------
    root : Path
        Root folder of the run. A suite elsewhere has its planned claims alone.
    planned : iterable of Claim
        The claims of the collected tests.
    """
    found = {claim.id: claim for claim in planned}
    if root.resolve() == Path(__file__).resolve().parents[1]:
        for module in pkgutil.iter_modules(claims.__path__):
            if module.name.startswith("test_"):
                stated = vars(importlib.import_module(f"claims.{module.name}")).values()
                found |= {value.id: value for value in stated if isinstance(value, Claim)}
    return tuple(found[key] for key in sorted(found, key=_by_letter_and_number))


def _by_letter_and_number(identity: str) -> tuple[str, int, str]:
    digits = "".join(character for character in identity[1:] if character.isdigit())
    return identity[0], int(digits or 0), identity
