"""Profiles: the scale of a run."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from harness.errors import UnknownNameError

Setting = TypeVar("Setting")


PROFILES = ("quick", "standard", "article")


@dataclasses.dataclass(frozen=True)
class Profile:
    """The scale of a run: "quick" (two cores), "standard" (one GPU) or "article" (its sizes)."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in PROFILES:
            raise UnknownNameError.nearest(self.name, PROFILES, what="profile")

    def pick(self, *, quick: Setting, standard: Setting, article: Setting) -> Setting:
        """The setting of this profile."""
        return {"quick": quick, "standard": standard, "article": article}[self.name]
