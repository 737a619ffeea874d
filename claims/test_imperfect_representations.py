"""Imperfect representations are due to nonunique approximation."""

from __future__ import annotations

import math

import pytest

from claims.effects import log_ratio, ratio, rise
from claims.test_autoencoding import at_most, gallery, reconstruction_at
from harness.claim import LN_11, Claim, Criterion, Scale, conjunction, event, existential
from harness.lab.lab import Lab
from harness.plan.cells import Cell
from harness.plan.seeds import ReplicateSeeds

SECTION = "Imperfect representations are due to nonunique approximation"

B3 = Claim(
    id="B3",
    statement="In ResNet-50 the reconstruction from Conv2 has m_g > m_r, the reconstruction from "
    "Conv5 m_g < m_r.",
    section=SECTION,
    source="the late layer Conv5 exhbits a smaller distance between $a_g, a$ compared to $a', a$",
    method="Untrained ResNet-50 in eval mode; the article's descent with blur at its nominal step "
    "from Conv2 (layer1) and Conv5 (layer4) of the same network, to the same photograph from the "
    "same start. m_r is the distance of the outputs of the photograph and of its noised version "
    "(standard deviation 1/25). Adam without blur and ResNet-18 are exploratory.",
    estimands={
        "reversal": conjunction(
            "ln(m_g / m_r) is above ln 1.1 at Conv2 and below -ln 1.1 at Conv5.",
            Criterion(effect="conv2", label="m_g / m_r at Conv2", above=LN_11, scale=Scale.LOG),
            Criterion(effect="conv5", label="m_g / m_r at Conv5", below=-LN_11, scale=Scale.LOG),
        )
    },
    headline="disconnect",
)

B8 = Claim(
    id="B8",
    statement="At Conv5 of ResNet-50, m_i commonly rises while m_g goes towards 0.",
    section=SECTION,
    source="it is common for $m_i$ to increase while $m_g$ tends towards the origin for layer "
    "conv5 of resnet50",
    method="Untrained ResNet-50 in eval mode, cut at Conv5 (layer4); the article's descent "
    "without blur, on photographs of 32 pixels in the quick profile, at the largest step of a "
    "fixed grid at which m_g halved in all twelve pilot replicates (the step of the article "
    "profile is provisional). Exploratory: the article's nominal step, the same with blur, Adam "
    "and L-BFGS, and ResNet-18.",
    estimands={
        "rise": event(
            "m_i(T) exceeds m_i(0) by 0.1 % while m_g falls to half or less.",
            Criterion(
                effect="rise",
                label="m_i(T) / m_i(0) (at most 1 where m_g did not halve)",
                above=math.log(1.001),
                scale=Scale.LOG,
            ),
            presupposes_descent=True,
        ),
    },
    headline="disconnect",
)

B10 = Claim(
    id="B10",
    statement="At Conv5 of ResNet-50 both happen at once: m_g falls below m_r and m_i rises above "
    "its start.",
    section=SECTION,
    source="instead results from the layer's inability to distinguish between very different "
    "inputs $(a, a_g)$",
    method="The runs of B8: the article's descent without blur at its falling step decides; its "
    "nominal step, the same with blur, Adam and L-BFGS, and ResNet-18 are exploratory.",
    estimands={
        "both": event(
            "m_g(T) < m_r and m_i(T) > m_i(0) in the same run; the effect is the smaller of m_r / "
            "m_g(T) and m_i(T) / m_i(0).",
            Criterion(
                effect="both",
                label="the smaller of m_r / m_g and m_i(T) / m_i(0)",
                above=0.0,
                scale=Scale.LOG,
                joint=True,
            ),
        )
    },
    headline="disconnect",
)

B6 = Claim(
    id="B6",
    statement="Even at Conv2 of ResNet-50 m_i may rise while m_g heads for 0, with a fixed step.",
    section=SECTION,
    source="For even relatively shallow layers there may exist an increase in $m_i$ while $m_g$ "
    "tends towards 0.",
    method="Untrained ResNet-50 in eval mode, cut at Conv2 (layer1); the article's descent "
    "without blur at its nominal step decides; at the step of B8 it is exploratory. Photographs "
    "have 32 pixels in the quick profile. One replicate suffices to show that something may "
    "happen; it is refuted where it happens in less than a quarter of the replicates.",
    estimands={
        "rise": existential(
            "m_i(T) exceeds m_i(0) by 0.1 % while m_g falls to half or less.",
            Criterion(
                effect="rise",
                label="m_i(T) / m_i(0) (at most 1 where m_g did not halve)",
                above=math.log(1.001),
                share=0.25,
                scale=Scale.LOG,
            ),
        )
    },
)

B8b = Claim(
    id="B8b",
    statement="The rise of m_i is more pronounced at Conv5 than at Conv2.",
    section=SECTION,
    source="For deeper layers this effect is more pronounced",
    method="The runs of B8, and runs from Conv2 (layer1) of the same network with the same "
    "photograph, start and step.",
    estimands={
        "contrast": event(
            "m_i(T) / m_i(0) is larger at Conv5 than at Conv2, whether it rises (B8, B6) or not.",
            Criterion(
                effect="contrast",
                label="m_i(T) / m_i(0) at Conv5 / at Conv2",
                above=0.0,
                scale=Scale.LOG,
            ),
        )
    },
)

CONV5_DECODERS = ("article-falling", "article-nominal", "article", "adam", "l-bfgs")
"""The confirmatory decoder, then the exploratory ones."""


def decides(lab: Lab, *, network: str, decoder: str) -> bool:
    """Whether a condition decides B8 and B10."""
    return decoder == "article-falling" and lab.stands_for(network, article="resnet50")


def conv5(lab: Lab, seeds: ReplicateSeeds, *, network: str, decoder: str) -> dict[str, Cell]:
    """The run of B8 and B10."""
    return {
        "conv5": reconstruction_at(lab, seeds, network=network, layer="layer4", decoder=decoder)
    }


@pytest.mark.networks("resnet50", "resnet18")
@pytest.mark.parametrize("decoder", ["article", "adam"])
def test_b3_output_distance_reverses_with_depth(lab: Lab, network: str, decoder: str) -> None:
    confirmatory = decoder == "article" and lab.stands_for(network, article="resnet50")
    lab.judge(
        B3,
        cells=lambda seeds: {
            "conv2": reconstruction_at(
                lab, seeds, network=network, layer="layer1", decoder=decoder
            ),
            "conv5": reconstruction_at(
                lab, seeds, network=network, layer="layer4", decoder=decoder
            ),
        },
        effects=lambda seen: (
            {
                role: log_ratio(record.values["m_g"], record.values["m_r"])
                for role, record in seen.items()
            }
            | {
                f"m_g / m_r at {role.capitalize()}, iteration 0": ratio(
                    record.values["m_g0"], record.values["m_r"]
                )
                for role, record in seen.items()
            }
        ),
        gallery=gallery(lab, network=network, decoder=decoder, layers=("layer1", "layer4")),
        confirmatory=confirmatory,
        max_replicates=at_most(lab, confirmatory=confirmatory),
    )


@pytest.mark.networks("resnet50", "resnet18")
@pytest.mark.parametrize("decoder", CONV5_DECODERS)
def test_b8_input_distance_rises_at_conv5(lab: Lab, network: str, decoder: str) -> None:
    lab.judge(
        B8,
        cells=lambda seeds: conv5(lab, seeds, network=network, decoder=decoder),
        effects=lambda seen: {
            "rise": rise(seen["conv5"]),
            "m_i(T) / m_i(0), whether or not m_g halved": seen["conv5"].values["r"],
            "m_i(T) / m_i half-way": ratio(
                seen["conv5"].values["m_i"], seen["conv5"].values["m_i_half"]
            ),
            "m_g(T) / m_g(0)": ratio(seen["conv5"].values["m_g"], seen["conv5"].values["m_g0"]),
            "m_g(T) / m_r": ratio(seen["conv5"].values["m_g"], seen["conv5"].values["m_r"]),
        },
        gallery=gallery(lab, network=network, decoder=decoder, layers=("layer4",)),
        confirmatory=decides(lab, network=network, decoder=decoder),
        max_replicates=at_most(lab, confirmatory=decides(lab, network=network, decoder=decoder)),
    )


@pytest.mark.networks("resnet50", "resnet18")
@pytest.mark.parametrize("decoder", CONV5_DECODERS)
def test_b10_both_at_once(lab: Lab, network: str, decoder: str) -> None:
    lab.judge(
        B10,
        cells=lambda seeds: conv5(lab, seeds, network=network, decoder=decoder),
        effects=lambda seen: {
            "both": min(
                log_ratio(seen["conv5"].values["m_r"], seen["conv5"].values["m_g"]),
                log_ratio(seen["conv5"].values["m_i"], seen["conv5"].values["m_i0"]),
            )
        },
        gallery=gallery(lab, network=network, decoder=decoder, layers=("layer4",)),
        confirmatory=decides(lab, network=network, decoder=decoder),
        max_replicates=at_most(lab, confirmatory=decides(lab, network=network, decoder=decoder)),
    )


@pytest.mark.parametrize("decoder", ["article-nominal", "article-falling"])
def test_b6_input_distance_may_rise_at_conv2(lab: Lab, decoder: str) -> None:
    confirmatory = decoder == "article-nominal"
    network = lab.custom.network or "resnet50"
    lab.judge(
        B6,
        cells=lambda seeds: {
            "conv2": reconstruction_at(lab, seeds, network=network, layer="layer1", decoder=decoder)
        },
        effects=lambda seen: {
            "rise": rise(seen["conv2"]),
            "m_i(T) / m_i half-way": ratio(
                seen["conv2"].values["m_i"], seen["conv2"].values["m_i_half"]
            ),
            "m_g(T) / m_g(0)": ratio(seen["conv2"].values["m_g"], seen["conv2"].values["m_g0"]),
        },
        confirmatory=confirmatory,
        max_replicates=at_most(lab, confirmatory=True),
    )


@pytest.mark.networks("resnet50", "resnet18")
def test_b8b_the_rise_is_more_pronounced_at_conv5(lab: Lab, network: str) -> None:
    confirmatory = lab.stands_for(network, article="resnet50")
    lab.judge(
        B8b,
        cells=lambda seeds: {
            name: reconstruction_at(
                lab, seeds, network=network, layer=layer, decoder="article-falling"
            )
            for name, layer in (("conv2", "layer1"), ("conv5", "layer4"))
        },
        effects=lambda seen: {
            "contrast": log_ratio(seen["conv5"].values["r"], seen["conv2"].values["r"]),
            "m_i(T) / m_i(0) at Conv2": seen["conv2"].values["r"],
            "m_i(T) / m_i(0) at Conv5": seen["conv5"].values["r"],
        },
        confirmatory=confirmatory,
        max_replicates=at_most(lab, confirmatory=confirmatory),
    )
