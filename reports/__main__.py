"""Reports of earlier runs: made again, compared, and over time.

python -m reports build --store DIR       # the whole report from the records, without torch
python -m reports compare A B             # what changed; exit status 1 if a verdict did
python -m reports history DIR             # effects over the runs in a folder
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DepthClaimsError, OptionError
from harness.store import Store
from reports.comparison import compare, history
from reports.documents.archive import RUNS, documents, latest
from reports.documents.read import read_run
from reports.summary import run_text
from reports.text import console
from reports.write import write_all, write_report

_LATEST = Path("reports", "latest")
_CHANGED = 1
_WRONG = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0 on success, 1 if `compare` finds a changed verdict, 2 if the command cannot be carried out, as
    with two runs that have no condition in common.
    """
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.work(chosen))
    except DepthClaimsError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return _WRONG


def _build(chosen: argparse.Namespace) -> int:
    store: Path = chosen.store
    if not store.is_dir():
        raise OptionError(store, rule="there is no such store", remedy="Name one with --store DIR")
    run = latest(store)
    print(f"run: {run_text(run)}")
    print(f"report: {write_report(run, Store(store), chosen.report)}")
    return 0


def _compare(chosen: argparse.Namespace) -> int:
    a, b = latest(chosen.a), latest(chosen.b)
    found = compare.compare(a, b)
    if not found.pairs:
        raise OptionError(
            f"{chosen.a} ({run_text(a)}) and {chosen.b} ({run_text(b)})",
            rule="no condition was measured by both, so there is nothing to compare",
            remedy="Measure the same claims in both, or name another run's document in the "
            f"{RUNS} folder of a store",
        )
    page = compare.render(found, names=(str(chosen.a), str(chosen.b)))
    write_all(chosen.report, {compare.PAGE: page})
    print(console.comparison(found))
    print(f"report: {chosen.report / compare.PAGE}")
    return _CHANGED if found.changed else 0


def _history(chosen: argparse.Namespace) -> int:
    found = history.history([read_run(path) for path in documents(chosen.folder)])
    write_all(chosen.report, {history.PAGE: history.render(found)})
    print(console.history(found))
    print(f"report: {chosen.report / history.PAGE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Reports from what was measured before."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument(
            "--report",
            type=Path,
            default=_LATEST,
            metavar="DIR",
            help=f"folder to write to ({_LATEST})",
        )
        return made

    build = command("build", "Make the report of the last whole run in a store again.")
    build.add_argument(
        "--store",
        type=Path,
        default=Path(".store"),
        metavar="DIR",
        help="folder of the records, as of `pytest claims/` (.store)",
    )
    build.set_defaults(work=_build)
    place = "a store, the folder of a report, or a claims.json"
    compare = command(
        "compare", "Differences between two runs; exit status 1 if a verdict changed."
    )
    compare.add_argument("a", type=Path, metavar="A", help=place)
    compare.add_argument("b", type=Path, metavar="B", help=place)
    compare.set_defaults(work=_compare)
    history = command("history", "Effects over the runs in a folder.")
    history.add_argument("folder", type=Path, metavar="DIR", help=f"{place}, or a folder of these")
    history.set_defaults(work=_history)
    return parser


if __name__ == "__main__":
    sys.exit(main())
