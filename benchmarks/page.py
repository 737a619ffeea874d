"""The page of figures, docs/throughput.md, from the JSON of a run.

What the page needs of a run is kept beside it, docs/throughput.json, and makes the page: whatever
does not stand there or in `benchmarks.goals` is not said. Neither has a date, so that the same run
gives the same page.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import CPU_GOALS, GPU_GOALS, Goal
from benchmarks.reasons import reason
from benchmarks.tables import THROUGHPUT, Facts, Table, as_markdown, tables

_WIDTH = 100
_INTRODUCTION = """\
How fast an image is recovered from a layer: against what the machine could do, against other ways
to do the same, and until it is recovered well. A step is one forward pass up to the layer, the
gradient with respect to the input, and what the decoder makes of it; an image-step is a step on
one image. Only ratios carry over to another machine. The benchmarks' JSON makes this page:"""

_MAKING = """\
pytest {arguments} --benchmark-json=build/benchmarks.json
python -m benchmarks.page build/benchmarks.json{page}"""

_PAGE = Path("docs/throughput.md")

_MACHINE = ("arguments", "cores", "gpu", "instructions", "machine", "python_version", "torch")
"""What is kept of pytest-benchmark's machine_info, and the processor's name."""

_DIGITS = 6
"""Significant ones that are kept of a number."""


def kept(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a page needs of the JSON of pytest-benchmark, in its form."""
    machine = run["machine_info"]
    return {
        "machine_info": {
            **{name: machine[name] for name in _MACHINE},
            "cpu": {"brand_raw": machine["cpu"].get("brand_raw")},
        },
        "benchmarks": [
            {"group": each["group"], "extra_info": _rounded(each["extra_info"])}
            for each in run["benchmarks"]
        ],
    }


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{_DIGITS}g}")
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
    return value


def others(path: Path) -> dict[str, str]:
    """Titles of the pages of other machines, those beside a page named like it, by file name."""
    beside = sorted(path.parent.glob(f"{_PAGE.stem}*.md"))
    return {
        other.name: other.read_text().splitlines()[0].removeprefix("# ")
        for other in beside
        if other.name != path.name
    }


def page(
    run: Mapping[str, Any], *, path: Path = _PAGE, beside: Mapping[str, str] | None = None
) -> str:
    """The page of a run, as Markdown.

    Parameters
    ----------
    run : mapping
        The JSON of pytest-benchmark, or what is kept of it.
    path : Path
        Where it is to be, for the command that makes it.
    beside : mapping of str to str, optional
        As from `others`.
    """
    found: list[Facts] = [
        {"group": benchmark["group"], **benchmark["extra_info"]} for benchmark in run["benchmarks"]
    ]
    machine = run["machine_info"]
    named = "" if path == _PAGE else f" {path}"
    devices = {facts["device"] for facts in found}
    goals = GPU_GOALS if devices == {"cuda"} else (*CPU_GOALS, *GPU_GOALS)
    missed = [goal for goal in goals if _is_missed(goal, found)]
    parts = [
        "# Throughput",
        _INTRODUCTION,
        textwrap.indent(_MAKING.format(arguments=machine["arguments"], page=named), "    "),
        _machine(machine, found),
        *([_elsewhere(beside)] if beside else []),
        as_markdown(_goals(goals, found, devices=devices)),
        *(_why(goal, found) for goal in missed),
        *(as_markdown(table) for table in tables(found)),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(machine: Mapping[str, Any], found: Sequence[Facts]) -> str:
    cpu = machine["cpu"].get("brand_raw") or machine["machine"]
    threads = sorted({facts["threads"] for facts in found})
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    text = (
        f"Measured on: {cpu} ({machine['instructions']}), {machine['cores']} cores{gpu}; "
        f"{' or '.join(map(str, threads))} threads; torch {machine['torch']}, "
        f"Python {machine['python_version']}."
    )
    return textwrap.fill(text, _WIDTH)


def _elsewhere(beside: Mapping[str, str]) -> str:
    links = ", ".join(f"[{title}]({name})" for name, title in beside.items())
    return textwrap.fill(f"Measured elsewhere: {links}.", _WIDTH, break_long_words=False)


def _is_missed(goal: Goal, found: Sequence[Facts]) -> bool:
    value = goal.measured(found)
    return value is not None and not goal.reached(value)


def _goals(goals: Sequence[Goal], found: Sequence[Facts], *, devices: Collection[str]) -> Table:
    def row(goal: Goal) -> tuple[str, ...]:
        value = goal.measured(found)
        wanted = f"{'at most' if goal.most else 'at least'} {goal.bound:.4g}"
        if value is None:
            missing = goal.device == "cuda" and goal.device not in devices
            return goal.what, wanted, "not measured" + " (no GPU)" * missing, ""
        measured = "the other never gets there" if math.isinf(value) else f"{value:.2f}"
        return goal.what, wanted, measured, "yes" if goal.reached(value) else "no"

    return Table(
        title="Figures to reach",
        heads=("figure", "wanted", "measured", "reached"),
        words=1,
        rows=tuple(map(row, goals)),
    )


def _why(goal: Goal, found: Sequence[Facts]) -> str:
    """Where the time goes at a figure that is not reached, and why it is not."""
    profiled = [facts for facts in found if facts["group"] == THROUGHPUT and goal.profiled(facts)]
    text = goal.what[0].upper() + goal.what[1:] + "."
    figure = goal.measured(found)
    if profiled and figure is not None:
        facts = min(profiled, key=lambda facts: facts["times_limit"])
        text += " " + reason(facts, figure=figure, most=goal.most)
    return textwrap.fill(text, _WIDTH)


def main() -> None:
    """Keep what a page needs of a run, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument(
        "json", type=Path, help="what pytest-benchmark wrote (--benchmark-json), or what was kept"
    )
    parser.add_argument(
        "page", type=Path, nargs="?", default=_PAGE, help=f"the page to write (default: {_PAGE})"
    )
    arguments = parser.parse_args()
    run = kept(json.loads(arguments.json.read_text()))
    path: Path = arguments.page
    path.with_suffix(".json").write_text(json.dumps(run, indent=1) + "\n")
    path.write_text(page(run, path=path, beside=others(path)))


if __name__ == "__main__":
    main()
