"""Write the report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.errors import OptionError
from harness.files import write_atomically
from harness.store import Store
from harness.verdict.results import Run
from reports.documents import build as document
from reports.documents import tables as frames
from reports.documents.citation import citation
from reports.figures.records import Library
from reports.page import render as html
from reports.summary import summarise
from reports.text.badge import badge
from reports.text.markdown import to_markdown

PAGE = "claims.html"
"""The file to open."""


def write_report(run: Run, store: Store, folder: Path) -> Path:
    """Write a report in all its forms, each file atomically.

    `claims.html`, `claims.json`, `claims.csv` and `claims.parquet` (a row per condition),
    `replicates.csv` and `replicates.parquet` (a row per replicate and effect), `summary.md`,
    `badge.svg` and `citation.txt`.

    Parameters
    ----------
    run : Run
        The run.
    store : Store
        Where the run's records are; the page names those that cannot be read.
    folder : Path
        Made if missing.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OptionError
        If the folder cannot be made or written.
    """
    summary = summarise(run)
    selected = summary.selected()
    library = Library(store)
    conditions, replicates = frames.conditions(summary), frames.replicates(summary, library)
    write_all(
        folder,
        {
            "claims.json": document.dumps(document.document(summary)),
            "claims.csv": conditions.csv(),
            "claims.parquet": conditions.parquet(),
            "replicates.csv": replicates.csv(),
            "replicates.parquet": replicates.parquet(),
            "summary.md": to_markdown(selected),
            "badge.svg": badge(selected),
            "citation.txt": citation(selected),
            PAGE: html.render(selected, library),
        },
    )
    return folder / PAGE


def write_all(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write files of a report; the folder is made if missing.

    Raises
    ------
    OptionError
        If the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            raw = content.encode("utf-8") if isinstance(content, str) else content
            write_atomically(folder / name, raw)
    except OSError as error:
        raise OptionError(
            folder,
            rule=f"the report has to go to a folder that can be written ({error.strerror})",
            remedy="Choose another with --report DIR",
        ) from error
