"""The page of figures, docs/throughput.md, from the JSON of a run.

It says nothing that does not stand in the JSON or in `benchmarks.goals`, and no date, so that the
same run gives the same page.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import CPU_GOALS, GPU_GOALS, Goal
from benchmarks.tables import THROUGHPUT, Facts, Table, as_markdown, tables

_WIDTH = 100
_LEAST = 0.01
"""Share of the time below which a kind of operator is not worth naming."""

_INTRODUCTION = """\
How fast an image is recovered from a layer: against what the machine could do, against other ways
to do the same, and until it is recovered well. A step is one forward pass up to the layer, the
gradient with respect to the input, and what the decoder makes of it; an image-step is a step on
one image. Only ratios carry over to another machine. The benchmarks' JSON makes this page:"""

_MAKING = """\
pytest {arguments} --benchmark-json=build/benchmarks.json
python -m benchmarks.page build/benchmarks.json > docs/throughput.md"""


def page(run: Mapping[str, Any]) -> str:
    """The page of a run, as Markdown.

    Parameters
    ----------
    run : mapping
        The JSON of pytest-benchmark.
    """
    found: list[Facts] = [
        {"group": benchmark["group"], **benchmark["extra_info"]} for benchmark in run["benchmarks"]
    ]
    machine = run["machine_info"]
    goals = GPU_GOALS if any(facts["device"] == "cuda" for facts in found) else CPU_GOALS
    missed = [goal for goal in goals if _is_missed(goal, found)]
    parts = [
        "# Throughput",
        _INTRODUCTION,
        textwrap.indent(_MAKING.format(arguments=machine["arguments"]), "    "),
        _machine(machine, found),
        as_markdown(_goals(goals, found)),
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


def _is_missed(goal: Goal, found: Sequence[Facts]) -> bool:
    value = goal.measured(found)
    return value is not None and not goal.reached(value)


def _goals(goals: Sequence[Goal], found: Sequence[Facts]) -> Table:
    def row(goal: Goal) -> tuple[str, ...]:
        value = goal.measured(found)
        wanted = f"{'at most' if goal.most else 'at least'} {goal.bound:.4g}"
        if value is None:
            return goal.what, wanted, "not measured", ""
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
    text = goal.what[0].upper() + goal.what[1:] + ". " + goal.reason
    if profiled:
        facts = min(profiled, key=lambda facts: facts["times_limit"])
        kinds = ", ".join(
            f"{kind} {share:.0%}" for kind, share in facts["profile"].items() if share >= _LEAST
        )
        text += f" Time of a step at batch {facts['batch']}: {kinds}."
    return textwrap.fill(" ".join(text.split()), _WIDTH)


def main() -> None:
    """Print the page of the run that is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("json", type=Path, help="what pytest-benchmark wrote (--benchmark-json)")
    print(page(json.loads(parser.parse_args().json.read_text())), end="")


if __name__ == "__main__":
    main()
