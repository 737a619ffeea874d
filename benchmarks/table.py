"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.throughput import Throughput

_HEADS = ("network", "layer", "size", "batch", "image-steps/s", "ceiling GFLOP/s", "times limit")
_NOTE = (
    "times limit: time of an image-step over that of its arithmetic (forward and input gradient) "
    "at the ceiling,\nthe best matrix multiplication measured beside the rounds; 1 cannot be "
    "beaten by this arithmetic."
)


def throughput_table(found: Sequence[Throughput]) -> str:
    """One line a benchmark, in the order given, and what its columns mean."""
    rows = [
        (
            each.case.name,
            each.case.layer,
            str(each.case.images.pixels),
            str(each.case.batch),
            f"{each.image_steps_per_second:,.1f}",
            f"{each.ceiling_gflops:,.0f}",
            f"{each.times_limit:.2f}",
        )
        for each in found
    ]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if number < 2 else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (_HEADS, *rows)
    ]
    places = sorted({f"{each.device}, {each.threads} threads" for each in found})
    return "\n".join([*lines, "", f"{'; '.join(places)}. {_NOTE}"])
