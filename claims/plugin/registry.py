"""All claims of the suite, whichever of them a run selects."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

import pytest

import claims
from harness.claim import Claim
from harness.errors import ClaimError


def all_claims(root: Path, *, planned: Iterable[Claim]) -> tuple[Claim, ...]:
    """Every claim that the files of this folder state, by id, and those that were planned.

    Parameters
    ----------
    root : Path
        Root folder of the run. Another suite has only its planned claims.
    planned : iterable of Claim
        The claims of the collected tests.

    Raises
    ------
    ClaimError
        If a file cannot be imported: digest and lock would be incomplete without it.
    """
    found = {claim.id: claim for claim in planned}
    if root.resolve() == Path(__file__).resolve().parents[2]:
        for module in pkgutil.iter_modules(claims.__path__):
            if module.name.startswith("test_"):
                stated = _names_of(f"claims.{module.name}").values()
                found |= {value.id: value for value in stated if isinstance(value, Claim)}
    return in_order(found.values())


def in_order(stated: Iterable[Claim]) -> tuple[Claim, ...]:
    """Claims by id, each once: letters first, then numbers as numbers."""
    found = {claim.id: claim for claim in stated}
    return tuple(found[key] for key in sorted(found, key=_by_letter_and_number))


def _names_of(module: str) -> dict[str, object]:
    try:
        return vars(importlib.import_module(module))
    except (Exception, pytest.skip.Exception) as error:
        raise ClaimError(
            f"{module.replace('.', '/')}.py",
            rule=f"the file cannot be imported ({type(error).__name__}: {error})",
            remedy="Mend it, or move it away",
        ) from error


def _by_letter_and_number(identity: str) -> tuple[str, int, str]:
    digits = "".join(character for character in identity[1:] if character.isdigit())
    return identity[0], int(digits or 0), identity
