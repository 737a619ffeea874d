"""What a claim answers in the article, why its margin is what it is, and the article's figures."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from harness.claim import Scale

STAR = "*"
"""Stands for what an axis runs over."""

Where = Mapping[str, str | int | float]
"""Parameters that a condition has to have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Some:
    """Some conditions of a claim.

    Parameters
    ----------
    claim : str
        Which.
    where : mapping
        Their parameters, as far as they matter.
    """

    claim: str
    where: Where = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line(Some):
    """Numbers of records along what a star stands for; one point where there is none.

    Parameters
    ----------
    name : str
        Of the line.
    role : str
        Which of a replicate's records.
    value : str
        Which of its numbers, or one over another: "m_g / m_r".
    """

    name: str
    role: str = STAR
    value: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """A chart of medians over replicates.

    Parameters
    ----------
    title : str
        What is drawn.
    lines : tuple of Line
        Of which numbers.
    scale : Scale
        Of their axis.
    rule : float or None
        A number that is drawn across.
    more_is_better : bool
        On which side a replicate without a number lies: that of failure.
    """

    title: str
    lines: tuple[Line, ...]
    scale: Scale = Scale.LOG
    rule: float | None = None
    more_is_better: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distribution(Some):
    """How the points of a replicate are spread.

    Parameters
    ----------
    title, name : str
        What is drawn, and what its curve is.
    role : str
        Which of the first replicate's records has the points.
    trace : str
        Which of its traces they are.
    rules : tuple of Line
        Single numbers of the same replicate's records that are drawn beside.
    """

    title: str
    name: str
    role: str
    trace: str
    rules: tuple[Line, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the article, and what is drawn from the records as its counterpart.

    Parameters
    ----------
    key : str
        Its name here.
    shows, file : str
        What it shows, in words, and its file in the article.
    claims : tuple of str
        Claims that answer it.
    pictures, traces : tuple of Some
        Conditions whose copies and whose distances along the iterations are its counterpart.
    distributions : tuple of Distribution
        How points are spread.
    charts : tuple of Profile
        Charts beside them.
    """

    key: str
    shows: str
    file: str
    claims: tuple[str, ...]
    pictures: tuple[Some, ...]
    traces: tuple[Some, ...]
    distributions: tuple[Distribution, ...]
    charts: tuple[Profile, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A claim's place in the article.

    Parameters
    ----------
    figures : tuple of Figure
        Those that it answers; none where the article claims it in words alone.
    margin : str
        Why its margin is what it is; empty where nothing is noted.
    """

    figures: tuple[Figure, ...] = ()
    margin: str = ""


@functools.cache
def figures() -> dict[str, Figure]:
    """The article's figures in its order, by their names here."""
    noted = _noted()
    return {
        key: Figure(
            key=key,
            shows=told["shows"],
            file=told["file"],
            claims=tuple(
                claim for claim, entry in noted["claims"].items() if key in entry.get("figures", ())
            ),
            pictures=_some(told.get("pictures", ())),
            traces=_some(told.get("traces", ())),
            distributions=tuple(map(_distribution, told.get("distributions", ()))),
            charts=tuple(map(_profile, told.get("charts", ()))),
        )
        for key, told in noted["figures"].items()
    }


@functools.cache
def answers() -> dict[str, Answer]:
    """All that is noted, by claim."""
    return {
        claim: Answer(
            figures=tuple(figures()[key] for key in entry.get("figures", ())),
            margin=entry["margin"],
        )
        for claim, entry in _noted()["claims"].items()
    }


@functools.cache
def _noted() -> Mapping[str, Any]:
    return tomllib.loads(resources.files("reports").joinpath("article.toml").read_text("utf-8"))


def _some(told: Sequence[Mapping[str, Any]]) -> tuple[Some, ...]:
    return tuple(Some(**each) for each in told)


def _distribution(told: Mapping[str, Any]) -> Distribution:
    return Distribution(**{**told, "rules": tuple(Line(**rule) for rule in told["rules"])})


def _profile(told: Mapping[str, Any]) -> Profile:
    return Profile(
        title=told["title"],
        lines=tuple(Line(**line) for line in told["lines"]),
        scale=Scale(told.get("scale", Scale.LOG.value)),
        rule=told.get("rule"),
        more_is_better=told.get("more_is_better", False),
    )
