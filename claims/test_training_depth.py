"""Depth and training: where reconstructions end, and which updates reach early layers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pytest

from claims.trained import decides, gallery, judge_trained, reconstruction, untrained
from harness.claim import Claim, Criterion, event
from harness.lab.lab import Lab
from harness.plan.cells import UNFINISHED, EarlyUpdates
from harness.plan.networks import RESNET_LAYERS
from harness.store import Record
from harness.verdict.results import Table

A3 = Claim(
    id="A3",
    statement="The reconstruction vanishes in untrained networks at the layers where it turns "
    "non-trivial in trained ones.",
    section="Trivial autoencoding ability decreases with model depth",
    source="the untrained (and therefore necessarily trivial) representation of the input "
    "disappears in the same deeper layers that the learned (and in this case non-trivial) "
    "representation are found for trained models",
    method="The same network before and after training, cut at six layers, conv1 to layer4; each "
    "recovers the same photograph from the same start. A network's stage of collapse is the "
    "first layer at which more than half of the initial distance is left (r > 0.5), counted from "
    "0, and 6 where there is none. In `quick`, ResNet-18s with a quarter of the channels learn "
    "to tell eight photographs and three textures apart; their stem has a third as many outputs "
    "as the image has elements, where that of whole ResNets (`standard`, `article`) has a third "
    "more, so that reconstructions may end there because of the width alone. The article's "
    "descent with blur decides, and so does Adam without blur, whose step does not depend on the "
    "scale of a layer's gradient, which training changes. What each layer leaves is reported as "
    "well, and how many runs ended above m_r with their loss still falling.",
    estimands={
        "stages": event(
            "The stages of collapse of the trained and of the untrained network differ by at "
            "most one.",
            Criterion(effect="apart", label="stages apart", below=1.5),
        )
    },
)

C14 = Claim(
    id="C14",
    statement="Poor conditioning also spoils the updates of the parameters of early layers.",
    section="Why depth leads to nonunique trivial representations",
    source="poor conditioning leading to a poor input representation then it likely also leads to"
    " poor parameter updates for the early layers as well",
    method="Linear stacks of 64 units with three layers after the first, whose singular values "
    "are evenly spaced in logarithm; nine spreads per replicate, with condition numbers of about "
    "1 to 1000 and equal Frobenius norms. Gradient descent moves only the first layer's weights, "
    "towards those of another draw, for 100 steps; what counts is the share of the loss that it "
    "removes. Each stack takes half of the largest step at which its own descent converges, or "
    "all take the smallest of these steps.",
    estimands={
        "relation": event(
            "Spearman's correlation between the condition number and the share of the loss that "
            "updates of the first layer remove is below -0.3.",
            Criterion(effect="relation", label="Spearman's rho", below=-0.3, null=0.0),
        )
    },
)

SPREADS = tuple(10 ** (exponent / 2) for exponent in range(9))
"""Condition numbers of the three layers' singular values together."""


def collapse(distances: Sequence[float]) -> int:
    """The first stage at which more than half of the initial distance is left."""
    return next((stage for stage, r in enumerate(distances) if r > 0.5), len(distances))


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
@pytest.mark.parametrize("decoder", ["adam", "article"])
def test_a3_reconstructions_end_where_they_turn_non_trivial(
    lab: Lab, decoder: str, trained: str
) -> None:
    confirmatory = decides(lab, trained)
    networks = {"untrained": untrained(trained), "trained": trained}
    judge_trained(
        lab,
        A3,
        trained,
        cells=lambda seeds: {
            f"{role} {layer}": reconstruction(lab, seeds, layer, trained=each, decoder=decoder)
            for role, each in networks.items()
            for layer in RESNET_LAYERS
        },
        effects=lambda seen: _collapses(
            {
                role: [seen[f"{role} {layer}"].values["r"] for layer in RESNET_LAYERS]
                for role in networks
            }
        ),
        gallery=gallery(
            lab, trained=tuple(networks.values()), layers=RESNET_LAYERS, decoder=decoder
        )
        if confirmatory
        else {},
        tables=layers_table,
        confirmatory=confirmatory,
    )


def layers_table(seen: Sequence[Mapping[str, Record]]) -> tuple[Table, ...]:
    """What is left at each layer, and how many runs ended while their loss was falling."""
    rows = []
    for role in ("untrained", "trained"):
        for layer in RESNET_LAYERS:
            own = [records[f"{role} {layer}"] for records in seen]
            left = statistics.median(record.values["r"] for record in own)
            falling = sum(record.outcome == UNFINISHED for record in own)
            rows.append((f"{layer}, {role}", left, falling, len(own)))
    return (
        Table(
            title="Median m_i(T) / m_i(0) by layer, and runs that ended above m_r with their loss "
            "still falling.",
            columns=("layer", "m_i(T) / m_i(0)", "falling", "runs"),
            rows=tuple(rows),
        ),
    )


def _collapses(distances: dict[str, list[float]]) -> dict[str, float]:
    stages = {role: float(collapse(along)) for role, along in distances.items()}
    return {
        "apart": abs(stages["trained"] - stages["untrained"]),
        "stage of collapse, untrained": stages["untrained"],
        "stage of collapse, trained": stages["trained"],
    }


@pytest.mark.parametrize("step", ["own", "common"])
def test_c14_poor_conditioning_spoils_early_updates(lab: Lab, step: str) -> None:
    lab.judge(
        C14,
        cells=lambda seeds: {
            "stacks": EarlyUpdates(
                seeds=seeds, width=64, depth=3, conditions=SPREADS, rate=0.5, steps=100
            )
        },
        effects=lambda seen: {
            "relation": seen["stacks"].values[step],
            "share of the loss removed, best condition": seen["stacks"].traces[f"drop_{step}"][0],
            "the same, worst condition": seen["stacks"].traces[f"drop_{step}"][-1],
        },
        tables=lambda seen: (drops_table(seen, step=step),),
    )


def drops_table(seen: Sequence[Mapping[str, Record]], *, step: str) -> Table:
    """The share of the loss that updates of the first layer remove, by condition number."""

    def medians(trace: str) -> list[float]:
        along = zip(*(records["stacks"].traces[trace] for records in seen), strict=True)
        return [statistics.median(values) for values in along]

    return Table(
        title="Condition number and share of the loss that updates of the first layer remove, "
        "medians by spread.",
        columns=("condition number", "share"),
        rows=tuple(zip(medians("condition"), medians(f"drop_{step}"), strict=True)),
    )
