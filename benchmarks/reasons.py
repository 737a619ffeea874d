"""Why a figure is not reached, as the profile of a step shows it."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.tables import Facts

_ARITHMETIC = ("convolutions", "matrix products")
_OUTSIDE = ("outside operators", "other operators")
"""What the host does between operators, and what only arranges tensors. All other kinds move what
arithmetic has made."""

_LEAST = 0.01
"""Share of the time below which a kind of operator is not worth naming."""


def reason(facts: Facts, *, figure: float, most: bool) -> str:
    """Where the time of a step goes, what of it is more than the limit, and what could be had.

    Parameters
    ----------
    facts : mapping
        Of a benchmark of throughput, with its profile.
    figure : float
        That is missed, in proportion to the time of a step or to its inverse.
    max_replicates : bool
        Whether the figure should be small.
    """
    profile: Mapping[str, float] = facts["profile"]
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in profile.items() if share >= _LEAST)
    shares = _shares(profile)
    alone = figure * shares["arithmetic"] if most else figure / shares["arithmetic"]
    return (
        f"Time of a step at batch {facts['batch']}, {facts['times_limit']:.2f} times the limit, "
        f"which is that of {facts['bound']}: {kinds}. {_bounds(facts)} {_excess(facts, shares)} "
        f"Were all but convolutions and matrix products free, the figure would be {alone:.2f}."
    )


def _shares(profile: Mapping[str, float]) -> dict[str, float]:
    arithmetic = sum(profile.get(kind, 0.0) for kind in _ARITHMETIC)
    outside = sum(profile.get(kind, 0.0) for kind in _OUTSIDE)
    return {
        "arithmetic": arithmetic,
        "moving": sum(profile.values()) - arithmetic - outside,
        "outside": outside,
    }


def _bounds(facts: Facts) -> str:
    """What the step would take at the best rates."""
    seconds = facts["batch"] / facts["image_steps_per_second"]
    counted = facts["step_gflop"] / facts["ceiling_gflops"] / seconds
    read = facts["step_gbyte"] / facts["ceiling_gbytes"] / seconds
    return (
        f"At the best rates its arithmetic would take {counted:.0%} of that time, and reading its "
        f"weights, forward and back, {read:.0%}."
    )


def _excess(facts: Facts, shares: Mapping[str, float]) -> str:
    """What most of the time above the limit is spent on."""
    # The limit is time that convolutions and products have to take, counting or reading.
    limit = 1 / facts["times_limit"]
    above = {**shares, "arithmetic": shares["arithmetic"] - limit}
    part = max(above, key=lambda name: above[name])
    spent = {
        "arithmetic": "on convolutions and products that are slower than the best rate",
        "moving": "on moving images about: copies, elementwise operators, pooling, sums, padding",
        "outside": "outside of what computes: on the host, between operators",
    }[part]
    return f"Most of what is above the limit, {above[part]:.0%} of a step, goes {spent}."
