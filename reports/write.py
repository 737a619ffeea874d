"""Write the report of a run."""

from __future__ import annotations

from pathlib import Path

from harness.errors import OptionError
from harness.files import write_atomically
from harness.results import Run
from harness.store import Store
from reports import document, html, tables
from reports.summary import summarise

PAGE = "claims.html"
"""The file to open."""


def write_report(run: Run, store: Store, folder: Path) -> Path:
    """Write `claims.html`, `claims.json`, `claims.csv` and `summary.md`, each in one step.

    Parameters
    ----------
    run : Run
        What was found.
    store : Store
        Where the records are that the run names; those that cannot be read are named in the page.
    folder : Path
        Made if missing.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OptionError
        Where the folder cannot be made or written.
    """
    summary = summarise(run)
    contents = {
        "claims.json": document.dumps(document.document(summary)),
        "claims.csv": tables.to_csv(summary),
        "summary.md": tables.to_markdown(summary),
        PAGE: html.render(summary, store),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(folder / name, content.encode("utf-8"))
    except OSError as error:
        raise OptionError(
            folder,
            rule=f"the report has to go to a folder that can be written ({error.strerror})",
            remedy="Choose another with --report DIR",
        ) from error
    return folder / PAGE
