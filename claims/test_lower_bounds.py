"""Theoretical lower bounds for perfect input representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import scipy  # its submodules load when they are used

from claims.exact import search
from claims.test_noninvertible_maps import ROUNDING
from harness.claim import Claim, Criterion, equivalence, event, exact
from harness.lab.lab import Lab
from harness.plan.cells import BATCH, ActiveUnits, LocalRank, SquareLayer, ZeroUnits
from harness.plan.networks import MLP, ResNet
from harness.statistics.intervals import share_interval
from harness.store import Record
from harness.verdict.results import Table

SECTION = "Theoretical lower bounds for perfect input representation"

E1 = Claim(
    id="E1",
    statement="With ReLU a layer needs about twice as many units as the input has elements.",
    section=SECTION,
    source="we would need twice the number of total neurons in that layer compared to input "
    "features in order to make an arbitrarily accurate representation",
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
    source="This increase in the number of neurons per layer is true not just for the first but "
    "also for all subsequent layers if ReLU activation is used.",
    method="Freshly drawn ReLU networks of six layers of equal width, 3 n, the last one before "
    "its ReLU; rank of the Jacobian at the photograph in float64. If the claim were true, the "
    "layers after the first would lose the image. Constant width 2 n is exploratory.",
    estimands={
        "rank": event(
            "The rank of the Jacobian at the image is below n.",
            Criterion(effect="rank", label="rank / n", below=1.0),
        )
    },
    related_headline="relu",
)

E3 = Claim(
    id="E3",
    statement="This holds for convolutions, too, and approximately for tanh and sigmoid.",
    section=SECTION,
    source="it applies to convolutional layers as well, and also approximately to other nonlinear"
    " activations such as tanh or sigmoid neurons",
    method="One freshly drawn layer with as many outputs as the photograph has elements (8 x 8 "
    "pixels in the quick profile, 29 x 29 in the largest), and its activation: a 3 x 3 "
    "convolution from three channels to three, or a fully connected layer; rank of its Jacobian "
    "at the photograph. The slope of tanh and sigmoid is never 0, so that in exact arithmetic "
    "they keep every rank; whether they do in practice is judged at the rounding of float32. The "
    "witness is about all inputs instead of a typical one: two inputs with the same output, for "
    "kernels drawn by hypothesis.",
    estimands={
        "convolution": event(
            "The rank of a convolution with ReLU and n outputs is below n.",
            Criterion(effect="rank", label="rank / n", below=1.0),
        ),
        "saturation": event(
            "Of the singular values of a layer of n outputs with tanh or sigmoid, fewer than n "
            "exceed the rounding of float32 (n times its epsilon, relative to the greatest).",
            Criterion(effect="rank", label="effective rank / n", below=1.0),
        ),
        "witness": exact(
            "A convolution with n outputs and ReLU has two inputs with the same output, up to 100 "
            "machine epsilons.",
            Criterion(
                effect="residual",
                label="difference of the outputs of two inputs, in machine epsilons",
                below=ROUNDING,
            ),
        ),
    },
)

E8 = Claim(
    id="E8",
    statement="At initialisation about half of the units are zero.",
    section=SECTION,
    source="if we make the reasonable assumption that $1/2$ of all neurons in a layer do get "
    "zeroed out",
    method="All ReLUs of a freshly drawn network at a photograph: a fully connected one of six "
    "layers, three times as wide as the photograph has elements, and ResNets in eval mode up to "
    "Conv5, whose residual connections add to the inputs of their ReLUs. The share after "
    "training is reported as well.",
    estimands={
        "share": equivalence(
            "The share of zeros over all units lies within 0.05 of one half.",
            effect="zeros",
            label="share of units that are zero",
            centre=0.5,
            margin=0.05,
        )
    },
)

RATIOS = (1.8, 1.9, 1.95, 2.0, 2.05, 2.1, 2.2)


@pytest.mark.parametrize("initialisation", ["default", "gaussian"])
@pytest.mark.parametrize("pixels", [16, 32])
def test_e1_relu_needs_twice_the_width(lab: Lab, pixels: int, initialisation: str) -> None:
    images = lab.photographs(pixels=pixels)
    lab.judge(
        E1,
        cells=lambda seeds: {
            "layer": ActiveUnits(
                seeds=seeds, images=images, initialisation=initialisation, ratios=RATIOS
            )
        },
        effects=lambda seen: {"needed": seen["layer"].values["needed"]},
        tables=lambda records: (law_and_shares(records, n=images.elements),),
        family="units needed" if (pixels, initialisation) == (16, "default") else None,
    )


def law_and_shares(records: Sequence[Mapping[str, Record]], *, n: int) -> Table:
    """P(Binomial(m, 1/2) >= n) next to the share of layers with at least n active units."""
    rows = []
    for ratio in RATIOS:
        enough = sum(int(seen["layer"].values[f"enough_{ratio:g}"]) for seen in records)
        low, high = share_interval(enough, len(records), level=0.95)
        rows.append(
            (
                ratio,
                float(scipy.stats.binom.sf(n - 1, int(ratio * n), 0.5)),
                enough / len(records),
                low,
                high,
            )
        )
    return Table(
        title="Share of layers in which enough units are active, and the binomial law "
        "(Clopper-Pearson interval of 95 %).",
        columns=("width / n", "law", "measured", "low", "high"),
        rows=tuple(rows),
    )


@pytest.mark.parametrize("ratio", [3, 2])
def test_e2_later_layers_lose_rank_at_constant_width(lab: Lab, ratio: int) -> None:
    images = lab.photographs(pixels=lab.profile.pick(quick=8, standard=16, article=29))
    lab.judge(
        E2,
        cells=lambda seeds: {
            "network": LocalRank(
                seeds=seeds,
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
        max_replicates=48 if ratio == 3 else lab.profile.pick(quick=48, standard=12, article=48),
    )


def test_e3_convolutions_with_relu_lose_rank(lab: Lab) -> None:
    square_layer(lab, estimand="convolution", layer="convolution", activation="relu")


@pytest.mark.parametrize("layer", ["dense", "convolution"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_e3_tanh_and_sigmoid_lose_rank_in_practice(lab: Lab, activation: str, layer: str) -> None:
    square_layer(lab, estimand="saturation", layer=layer, activation=activation)


def square_layer(lab: Lab, *, estimand: str, layer: str, activation: str) -> None:
    """Judge E3 by the rank of one layer."""
    images = lab.photographs(pixels=lab.profile.pick(quick=8, standard=16, article=29))
    judged = "effective_share" if estimand == "saturation" else "rank_share"
    lab.judge(
        E3,
        estimand=estimand,
        cells=lambda seeds: {
            "layer": SquareLayer(
                seeds=seeds, images=images, layer=layer, activation=activation, batch=BATCH
            )
        },
        effects=lambda seen: {
            "rank": seen["layer"].values[judged],
            "exact rank / n": seen["layer"].values["rank_share"],
            "condition number": seen["layer"].values["condition"],
        },
    )


def test_e3_two_inputs_of_a_convolution_with_relu(lab: Lab) -> None:
    search(lab, E3, "rectified convolution", estimand="witness")


@pytest.mark.parametrize("network", ["fully connected", "resnet18", "resnet50"])
def test_e8_half_of_the_units_are_zero(lab: Lab, network: str) -> None:
    if network == "fully connected":
        images = lab.photographs(pixels=lab.profile.pick(quick=8, standard=16, article=29))
        n = images.elements
        subject: MLP | ResNet = MLP(inputs=n, widths=(3 * n,) * 6, activation="relu")
    else:
        images = lab.photographs(pixels=lab.profile.pick(quick=32, standard=64, article=299))
        subject = ResNet(name=network, layer="layer4")
    lab.judge(
        E8,
        cells=lambda seeds: {"network": ZeroUnits(seeds=seeds, network=subject, images=images)},
        effects=lambda seen: {"zeros": seen["network"].values["zero_share"]},
        tables=lambda records: (zeros_by_rectifier(records),),
    )


def zeros_by_rectifier(records: Sequence[Mapping[str, Record]]) -> Table:
    """Median share of zeros, rectifier by rectifier."""
    along = [seen["network"].traces["zero_share"] for seen in records]
    return Table(
        title="Share of units that are zero, by rectifier from first to last.",
        columns=("rectifier", "median over replicates"),
        rows=tuple(
            (number, float(np.median(shares)))
            for number, shares in enumerate(zip(*along, strict=True), start=1)
        ),
    )
