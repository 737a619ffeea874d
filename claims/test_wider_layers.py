"""Theoretical lower bounds for perfect input representation: wider later layers."""

from __future__ import annotations

import math

import pytest

from claims.effects import log_ratio
from claims.test_conditioning import SHORT, medians_of_r, reconstruction_of
from claims.test_depth import small_image
from harness.claim import Claim, Criterion, Scale, equivalence, trend
from harness.lab.lab import Lab
from harness.plan.networks import MLP, PrescribedSpectrum
from harness.statistics.trend import theil_sen

SECTION = "Theoretical lower bounds for perfect input representation"

FIRST = 1.2
"""Width of the first layer over the elements of the image."""

LATER = (1.2, 2.4, 4.8)
"""Widths of the later layers; each is twice the one before."""

E4 = Claim(
    id="E4",
    statement="Wider later layers give a better reconstruction at a fixed number of iterations, "
    "even where every layer is wide enough.",
    section=SECTION,
    source="Experimentally, increasing the number of neurons in these layers leads to a more "
    "accurate representation.",
    method="Linear networks of two to four layers (torch's initialisation, float64), the first 1.2 "
    "times as wide as the photograph has elements (8 x 8 pixels in the quick profile, the "
    "article's 29 x 29 in the largest), all later ones 1.2, 2.4 or 4.8 times; the article's "
    "descent for fully connected networks (no blur), 500 iterations. All of them determine the "
    "image.",
    estimands={
        "slope": trend(
            "The Theil-Sen slope of ln r over doublings of the later widths is below -0.05, "
            "where r = m_i(T) / m_i(0) is the part of the distance that is left.",
            Criterion(
                effect="slope",
                label="slope of ln(m_i(T) / m_i(0)) per doubling of later widths",
                below=-0.05,
            ),
        )
    },
)

E5 = Claim(
    id="E5",
    statement="What wider later layers gain is the quality of the gradient, not information.",
    section=SECTION,
    source="As this cannot result from an increase in information during the forward pass, it "
    "instead results from a more accurate gradient passed to the input during "
    "backpropegation.",
    method="If the gain of E4 comes from conditioning, it has to vanish once the spectra are the "
    "same. Linear maps with 1.2 and with 4.8 times as many outputs as inputs have the same "
    "singular values (evenly spaced in logarithm, condition number 30, mean square 1) and the "
    "same right singular vectors; only their outputs differ. The article's descent decides: its "
    "L1 gradient may still depend on the number of outputs. With a squared loss the gradient "
    "cannot, whatever the maps; that condition is exploratory.",
    estimands={
        "width": equivalence(
            "The wider map leaves as much as the narrower one within a factor of 1.05, either way.",
            effect="log_ratio",
            label="r at 4.8 n / r at 1.2 n",
            centre=0.0,
            margin=math.log(1.05),
            scale=Scale.LOG,
        )
    },
)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_e4_wider_later_layers_give_a_better_reconstruction(lab: Lab, depth: int) -> None:
    images = small_image(lab)
    n = images.elements
    lab.judge(
        E4,
        cells=lambda seeds: {
            str(ratio): reconstruction_of(
                images,
                seeds,
                MLP(inputs=n, widths=(round(FIRST * n), *[round(ratio * n)] * (depth - 1))),
                iterations=SHORT,
            )
            for ratio in LATER
        },
        effects=lambda seen: {
            "slope": theil_sen([log_ratio(seen[str(ratio)].values["r"], 1.0) for ratio in LATER])
        },
        tables=lambda records: (
            medians_of_r(records, title="r by width of the later layers", of="width / elements"),
        ),
    )


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_e5_the_gain_is_one_of_conditioning(lab: Lab, loss: str) -> None:
    images = small_image(lab)
    n = images.elements
    lab.judge(
        E5,
        cells=lambda seeds: {
            str(ratio): reconstruction_of(
                images,
                seeds,
                PrescribedSpectrum(inputs=n, outputs=round(ratio * n), condition=30.0),
                iterations=SHORT,
                loss=loss,
            )
            for ratio in (LATER[0], LATER[-1])
        },
        effects=lambda seen: {
            "log_ratio": log_ratio(
                seen[str(LATER[-1])].values["r"], seen[str(LATER[0])].values["r"]
            )
        },
        confirmatory=loss == "l1",
    )
