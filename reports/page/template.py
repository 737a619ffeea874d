"""The templates of the pages, and the filters that they use."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import re
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

from harness.files import cache_file
from reports import words

_TERM = re.compile(r"\b([amO])_([a-z0])\b")


@functools.cache
def environment() -> jinja2.Environment:
    """Templates that escape whatever they are given."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        bytecode_cache=_compiled(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    made.filters.update(
        typeset=words.typeset,
        terms=terms,
        slug=slug,
        when=when,
        sentence=words.sentence,
        without_tex=words.without_tex,
    )
    return made


class _Compiled(jinja2.FileSystemBytecodeCache):
    """What earlier runs compiled, which takes half a second, as far as it can be kept."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a compiled template; where the disk is full, say, do without."""
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


def _compiled() -> jinja2.BytecodeCache | None:
    """The cache for this environment; None where there can be no folder."""
    # Jinja's own key knows the templates and not how they are compiled.
    folder = cache_file("templates") / hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    with contextlib.suppress(OSError, RuntimeError):
        folder.mkdir(parents=True, exist_ok=True)
        return _Compiled(str(folder))
    return None


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
    """A date in words; text that is no date as it is."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M}"
