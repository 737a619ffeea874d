"""Where a run comes from, as pairs of words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.results import Run
from harness.store import Record
from reports import words
from reports.document import plain

_NAMES = {"ceiling": "Machine ceiling", "throughput": "Throughput"}


def facts(run: Run, records: Iterable[Record] = ()) -> list[tuple[str, str]]:
    """Commit, claims, settings, seeds, versions, machine, time and pace, in this order.

    Parameters
    ----------
    run : Run
        The run.
    records : iterable of Record
        Its records, each once; the pace is theirs.
    """
    provenance = dict(run.provenance)
    commit = str(provenance.pop("commit", None) or "unknown")
    dirty = provenance.pop("dirty", None)
    seeds = provenance.pop("seeds", None)
    provenance.pop("device", None)
    provenance.setdefault("throughput", _throughput(records))
    provenance.setdefault("ceiling", "not measured in this run; `make benchmark` measures it")
    return [
        ("Commit", commit + (", with uncommitted changes" if dirty else "")),
        ("Claims digest (SHA-256)", run.claims_digest),
        ("Profile", run.profile),
        ("Device", run.device),
        ("Ended", run.ended),
        ("Time", words.duration(run.seconds)),
        ("Cells", f"{run.measured} measured, {run.reused} reused from the store"),
        *((f"Your {name}", value) for name, value in run.custom.items()),
        *([("Seeds", seeds_text(seeds))] if isinstance(seeds, Mapping) else []),
        *(
            (_NAMES.get(key, key.replace("_", " ").capitalize()), _flat(value))
            for key, value in provenance.items()
        ),
    ]


def seeds_text(seeds: Mapping[str, object]) -> str:
    """How to draw the replicates again, in words of numpy."""
    sources = seeds.get("sources")
    named = (
        ", ".join(f"{number} {name}" for name, number in sources.items())
        if isinstance(sources, Mapping)
        else "unknown"
    )
    return (
        f"numpy.random.SeedSequence({seeds.get('entropy')}, spawn_key=({seeds.get('stream')}, "
        f"replicate, source)); replicates count from 0; sources: {named}"
    )


def _throughput(records: Iterable[Record]) -> str:
    """Image-steps a second of one worker, over the records that are descents."""
    steps = seconds = 0.0
    for record in records:
        taken = record.traces.get("iteration", ())
        if taken and record.seconds > 0:
            restarts = record.cell.get("restarts", 1)
            steps += taken[-1] * (restarts if isinstance(restarts, int) else 1)
            seconds += record.seconds
    if not seconds:
        return "no descents in this run"
    return (
        f"{words.number(steps / seconds)} image-steps a second of one worker "
        f"({words.number(steps)} steps in {words.duration(seconds)}, over all networks and sizes)"
    )


def _flat(value: object) -> str:
    simple = plain(value)
    if isinstance(simple, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in simple.items())
    if isinstance(simple, list):
        return ", ".join(_flat(item) for item in simple)
    if isinstance(simple, bool):
        return "yes" if simple else "no"
    return "unknown" if simple is None else str(simple)
