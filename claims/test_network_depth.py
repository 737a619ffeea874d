"""Imperfect representations are due to nonunique approximation: ResNet-18, -50 and -152."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from claims.effects import log_ratio
from claims.test_autoencoding import reconstruction_at
from harness.claim import Claim, Criterion, Scale, conjunction
from harness.lab.lab import Lab
from harness.plan.cells import Inversion
from harness.plan.decoders import Descent
from harness.plan.seeds import ReplicateSeeds
from harness.statistics.trend import theil_sen
from harness.store import Record

SECTION = "Imperfect representations are due to nonunique approximation"

WHICH_DECODES = (
    "Adam without blur decides, since its step does not depend on the scale of a network's "
    "gradient: at Conv5 of ResNet-152 the article's descent diverged on pilot seeds even at a "
    "hundredth of its step. The article's descent, with its blur and its own step, is "
    "exploratory."
)

B4 = Claim(
    id="B4",
    statement="In ResNet-18 and ResNet-152 the outputs of reconstructions from early and from "
    "late layers are both nearer to the image's output than the noised image's is, although the "
    "late reconstructions are clearly wrong.",
    section=SECTION,
    source="early and late layer representations both make good approximations (relative to a "
    "slightly shifted $a'$) of the input they attempt to approximate, even though the late"
    " layer representations are visually clearly inaccurate",
    method="Untrained ResNets in eval mode, Conv2 (layer1) and Conv5 (layer4) of the same "
    "network, the same photograph (32 pixels in the quick profile, the article's 299 in the "
    f"largest) and start; a' has noise of standard deviation 1/25. {WHICH_DECODES}",
    estimands={
        "both": conjunction(
            "m_g < m_r at Conv2 and at Conv5, and more than half of the initial distance is left "
            "at Conv5.",
            Criterion(effect="conv2", label="m_g / m_r at Conv2", below=0.0, scale=Scale.LOG),
            Criterion(effect="conv5", label="m_g / m_r at Conv5", below=0.0, scale=Scale.LOG),
            Criterion(effect="r", label="m_i(T) / m_i(0) at Conv5", above=0.5),
        )
    },
)

B5 = Claim(
    id="B5",
    statement="The reconstruction from Conv5 gets poorer from ResNet-18 to ResNet-50 to "
    "ResNet-152.",
    section=SECTION,
    source="observe how the representation becomes progressively poorer at Layer Conv5 as the "
    "model exhibits more layers",
    method="The runs of B4 and those of ResNet-50, all to the same photograph from the same start. "
    "The networks differ in more than depth: Conv5 has 512 channels in ResNet-18 and 2,048 in the "
    f"other two, and the scale of its outputs grows with depth. {WHICH_DECODES}",
    estimands={
        "order": conjunction(
            "r = m_i(T) / m_i(0) grows by more than 0.02 from ResNet-18 to ResNet-50, and again to "
            "ResNet-152.",
            Criterion(effect="first", label="r (50) - r (18)", above=0.02, null=0.0),
            Criterion(effect="second", label="r (152) - r (50)", above=0.02, null=0.0),
        )
    },
)

B7 = Claim(
    id="B7",
    statement="At Conv2 of ResNet-152 m_i settles far from 0 while m_g heads for 0, with a step "
    "that falls linearly.",
    section=SECTION,
    source=r"we find an asymptote of $m_i$ far from 0 while $m_g$ heads towards the origin for a "
    r"variable (linearly decreasing) $\epsilon$",
    method="Untrained ResNet-152 in eval mode, cut at Conv2 (layer1); 2,000 iterations of the "
    "article's descent without blur, whose step falls linearly from its nominal size to 0.0001, "
    "on photographs of 32 pixels in the quick profile. Late means in the second half of the run. "
    "Within one run m_i also follows the step.",
    estimands={
        "plateau": conjunction(
            "More than a quarter of the initial distance is left, it changes by less than 0.02 "
            "per decade of iterations either way in the second half of the run, and m_g falls "
            "tenfold.",
            Criterion(effect="r", label="m_i(T) / m_i(0)", above=0.25),
            Criterion(effect="slope", label="late slope of m_i / m_i(0) a decade", above=-0.02),
            Criterion(effect="slope", label="late slope of m_i / m_i(0) a decade", below=0.02),
            Criterion(effect="fall", label="m_g(T) / m_g(0)", below=-math.log(10), scale=Scale.LOG),
        )
    },
)


def late_replicates(lab: Lab, *, confirmatory: bool) -> int:
    """Replicates where ResNet-152 is compared: fewer in smaller profiles, and only a few of an
    exploratory condition."""
    return lab.profile.pick(
        quick=12 if confirmatory else 2, standard=24 if confirmatory else 4, article=48
    )


@pytest.mark.networks("resnet18", "resnet152")
@pytest.mark.parametrize("decoder", ["adam", "article"])
def test_b4_both_layers_approximate_well(lab: Lab, network: str, decoder: str) -> None:
    confirmatory = decoder == "adam"
    lab.judge(
        B4,
        cells=lambda seeds: {
            name: reconstruction_at(lab, seeds, network=network, layer=layer, decoder=decoder)
            for name, layer in (("conv2", "layer1"), ("conv5", "layer4"))
        },
        effects=lambda seen: (
            {
                name: log_ratio(record.values["m_g"], record.values["m_r"])
                for name, record in seen.items()
            }
            | {"r": seen["conv5"].values["r"]}
        ),
        confirmatory=confirmatory,
        max_replicates=late_replicates(lab, confirmatory=confirmatory),
    )


@pytest.mark.parametrize("decoder", ["adam", "article"])
def test_b5_deeper_networks_have_poorer_reconstructions(lab: Lab, decoder: str) -> None:
    confirmatory = decoder == "adam"
    alone = "it compares ResNet-18, ResNet-50 and ResNet-152" if lab.custom.network else None
    lab.judge(
        B5,
        cells=lambda seeds: {
            layers: reconstruction_at(
                lab, seeds, network=f"resnet{layers}", layer="layer4", decoder=decoder
            )
            for layers in ("18", "50", "152")
        },
        effects=lambda seen: (
            {
                "first": seen["50"].values["r"] - seen["18"].values["r"],
                "second": seen["152"].values["r"] - seen["50"].values["r"],
            }
            | {f"m_i(T) / m_i(0) of ResNet-{name}": seen[name].values["r"] for name in seen}
        ),
        skip_reason=alone,
        confirmatory=confirmatory,
        max_replicates=late_replicates(lab, confirmatory=confirmatory),
    )


FALLING = Descent(step=0.1, factor=0.15, schedule="decreasing", minimum=1e-4, loss="l1")


def test_b7_the_input_distance_settles_far_from_0(lab: Lab) -> None:
    def cells(seeds: ReplicateSeeds) -> dict[str, Inversion]:
        return {
            "conv2": Inversion(
                seeds=seeds,
                network=lab.resnet(lab.custom.network or "resnet152", "layer1"),
                images=lab.photographs(pixels=lab.profile.pick(quick=32, standard=64, article=299)),
                decoder=FALLING,
                iterations=2000,
            )
        }

    lab.judge(
        B7,
        cells=cells,
        effects=lambda seen: {
            "r": seen["conv2"].values["r"],
            "slope": late_slope(seen),
            "fall": log_ratio(seen["conv2"].values["m_g"], seen["conv2"].values["m_g0"]),
        },
        max_replicates=lab.profile.pick(quick=24, standard=48, article=48),
    )


def late_slope(seen: Mapping[str, Record]) -> float:
    """Theil-Sen slope of m_i / m_i(0) over log10 of iterations, in the second half of a run."""
    along = seen["conv2"].traces
    last = along["iteration"][-1]
    late = [
        (math.log10(iteration), m_i / along["m_i"][0])
        for iteration, m_i in zip(along["iteration"], along["m_i"], strict=True)
        if iteration >= last / 2
    ]
    return theil_sen([share for _, share in late], [decade for decade, _ in late])
