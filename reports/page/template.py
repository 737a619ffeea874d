"""The templates of the pages, and the filters that they use."""

from __future__ import annotations

import datetime as dt
import functools
import re

import jinja2

from harness.verdict.verdict import Verdict
from reports import words
from reports.figures.geometry import css_of

_TERM = re.compile(r"\b([amO])_([a-z0])\b")


@functools.cache
def environment() -> jinja2.Environment:
    """Templates that escape all values."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    made.filters.update(
        typeset=words.typeset,
        terms=terms,
        slug=slug,
        verdict=Verdict,
        css=css_of,
        quantity=words.quantity,
        percent=words.percent,
        probability=words.probability,
        cell_text=cell_text,
        when=when,
        sentence=words.sentence,
        without_tex=words.without_tex,
    )
    return made


def terms(text: str) -> list[tuple[str, str, str]]:
    """A text split at the article's symbols: plain text, then a letter with its index.

    >>> terms("m_g falls")
    [('', 'm', 'g'), (' falls', '', '')]
    """
    found = []
    end = 0
    for match in _TERM.finditer(text):
        found.append((text[end : match.start()], match[1], match[2]))
        end = match.end()
    return [*found, (text[end:], "", "")]


def slug(text: str) -> str:
    """A text as the name of an anchor."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "claim"


def when(text: str) -> str:
    """A date in words."""
    moment = dt.datetime.fromisoformat(text)
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def cell_text(cell: str | int | float) -> str:
    """A cell of a side table as text."""
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell if isinstance(cell, str) else words.number(cell)
