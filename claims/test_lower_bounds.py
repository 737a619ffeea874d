"""Theoretical lower bounds for perfect input representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from scipy import stats

from harness.cells import ActiveUnits, LocalRank
from harness.claim import Claim, Criterion, equivalence, event
from harness.lab import Lab
from harness.results import Table
from harness.settings import MLP
from harness.statistics.intervals import share_interval
from harness.store import Record

SECTION = "Theoretical lower bounds for perfect input representation"

E1 = Claim(
    id="E1",
    statement="With ReLU a layer needs about twice as many units as the input has elements.",
    section=SECTION,
    method="Units of one freshly drawn ReLU layer are counted one by one until as many are active "
    "at the photograph as it has elements: from then on the image is the only one near it with "
    "this output. This is a statement about a typical input; a layer that is injective on all "
    "inputs needs more (at least 2; about 6.7 for Gaussian weights without bias, Puthawala et al. "
    "2022, Maillard et al. 2023).",
    estimands={
        "width": equivalence(
            "Units needed over elements of the input lie within 0.05 of 2.",
            effect="needed",
            label="units needed / n",
            centre=2.0,
            margin=0.05,
        )
    },
    headline="relu",
)

E2 = Claim(
    id="E2",
    statement="Each later ReLU layer must be wider again.",
    section=SECTION,
    method="Freshly drawn ReLU networks of six layers of equal width, 3 n, the last one before its "
    "ReLU; rank of the Jacobian at the photograph in float64. Were the claim true, the layers "
    "after the first would lose the image. Constant width 2 n stands beside it.",
    estimands={
        "rank": event(
            "The rank of the Jacobian at the image is below n.",
            Criterion(effect="rank", label="rank / n", below=1.0),
        )
    },
    beside_headline="relu",
)

RATIOS = (1.8, 1.9, 1.95, 2.0, 2.05, 2.1, 2.2)


@pytest.mark.parametrize("initialisation", ["default", "gaussian"])
@pytest.mark.parametrize("pixels", [16, 32])
def test_e1_relu_needs_twice_the_width(lab: Lab, pixels: int, initialisation: str) -> None:
    images = lab.photographs(pixels=pixels)
    lab.judge(
        E1,
        cells=lambda draw: {
            "layer": ActiveUnits(
                draw=draw, images=images, initialisation=initialisation, ratios=RATIOS
            )
        },
        effects=lambda seen: {"needed": seen["layer"].values["needed"]},
        tables=lambda records: (law_beside_shares(records, n=images.elements),),
        family="units needed" if (pixels, initialisation) == (16, "default") else None,
    )


def law_beside_shares(records: Sequence[Mapping[str, Record]], *, n: int) -> Table:
    """P(Binomial(m, 1/2) >= n) beside the share of layers with at least n active units."""
    rows = []
    for ratio in RATIOS:
        enough = sum(int(seen["layer"].values[f"enough_{ratio:g}"]) for seen in records)
        low, high = share_interval(enough, len(records), level=0.95)
        rows.append(
            (
                ratio,
                float(stats.binom.sf(n - 1, int(ratio * n), 0.5)),
                enough / len(records),
                low,
                high,
            )
        )
    return Table(
        title="Share of layers in which enough units are active, beside the binomial law "
        "(Clopper-Pearson interval of 95 %).",
        columns=("width / n", "law", "measured", "low", "high"),
        rows=tuple(rows),
    )


@pytest.mark.parametrize("ratio", [3, 2])
def test_e2_later_layers_lose_rank_at_constant_width(lab: Lab, ratio: int) -> None:
    images = lab.photographs(pixels=lab.profile.pick(quick=8, standard=16, article=29))
    lab.judge(
        E2,
        cells=lambda draw: {
            "network": LocalRank(
                draw=draw,
                network=MLP(
                    inputs=images.elements,
                    widths=(ratio * images.elements,) * 6,
                    activation="relu",
                ),
                images=images,
            )
        },
        effects=lambda seen: {"rank": seen["network"].values["rank_share"]},
        confirmatory=ratio == 3,
    )
