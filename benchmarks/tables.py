"""Tables of the benchmarks' JSON, for the console and for docs/throughput.md.

    python -m benchmarks.tables build/benchmarks.json

prints all of them as Markdown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.plan.networks import RESNET_LAYERS

Facts = Mapping[str, Any]
"""What one benchmark states, as in the `extra_info` of pytest-benchmark, and its group."""

THROUGHPUT, PEERS, QUALITY = "Throughput", "Against peers", "Fixed quality"
SPECTRUM = "Spectrum of a Jacobian"
"""The groups of benchmarks, in the order of their tables."""

_PLACE = {"network": "network", "weights": "weights", "layer": "layer", "size": "pixels"}
_COLUMNS = {
    THROUGHPUT: {
        **_PLACE,
        "dtype": "dtype",
        "batch": "batch",
        "image_steps_per_second": "image-steps/s",
        "peak_gflops": "peak GFLOP/s",
        "peak_gbytes": "peak GB/s",
        "bound": "bound",
        "times_roofline": "time / roofline",
    },
    PEERS: {
        **_PLACE,
        "peer": "peer",
        "peer_version": "version",
        "batch": "batch",
        "peer_batch": "its batch",
        "image_steps_per_second": "image-steps/s",
        "peer_image_steps_per_second": "its image-steps/s",
        "times_roofline": "time / roofline",
        "peer_times_roofline": "its time / roofline",
        "times_peer": "times as fast",
    },
    QUALITY: {
        **_PLACE,
        "decoder": "decoder",
        "setting": "setting",
        "reached": "reached",
        "images": "of",
        "gradients": "gradients",
        "nearest": "worst m_g / m_r",
        "image_steps_per_second": "image-steps/s",
        "reconstructions_per_second": "reconstructions/s",
        "times_peer": "times plenoptic",
        "peer_reached": "plenoptic reached",
    },
    SPECTRUM: {
        **_PLACE,
        "dtype": "dtype",
        "outputs": "outputs",
        "inputs": "inputs",
        "rank": "rank",
        "jacobian_seconds": "Jacobian, s",
        "decomposition_seconds": "decomposition, s",
    },
}
_ORDER = ["network", "weights", "depth", "size", "peer", "batch", "peer_batch"]


def tables(found: Iterable[Facts]) -> dict[str, pd.DataFrame]:
    """A table of texts for each group that there is something of, by its name."""
    frame = pd.DataFrame(list(found))
    if frame.empty:
        return {}
    depths = {layer: depth for depth, layer in enumerate(RESNET_LAYERS)}
    frame["depth"] = frame["layer"].map(depths)
    frame["weights"] = pd.Categorical(frame["weights"], ["shared", "own"], ordered=True)
    made = {}
    for group, columns in _COLUMNS.items():
        chosen = frame[frame["group"] == group]
        if group == QUALITY:
            chosen = chosen.sort_values("depth", kind="stable")  # decoders as they are listed
        else:
            chosen = chosen.sort_values([name for name in _ORDER if name in frame], kind="stable")
        if len(chosen):
            shown = chosen.reindex(columns=list(columns)).rename(columns=columns)
            made[group] = shown.astype(object).map(_text)
    return made


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def as_markdown(table: pd.DataFrame) -> str:
    """A table for a page."""
    rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def facts_of(run: Mapping[str, Any]) -> Iterator[Facts]:
    """What the benchmarks of a run stated, from pytest-benchmark's JSON."""
    for benchmark in run["benchmarks"]:
        yield {"group": benchmark["group"], **benchmark["extra_info"]}


if __name__ == "__main__":
    for title, table in tables(facts_of(json.loads(Path(sys.argv[1]).read_text()))).items():
        print(f"## {title}\n\n{as_markdown(table)}\n")
