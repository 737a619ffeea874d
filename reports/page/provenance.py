"""Where a run comes from, as names and values."""

from __future__ import annotations

from collections.abc import Mapping

from harness.verdict.results import Run
from reports import words
from reports.documents.build import plain
from reports.summary import own_subjects


def facts(run: Run) -> list[tuple[str, str]]:
    """Commit, claims, settings, seeds, versions, machine and time."""
    provenance = dict(run.provenance)
    commit = str(provenance.pop("commit", None) or "unknown")
    dirty = provenance.pop("dirty", None)
    seeds = provenance.pop("seeds", None)
    provenance.pop("device", None)
    return [
        ("Commit", commit + (", with uncommitted changes" if dirty else "")),
        ("Claims digest (SHA-256)", run.claims_digest),
        ("Profile", run.profile),
        ("Device", run.device),
        ("Ended", run.ended),
        ("Time", words.duration(run.seconds)),
        ("Cells", f"{run.measured} measured, {run.reused} reused from the store"),
        *((f"Your {name}", value) for name, value in own_subjects(run).items()),
        *([("Seeds", seeds_text(seeds))] if isinstance(seeds, Mapping) else []),
        *((key.replace("_", " ").capitalize(), _flat(value)) for key, value in provenance.items()),
    ]


def seeds_text(seeds: Mapping[str, object]) -> str:
    """How to draw the replicates again with numpy."""
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


def _flat(value: object) -> str:
    simple = plain(value)
    if isinstance(simple, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in simple.items())
    if isinstance(simple, list):
        return ", ".join(_flat(item) for item in simple)
    if isinstance(simple, bool):
        return "yes" if simple else "no"
    return "unknown" if simple is None else str(simple)
