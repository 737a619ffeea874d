"""The documents of runs, stored with the records that they name.

They allow a report to be made again from the store alone, and runs to be compared over time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.errors import OptionError, StoreError
from harness.files import write_atomically
from harness.store import Store
from harness.verdict.results import Run
from reports.documents.build import document, dumps
from reports.documents.read import read_run
from reports.summary import summarise

RUNS = "runs"
"""The folder of a store with a document for every run."""

DOCUMENT = "claims.json"
"""The document in a report's folder."""


def archive_run(run: Run, store: Store) -> Path:
    """Write the document of a run into its store, named after the time when the run ended.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    content = dumps(document(summarise(run)), compact=True).encode("utf-8")
    # The digest distinguishes runs that end in the same second.
    moment = dt.datetime.fromisoformat(run.ended).astimezone(dt.UTC)
    name = f"{moment:%Y%m%dT%H%M%SZ}-{hashlib.sha256(content).hexdigest()[:8]}.json"
    path = store.folder / RUNS / name
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise StoreError(
            path,
            rule=f"the document of the run cannot be written ({error.strerror})",
            remedy="Free space, or choose another store with --store DIR",
        ) from error
    return path


def documents(place: Path) -> list[Path]:
    """The documents at a path, in the order of their names, which is that of their times.

    Parameters
    ----------
    place : Path
        A document, a store, the folder of a report, or a folder that contains any of these.

    Raises
    ------
    OptionError
        If there is none.
    """
    if place.is_file():
        return [place]
    found = sorted((place / RUNS).glob("*.json"))
    if not found and (place / DOCUMENT).is_file():
        found = [place / DOCUMENT]
    if not found:
        found = sorted({*place.rglob(DOCUMENT), *place.rglob(f"{RUNS}/*.json")})
    if not found:
        raise OptionError(
            place,
            rule="there is no document of a run here",
            remedy=f"Name a store, the folder of a report, or a {DOCUMENT}; "
            "`pytest claims/` writes them",
        )
    return found


def latest(place: Path) -> Run:
    """The last whole run at a path, or the last partial one if none is whole.

    Raises what `documents` raises, and what `read_run` raises for the last run; earlier documents
    that cannot be read are skipped.
    """
    newest, *others = reversed(documents(place))
    last = read_run(newest)
    return next((run for run in itertools.chain([last], _readable(others)) if run.whole), last)


def _readable(paths: Iterable[Path]) -> Iterator[Run]:
    for path in paths:
        with contextlib.suppress(StoreError):
            yield read_run(path)
