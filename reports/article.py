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
class Selection:
    """Some conditions of a claim: those that have the parameters in `where`."""

    claim: str
    where: Where = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineSource(Selection):
    """Where the numbers of a line come from; without a star they are a single point.

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
class LineChart:
    """A chart of medians over replicates.

    Parameters
    ----------
    title : str
        What is drawn.
    lines : tuple of LineSource
        Where its numbers come from.
    scale : Scale
        Of their axis.
    rule : float or None
        A number that is drawn across.
    more_is_better : bool
        Whether replicates without a number, which count as failures, lie below the others.
    """

    title: str
    lines: tuple[LineSource, ...]
    scale: Scale = Scale.LOG
    rule: float | None = None
    more_is_better: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distribution(Selection):
    """How the points of a replicate are spread.

    Parameters
    ----------
    title, name : str
        What is drawn, and what its curve is.
    role : str
        Which of the first replicate's records has the points.
    trace : str
        Which of its traces they are.
    rules : tuple of LineSource
        Single numbers of the same replicate, drawn as upright lines.
    """

    title: str
    name: str
    role: str
    trace: str
    rules: tuple[LineSource, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the article, and what is drawn from the records in its place.

    Parameters
    ----------
    key : str
        Its name here.
    shows, file : str
        What it shows, in words, and its file in the article.
    claims : tuple of str
        Claims that answer it.
    images, traces : tuple of Selection
        Conditions whose reconstructions, and whose distances along the iterations, are drawn.
    distributions : tuple of Distribution
        How points are spread.
    charts : tuple of LineChart
        Medians over replicates.
    """

    key: str
    shows: str
    file: str
    claims: tuple[str, ...]
    images: tuple[Selection, ...]
    traces: tuple[Selection, ...]
    distributions: tuple[Distribution, ...]
    charts: tuple[LineChart, ...]


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
            shows=entry["shows"],
            file=entry["file"],
            claims=tuple(
                claim
                for claim, answer in noted["claims"].items()
                if key in answer.get("figures", ())
            ),
            images=_selections(entry.get("images", ())),
            traces=_selections(entry.get("traces", ())),
            distributions=tuple(
                Distribution(**{**each, "rules": _sources(each["rules"])})
                for each in entry.get("distributions", ())
            ),
            charts=tuple(map(_chart, entry.get("charts", ()))),
        )
        for key, entry in noted["figures"].items()
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


def _selections(entries: Sequence[Mapping[str, Any]]) -> tuple[Selection, ...]:
    return tuple(Selection(**entry) for entry in entries)


def _sources(entries: Sequence[Mapping[str, Any]]) -> tuple[LineSource, ...]:
    return tuple(LineSource(**entry) for entry in entries)


def _chart(entry: Mapping[str, Any]) -> LineChart:
    scale = Scale(entry.get("scale", Scale.LOG.value))
    return LineChart(**{**entry, "lines": _sources(entry["lines"]), "scale": scale})
