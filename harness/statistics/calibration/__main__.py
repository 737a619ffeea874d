"""The complete calibration: `make calibrate`.

`python -m harness.statistics.calibration [--report DIR]` is the same.

Prints one line per world and writes the rows to `calibration.json` in the folder of the report.
The exit status is 1 if a promise is broken in any world.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.errors import OptionError
from harness.files import write_atomically
from harness.statistics.calibration.simulation import Row, calibrate, complaints
from harness.statistics.calibration.worlds import JUST_BEYOND, MARGIN, worlds

FILE = "calibration.json"
SIMULATIONS = 10_000
SEED = 20_230_517

_COLUMNS = (
    "kind", "parts", "effect", "noise", "icc", "claim", "wrong", "exact", "coverage",
    *("at 12", "at 24", "at 48"), "power", "exact", "by 12", "by 24",
)  # fmt: skip
_WIDTHS = (4, 5, 7, 15, 4, 7, 6, 6, 8, 6, 6, 6, 6, 6, 6, 6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate all worlds, print the table, write the file; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.statistics.calibration",
        description="simulate the decision procedure in worlds whose truth is known",
    )
    parser.add_argument("--report", type=Path, default=Path("reports", "latest"), metavar="DIR")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, metavar="N")
    options = parser.parse_args(arguments)
    if options.simulations < 100:
        parser.error(f"--simulations {options.simulations}: fewer than 100 show nothing")

    print(_line(_COLUMNS))
    rows, broken = [], 0
    for number, world in enumerate(worlds()):
        row = calibrate(
            world, np.random.default_rng([SEED, number]), simulations=options.simulations
        )
        rows.append(row)
        print(_line(_cells(row)), flush=True)
        for complaint in complaints(row, strict=True):
            broken += 1
            print(f"  ! {complaint}")
    print(
        f"{len(rows)} worlds, {options.simulations} simulations each: at most "
        f"{max(row.wrong_definite for row in rows):.4f} wrong definite verdicts, coverage at least "
        f"{min(min(row.coverage, *row.coverage_by_look) for row in rows):.4f}; "
        + (f"{broken} promises broken" if broken else "all as promised")
    )
    try:
        write(rows, options.report)
    except OptionError as error:
        parser.error(str(error))
    print(f"written to {options.report / FILE}")
    return 1 if broken else 0


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows as a JSON list, one object per world.

    Raises
    ------
    OptionError
        Where the folder cannot be made or written.
    """
    content = json.dumps([dataclasses.asdict(row) for row in rows], indent=1, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, f"{content}\n".encode())
    except OSError as error:
        raise OptionError(
            folder,
            rule=f"the table has to go to a folder that can be written ({error.strerror})",
            remedy="Choose another with --report DIR",
        ) from error


def _cells(row: Row) -> tuple[str, ...]:
    claim = {True: "true", False: "false", None: "either"}[row.holds]
    noise = row.noise + f" x{row.scale:g}" * (row.scale != 1) + " fails" * (row.failing > 0)
    return (
        row.kind, str(row.parts), _effect(row.effect), noise, f"{row.icc:g}", claim,
        _rate(row.wrong_definite), _rate(row.wrong_exact), _rate(row.coverage),
        *map(_rate, row.coverage_by_look),
        _rate(row.power), _rate(row.power_exact), *map(_rate, row.power_by_look[:2]),
    )  # fmt: skip


def _effect(effect: float) -> str:
    return f"{MARGIN:g}+" if effect == JUST_BEYOND else f"{effect:.3g}"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.4f}"


def _line(cells: Sequence[str]) -> str:
    return "  ".join(
        cell.ljust(width) if number in (0, 3, 5) else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main())
