"""Which figures of the article a claim answers, the reason for its margin, and what is drawn."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import cattrs
from cattrs.strategies import configure_union_passthrough

from harness.claim import Scale

STAR = "*"
"""Marks what an axis runs over."""

Where = Mapping[str, str | int | float]
"""Parameters that a condition must have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Some conditions of a claim: those that have the parameters in `where`."""

    claim: str
    where: Where = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineSource(Selection):
    """Where the numbers of a line come from; without a star the line is a single point.

    Parameters
    ----------
    name : str
        Name of the line.
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
        Title.
    lines : tuple of LineSource
        Where the numbers come from.
    scale : Scale
        Scale of the axis.
    rule : float or None
        A number drawn as a line across.
    more_is_better : bool
        Whether replicates without a number, which count as failures, lie below the others.
    """

    title: str
    lines: tuple[LineSource, ...]
    scale: Scale = Scale.LOG
    rule: float | None = None
    more_is_better: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the article, and what is drawn from the records for it.

    Parameters
    ----------
    key : str
        Name of the entry.
    shows, file : str
        What it shows, in words, and its file in the article.
    claims : tuple of str
        Claims that answer it.
    images, traces : tuple of Selection
        Conditions whose reconstructions, and whose distances along the iterations, are drawn.
    charts : tuple of LineChart
        Medians over replicates.
    """

    key: str
    shows: str
    file: str
    claims: tuple[str, ...]
    images: tuple[Selection, ...] = ()
    traces: tuple[Selection, ...] = ()
    charts: tuple[LineChart, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A claim's place in the article.

    Parameters
    ----------
    figures : tuple of Figure
        Figures that it answers; none if the article makes the claim in words only.
    margin : str
        The reason for its margin; empty if none is given.
    """

    figures: tuple[Figure, ...] = ()
    margin: str = ""


@functools.cache
def figures() -> dict[str, Figure]:
    """The article's figures in its order, by name."""
    answered = {claim: entry.get("figures", ()) for claim, entry in _content()["claims"].items()}
    return {
        key: _CONVERTER.structure(
            {
                **entry,
                "key": key,
                "claims": [claim for claim in answered if key in answered[claim]],
            },
            Figure,
        )
        for key, entry in _content()["figures"].items()
    }


@functools.cache
def answers() -> dict[str, Answer]:
    """The answers, by claim."""
    return {
        claim: Answer(
            figures=tuple(figures()[key] for key in entry.get("figures", ())),
            margin=entry["margin"],
        )
        for claim, entry in _content()["claims"].items()
    }


@functools.cache
def _content() -> Mapping[str, Any]:
    return tomllib.loads(resources.files("reports").joinpath("article.toml").read_text("utf-8"))


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
configure_union_passthrough(str | int | float, _CONVERTER)
