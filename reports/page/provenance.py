"""Where a run comes from, as names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from harness.verdict.results import Run
from reports import words
from reports.documents.build import plain


def facts(run: Run) -> list[tuple[str, str]]:
    """Commit, claims, settings, seeds, versions, machine, time and throughput."""
    provenance = dict(run.provenance)
    commit = str(provenance.pop("commit", None) or "unknown")
    dirty = provenance.pop("dirty", None)
    seeds = provenance.pop("seeds", None)
    provenance.pop("device", None)
    peak_rate, throughput = provenance.pop("peak_rate", None), provenance.pop("throughput", None)
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
        *((key.replace("_", " ").capitalize(), _flat(value)) for key, value in provenance.items()),
        ("Peak rate", peak_rate_text(peak_rate, measured=run.measured > 0)),
        ("Throughput", throughput_text(throughput, measured=run.measured > 0)),
    ]


def peak_rate_text(peak_rate: object, *, measured: bool) -> str:
    """The peak rate of each kind of worker, in words."""
    kinds = [kind for kind in peak_rate if isinstance(kind, Mapping)] if _listed(peak_rate) else []
    if not kinds:
        return "unknown: not in any record"
    when = "when it began" if measured else "when the runs that measured began"
    texts = []
    for kind in kinds:
        threads = kind.get("threads")
        place = f"{threads} thread{'' if threads == 1 else 's'}"
        if kind.get("device") != "cpu":
            place = f"{kind.get('device')}, {place}"
        texts.append(f"{words.number(kind['gflops'])} GFLOP/s ({place}, {kind.get('processor')})")
    return f"float32 arithmetic of one worker, {when}: {'; '.join(texts)}"


def throughput_text(throughput: object, *, measured: bool) -> str:
    """The throughput of a run, in words."""
    known = throughput if isinstance(throughput, Mapping) else {}
    texts = []
    if "cells_an_hour" in known:
        over = f"{_whole(known['cells_an_hour'])} cells an hour"
        if "image_steps_a_second" in known:
            over += f" and {words.number(known['image_steps_a_second'])} image-steps a second"
        texts.append(f"{over} over the whole run")
    elif measured:
        texts.append("unknown over the whole run")
    else:
        texts.append("nothing was measured in this run")
    one = known.get("of_one_worker")
    if isinstance(one, Mapping):
        who = "one worker" if measured else "one worker of the runs that measured"
        texts.append(
            f"{words.number(one['image_steps_a_second'])} image-steps a second of {who} in its "
            f"descents ({one['image_steps']:,} steps in {words.duration(one['seconds'])}, over all "
            "networks and sizes)"
        )
    return "; ".join(texts)


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


def _whole(rate: float) -> str:
    """A rate in whole numbers, unless it is too small for that."""
    return f"{rate:,.0f}" if rate >= 10 else words.number(rate, digits=2)


def _listed(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _flat(value: object) -> str:
    simple = plain(value)
    if isinstance(simple, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in simple.items())
    if isinstance(simple, list):
        return ", ".join(_flat(item) for item in simple)
    if isinstance(simple, bool):
        return "yes" if simple else "no"
    return "unknown" if simple is None else str(simple)
