"""Tables of what the benchmarks found, from what stands in their JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.plan.networks import RESNET_LAYERS

Facts = Mapping[str, Any]
"""What one benchmark states, and its group."""

THROUGHPUT, PEERS, QUALITY = "throughput", "against peers", "fixed quality"
SPECTRUM = "spectrum"
"""The groups of benchmarks, in the order of their tables."""

_WIDTH = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts.

    Parameters
    ----------
    title : str
        What it shows.
    heads : tuple of str
        Of its columns.
    words : int
        Columns from the left that hold words; all others hold numbers.
    rows : tuple of tuple of str
        Its cells.
    note : str
        What the columns mean.
    """

    title: str
    heads: tuple[str, ...]
    words: int
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(found: Iterable[Facts]) -> list[Table]:
    """A table of each group of which there is something to show."""
    facts = list(found)
    return [
        layout.table([each for each in facts if each["group"] == group])
        for group, layout in _LAYOUTS.items()
        if any(each["group"] == group for each in facts)
    ]


def as_text(table: Table) -> str:
    """A table for the console, without its title."""
    widths = [max(map(len, column)) for column in zip(table.heads, *table.rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if number < table.words else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (table.heads, *table.rows)
    ]
    return "\n".join([*lines, "", textwrap.fill(table.note, _WIDTH)])


def as_markdown(table: Table) -> str:
    """A table for a page."""
    rules = ["---" if number < table.words else "---:" for number in range(len(table.heads))]
    lines = [f"| {' | '.join(row)} |" for row in (table.heads, rules, *table.rows)]
    note = ["", textwrap.fill(table.note, _WIDTH)] if table.note else []
    return "\n".join([f"## {table.title}", "", *lines, *note])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    """How the facts of a group become a table.

    Parameters
    ----------
    title, words, note
        As in `Table`.
    columns : mapping of str to callable
        The text of a cell, by the head of its column.
    order : callable or None
        Key by which rows are sorted; None keeps their order.
    """

    title: str
    words: int
    columns: Mapping[str, Callable[[Facts], str]]
    note: str
    order: Callable[[Facts], Any] | None = None

    def table(self, found: Sequence[Facts]) -> Table:
        """The table of some facts."""
        rows = sorted(found, key=self.order) if self.order else found
        return Table(
            title=self.title,
            heads=tuple(self.columns),
            words=self.words,
            rows=tuple(tuple(cell(facts) for cell in self.columns.values()) for facts in rows),
            note=self.note,
        )


def _of(name: str, form: str = "") -> Callable[[Facts], str]:
    """A fact in a format."""
    return lambda facts: format(facts[name], form)


def _milliseconds(name: str) -> Callable[[Facts], str]:
    """Milliseconds of an image-step, from a rate."""
    return lambda facts: f"{1e3 / facts[name]:.2f}"


def _network(facts: Facts) -> str:
    return facts["network"] + ("" if facts["weights"] == "shared" else " (own weights)")


def _place(facts: Facts) -> tuple[Any, ...]:
    """By network, by who has weights of their own, by depth."""
    layer = facts["layer"]
    return (
        facts["network"],
        facts["weights"] == "own",
        RESNET_LAYERS.index(layer) if layer in RESNET_LAYERS else 0,
    )


def _peer(facts: Facts) -> str:
    return " ".join(filter(None, (facts["peer"], facts["peer_version"])))


def _others(facts: Facts) -> str:
    """What became of the images that did not get there."""
    if facts["reached"] == facts["images"]:
        return "-"
    return "never" if facts["over"] else f"not within {facts['spent']:,}"


def _times_plenoptic(facts: Facts) -> str:
    if not facts["reached"] or "peer" not in facts:
        return "-"
    if "times_peer" not in facts:
        return "it is never there"
    at_least = "≥ " * (facts["peer_reached"] < facts["images"])
    return f"{at_least}{facts['times_peer']:.2f}"


_LAYOUTS = {
    THROUGHPUT: _Layout(
        title="Throughput of the article's descent",
        words=3,
        columns={
            "network": _network,
            "layer": _of("layer"),
            "dtype": _of("dtype"),
            "size": _of("size"),
            "batch": _of("batch"),
            "image-steps/s": _of("image_steps_per_second", ",.1f"),
            "GFLOP/s": _of("ceiling_gflops", ",.0f"),
            "GB/s": _of("ceiling_gbytes", ",.1f"),
            "bound": _of("bound"),
            "times limit": _of("times_limit", ".2f"),
        },
        note="times limit: time of a step over that of its arithmetic at the best rate of matrix "
        "products and convolutions (GFLOP/s), or that of reading its weights, forward and back, at "
        "the best rate of memory, whichever is longer (bound). Both rates are measured beside the "
        "rounds. The arithmetic is counted as is usual, tap by tap, padding included: an engine "
        "that leaves padding out, or multiplies less often than there are taps, can go below 1. "
        "(own weights): every image has a network of its own.",
        order=lambda facts: (*_place(facts), facts["size"], facts["batch"]),
    ),
    PEERS: _Layout(
        title="Against peers",
        words=3,
        columns={
            "network": _network,
            "layer": _of("layer"),
            "peer": _peer,
            "size": _of("size"),
            "batch": _of("batch"),
            "its batch": _of("peer_batch"),
            "ms/image-step": _milliseconds("image_steps_per_second"),
            "its ms": _milliseconds("peer_image_steps_per_second"),
            "times limit": _of("times_limit", ".2f"),
            "its": _of("peer_times_limit", ".2f"),
            "times as fast": _of("times_peer", ".2f"),
        },
        note="Rounds of the engine and of the peer alternate in one process, with the same "
        "network, images, layer, dtype and threads; the best round of each counts, at the batch "
        "that suits it best of those tried. Beside plenoptic and torch-lucent the engine runs "
        "Adam, beside the others the article's descent. (own weights): every image has a network "
        "of its own.",
        order=lambda facts: (*_place(facts), facts["peer"], -facts["peer_batch"]),
    ),
    QUALITY: _Layout(
        title="Reconstructions at fixed quality, m_g at most m_r / 10",
        words=4,
        columns={
            "network": _network,
            "layer": _of("layer"),
            "decoder": _of("decoder"),
            "setting": _of("setting"),
            "size": _of("size"),
            "there": lambda facts: f"{facts['reached']} of {facts['images']}",
            "others": _others,
            "gradients": _of("gradients", ",.0f"),
            "m_g / m_r": _of("nearest", ".3f"),
            "image-steps/s": _of("image_steps_per_second", ",.1f"),
            "images/s": _of("reconstructions_per_second", ".3f"),
            "times plenoptic": _times_plenoptic,
        },
        note="there: images that got there at all; others: whether more gradients would have been "
        "in vain, since the run ended by plan or came no nearer, or how many were not enough. "
        "gradients: that an image took on average, with those that were spent in vain on images "
        "which did not get there; for Gauss-Newton, evaluations with the products with J that "
        "follow them. m_g / m_r: how near the worst image came. images/s: image-steps a second, "
        "timed at a large batch, over gradients for each image that got there. Where a decoder has "
        "a step to choose, the one of some was taken that did best in 100 gradients of one image, "
        "plenoptic's (it runs Adam) as well; where plenoptic did not get all images there, the "
        "engine is at least (≥) so many times as fast.",
        order=_place,
    ),
    SPECTRUM: _Layout(
        title="Spectrum of a Jacobian",
        words=3,
        columns={
            "network": _network,
            "layer": _of("layer"),
            "dtype": _of("dtype"),
            "size": _of("size"),
            "outputs": _of("outputs", ","),
            "inputs": _of("inputs", ","),
            "rank": _of("rank", ","),
            "Jacobian, s": _of("jacobian_seconds", ".1f"),
            "decomposition, s": _of("decomposition_seconds", ".1f"),
            "both, s": _of("seconds", ".1f"),
        },
        note="All singular values and right singular vectors at one photograph, on all cores.",
        order=_place,
    ),
}
