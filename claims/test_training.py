"""The effect of training on layer approximation accuracy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest
import scipy  # its submodules load when they are used

from claims.effects import log_ratio, ratio, rise
from claims.test_lower_bounds import E8, zeros_by_rectifier
from claims.trained import (
    at_most,
    decides,
    gallery,
    judge_trained,
    network,
    reconstruction,
    untrained,
)
from harness.claim import LN_11, Claim, Criterion, Scale, equivalence, event
from harness.lab.lab import Lab
from harness.plan.cells import Inversion, JacobianSpectrum, ZeroUnits
from harness.plan.decoders import Descent
from harness.plan.images import Start
from harness.store import Record

SECTION = "The effect of training on layer approximation accuracy"

NETWORKS = (
    "In `quick`, ResNet-18s with a quarter of the channels are trained on photographs of 32 "
    "pixels to tell eight photographs and three textures apart; each replicate has its own "
    "network. ResNet-50 with ImageNet's weights, where they are available, decides at the "
    "article's sizes and is exploratory elsewhere."
)

F1 = Claim(
    id="F1",
    statement="Conv5 of a trained network has the same inverse relation of m_i and m_g as that of "
    "an untrained one.",
    section=SECTION,
    source="layer Conv5 of a trained ResNet50 exhibits the same inverse correlation between input"
    " and embedding distances as the untrained ResNet50 model does",
    method="The article's descent without blur from Conv5 (layer4), at its nominal step, at which "
    "m_g halved in all twelve pilot replicates of the quick profile (the other profiles have had "
    "no pilots). The correlation is over the traced iterations, evenly spaced in their "
    f"logarithm. {NETWORKS}",
    estimands={
        "relation": event(
            "Spearman's correlation of m_i and m_g along a run is negative.",
            Criterion(
                effect="relation", label="Spearman's rho of m_i and m_g", below=0.0, null=0.0
            ),
            presupposes_descent=True,
        ),
        "rise": event(
            "m_i(T) exceeds m_i(0) by 0.1 % while m_g falls to half or less (as in B8).",
            Criterion(
                effect="rise",
                label="m_i(T) / m_i(0) (at most 1 where m_g did not halve)",
                above=math.log(1.001),
                scale=Scale.LOG,
            ),
            presupposes_descent=True,
        ),
    },
)

F2 = Claim(
    id="F2",
    statement="Training does not bring the condition number near 1.",
    section=SECTION,
    source=r"it is extremly unlikely that training would lead to the transformation of $O(a, "
    r"\theta)$ from the spiky ball geometry to a non-spiky ball (ie lower the condition "
    r"number ro near unity)",
    method="Singular values of the Jacobian of Conv5 (layer4) at a photograph of 32 pixels, in "
    "float64; those below LAPACK's tolerance count as zero and are left out. The share of "
    f"Conv5's units that are zero is reported as well. {NETWORKS}",
    estimands={
        "condition": event(
            "The condition number over the non-zero singular values exceeds 10.",
            Criterion(effect="condition", label="condition number", above=10.0),
        )
    },
)

F3 = Claim(
    id="F3",
    statement="Training lowers m_g at a fixed number of iterations, without blur.",
    section=SECTION,
    source="training also leads to a decrease in the distance between the representation of the "
    "generated input $a_g$ and the representation of the actual input $a$ for some fixed "
    "number of iterations of our representation method",
    method="The article's descent without blur at its nominal step, before and after training, "
    "from the same start to the same photograph. As training changes the scale of outputs, m_g "
    "is taken relative to |O(a)|. Adam, whose step does not depend on that scale, is "
    f"exploratory. {NETWORKS}",
    estimands={
        "gain": event(
            "m_g / |O(a)| is more than 1.1 times as large before training as after it.",
            Criterion(
                effect="gain",
                label="m_g / |O(a)|, untrained over trained",
                above=LN_11,
                scale=Scale.LOG,
            ),
        )
    },
)

F4 = Claim(
    id="F4",
    statement="Training sharpens the reconstructions from early and middle layers, also for "
    "images of no trained class.",
    section=SECTION,
    source="input representations early and middle layers of ResNet50 are sharpened upon training",
    method="The article's descent with blur, before and after training, from the same start to "
    "the same image: crops of photographs, and dead leaves, which belong to no trained class. "
    "Likeness is the structural similarity (SSIM) of reconstruction and image. The "
    "reconstruction's Laplacian energy relative to the image's, r and m_g / m_r are reported as "
    f"well; Adam with the same blur is exploratory. {NETWORKS}",
    estimands={
        "likeness": event(
            "SSIM of the reconstruction is higher by more than 0.02 after training.",
            Criterion(effect="gain", label="SSIM, trained - untrained", above=0.02, null=0.0),
        )
    },
)

F5 = Claim(
    id="F5",
    statement="Training does not change the inability of deep layers to copy their input.",
    section=SECTION,
    source="training does not change the underyling inability in forming an accurate "
    "representation of an input for deeper layers",
    method="r = m_i(T) / m_i(0) at Conv5 (layer4) before and after training, by the article's "
    f"descent with blur; Adam without blur is exploratory. {NETWORKS}",
    estimands={
        "same": equivalence(
            "r at Conv5 changes by less than 0.05 either way.",
            effect="change",
            label="r at Conv5, trained - untrained",
            centre=0.0,
            margin=0.05,
        )
    },
)

F6 = Claim(
    id="F6",
    statement="Early layers learn to restrict the inputs that share an output.",
    section=SECTION,
    source="early layers learn convolutional weights that serve to restrict the possible inputs "
    "that could yield a similar representation in that layer",
    method="From Conv2 (layer1), four starts per replicate, far apart (N(1/2, 1/4)), descend "
    "until m_g = m_r, where outputs are as near as the noised image's, before and after "
    "training. Steps follow the gradient alone (squared loss, Polyak's step), so that whatever "
    "the output does not determine stays as it was in each start. The part restricted is the "
    "share of the largest squared distance between two starts that is lost between their "
    "reconstructions: 0 where these are as far apart as their starts, 1 where they are all the "
    f"same. A replicate in which a run does not reach m_r fails. {NETWORKS}",
    estimands={
        "restricted": event(
            "The part of the starts' differences that is gone at m_g = m_r is larger by more than "
            "0.05 after training.",
            Criterion(
                effect="gain",
                label="part restricted, trained - untrained",
                above=0.05,
                null=0.0,
            ),
        )
    },
)

F7 = Claim(
    id="F7",
    statement="All inputs that map to the same hidden value are classified the same.",
    section=SECTION,
    source=r"if the classification output for some hidden layer's activation vector $h = O(a, "
    r"\theta)$ is correct then all inputs that map to this value $h$ would also be correct",
    method="Adam without blur recovers the photograph from Conv4 or Conv5 (layer3, layer4) of a "
    "trained network, and the whole network classifies photograph and reconstruction. A "
    "replicate in which m_g stays at m_r or above fails, since its hidden values are not the "
    f"same. The same is reported for the noised photograph. {NETWORKS}",
    estimands={
        "class": event(
            "The reconstruction has the photograph's predicted class, where m_g < m_r.",
            Criterion(effect="kept", label="class kept (1) or not (0)", above=0.5),
        )
    },
)


@pytest.mark.parametrize("trained", ["photographs", "noise", "imagenet"])
def test_e8_training_need_not_keep_the_share_of_zeros(lab: Lab, trained: str) -> None:
    """Exploratory, as the claim is about initialisation: the share after training."""
    pixels = lab.profile.pick(quick=32, standard=64, article=299)
    judge_trained(
        lab,
        E8,
        trained,
        cells=lambda seeds: {
            role: ZeroUnits(
                seeds=seeds,
                network=network(lab, "layer4", trained=each),
                images=lab.photographs(pixels=pixels),
            )
            for role, each in (("network", trained), ("untrained", untrained(trained)))
        },
        effects=lambda seen: {
            "zeros": seen["network"].values["zero_share"],
            "share of units that are zero before training": seen["untrained"].values["zero_share"],
        },
        tables=lambda seen: (zeros_by_rectifier(seen),),
        confirmatory=False,
        # Other claims train as many networks, and counting their units costs next to nothing.
        max_replicates=at_most(lab, trained, confirmatory=trained != "imagenet"),
    )


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
def test_f1_distances_are_inverse_after_training(lab: Lab, trained: str) -> None:
    judge_f1(lab, "relation", trained=trained)


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
def test_f1_input_distance_rises_after_training(lab: Lab, trained: str) -> None:
    judge_f1(lab, "rise", trained=trained)


def judge_f1(lab: Lab, estimand: str, *, trained: str) -> None:
    """One run serves both estimands."""
    confirmatory = decides(lab, trained)
    judge_trained(
        lab,
        F1,
        trained,
        estimand=estimand,
        cells=lambda seeds: {
            "conv5": reconstruction(
                lab, seeds, "layer4", trained=trained, decoder="article-nominal"
            ),
        },
        effects=lambda seen: {
            "relation": relation(seen["conv5"]),
            "rise": rise(seen["conv5"]),
            "m_i(T) / m_i(0)": seen["conv5"].values["r"],
            "m_g(T) / m_g(0)": ratio(seen["conv5"].values["m_g"], seen["conv5"].values["m_g0"]),
        },
        confirmatory=confirmatory,
    )


def relation(run: Record) -> float:
    """Spearman's correlation of m_i and m_g along a run; nan where one of them never moves."""
    m_i, m_g = run.traces["m_i"], run.traces["m_g"]
    if len(set(m_i)) == 1 or len(set(m_g)) == 1:
        return math.nan
    return float(scipy.stats.spearmanr(m_i, m_g).statistic)


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
def test_f2_the_condition_number_stays_large(lab: Lab, trained: str) -> None:
    confirmatory = decides(lab, trained)
    judge_trained(
        lab,
        F2,
        trained,
        cells=lambda seeds: {
            role: JacobianSpectrum(
                seeds=seeds,
                network=network(lab, "layer4", trained=each),
                images=lab.photographs(pixels=32),
            )
            for role, each in (("trained", trained), ("untrained", untrained(trained)))
        },
        effects=lambda seen: {
            "condition": seen["trained"].values["condition"],
            "condition number before training": seen["untrained"].values["condition"],
            "non-zero singular values": seen["trained"].values["rank"],
            "share of the layer's units that are zero": seen["trained"].values["zero_share"],
            "the same before training": seen["untrained"].values["zero_share"],
        },
        confirmatory=confirmatory,
    )


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
@pytest.mark.parametrize("decoder", ["article-nominal", "adam"])
@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3", "layer4"])
def test_f3_training_lowers_output_distance(
    lab: Lab, layer: str, decoder: str, trained: str
) -> None:
    confirmatory = decides(lab, trained) and decoder == "article-nominal"
    judge_trained(
        lab,
        F3,
        trained,
        cells=lambda seeds: {
            "untrained": reconstruction(
                lab, seeds, layer, trained=untrained(trained), decoder=decoder
            ),
            "trained": reconstruction(lab, seeds, layer, trained=trained, decoder=decoder),
        },
        effects=lambda seen: {
            "gain": log_ratio(relative(seen["untrained"]), relative(seen["trained"])),
            "m_g / |O(a)|, untrained": relative(seen["untrained"]),
            "m_g / |O(a)|, trained": relative(seen["trained"]),
        },
        confirmatory=confirmatory,
    )


def relative(run: Record) -> float:
    """m_g / |O(a)|."""
    return ratio(run.values["m_g"], run.values["scale"])


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
@pytest.mark.parametrize("image", ["photographs", "dead-leaves"])
@pytest.mark.parametrize("decoder", ["article", "adam-blur"])
@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_f4_training_sharpens_reconstructions(
    lab: Lab, layer: str, decoder: str, image: str, trained: str
) -> None:
    confirmatory = decides(lab, trained) and decoder == "article"
    networks = {"untrained": untrained(trained), "trained": trained}
    judge_trained(
        lab,
        F4,
        trained,
        cells=lambda seeds: {
            role: reconstruction(lab, seeds, layer, trained=each, decoder=decoder, source=image)
            for role, each in networks.items()
        },
        effects=sharpening,
        gallery=gallery(lab, trained=tuple(networks.values()), layers=(layer,), decoder="article")
        if confirmatory and image == "photographs"
        else {},
        confirmatory=confirmatory,
    )


def sharpening(seen: Mapping[str, Record]) -> dict[str, float]:
    """How training changes the likeness of a reconstruction."""
    before, after = seen["untrained"].values, seen["trained"].values
    return {
        "gain": after["ssim"] - before["ssim"],
        "SSIM, untrained": before["ssim"],
        "SSIM, trained": after["ssim"],
        "PSNR in dB, untrained": before["psnr"],
        "PSNR in dB, trained": after["psnr"],
        "Laplacian energy over the image's, untrained": before["sharpness"],
        "Laplacian energy over the image's, trained": after["sharpness"],
        "r, untrained": before["r"],
        "r, trained": after["r"],
        "m_g / m_r, untrained": ratio(before["m_g"], before["m_r"]),
        "m_g / m_r, trained": ratio(after["m_g"], after["m_r"]),
    }


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
@pytest.mark.parametrize("decoder", ["article", "adam"])
def test_f5_deep_layers_stay_unable(lab: Lab, decoder: str, trained: str) -> None:
    confirmatory = decides(lab, trained) and decoder == "article"
    networks = {"untrained": untrained(trained), "trained": trained}
    judge_trained(
        lab,
        F5,
        trained,
        cells=lambda seeds: {
            role: reconstruction(lab, seeds, "layer4", trained=each, decoder=decoder)
            for role, each in networks.items()
        },
        effects=lambda seen: {
            "change": seen["trained"].values["r"] - seen["untrained"].values["r"],
            "r, untrained": seen["untrained"].values["r"],
            "r, trained": seen["trained"].values["r"],
            **{
                f"m_g / m_r, {role}": ratio(seen[role].values["m_g"], seen[role].values["m_r"])
                for role in networks
            },
        },
        confirmatory=confirmatory,
    )


RESTRICTING = Descent(
    loss="l2",
    rule="polyak",
    step=1.0,
    factor=1.0,
    returns="best",
    tolerance=1.0,
    tolerance_of="noised",
)
"""Ends at m_g = m_r. On pilot replicates all runs did, after some 200 steps at most and no more
than a tenth below it."""


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
def test_f6_early_layers_restrict_their_inputs(lab: Lab, trained: str) -> None:
    confirmatory = decides(lab, trained)
    networks = {"untrained": untrained(trained), "trained": trained}
    judge_trained(
        lab,
        F6,
        trained,
        cells=lambda seeds: {
            role: Inversion(
                seeds=seeds,
                network=network(lab, "layer1", trained=each),
                images=lab.photographs(pixels=lab.profile.pick(quick=32, standard=64, article=299)),
                decoder=RESTRICTING,
                iterations=1000,
                start=Start(mean=0.5, sd=0.25),
                restarts=4,
            )
            for role, each in networks.items()
        },
        effects=lambda seen: {
            "gain": restricted(seen["trained"]) - restricted(seen["untrained"]),
            "part restricted, untrained": restricted(seen["untrained"]),
            "part restricted, trained": restricted(seen["trained"]),
            "largest distance between starts": seen["trained"].values["apart_start"],
        },
        confirmatory=confirmatory,
        control=far,
    )


def restricted(run: Record) -> float:
    """The part of the largest squared distance between starts that reconstructions have lost."""
    return 1 - ratio(run.values["apart"], run.values["apart_start"]) ** 2


def far(seen: Mapping[str, Record]) -> str | None:
    """The control that all reconstructions come equally near."""
    worst = [
        ratio(seen[role].values["m_g_largest"], seen[role].values["m_r"])
        for role in ("untrained", "trained")
    ]
    # Both distances are rounded, in float32.
    return None if np.max(worst) <= 1.01 else "a run did not reach m_r"


@pytest.mark.parametrize("trained", ["photographs", "imagenet"])
@pytest.mark.parametrize("layer", ["layer4", "layer3"])
def test_f7_reconstructions_keep_the_class(lab: Lab, layer: str, trained: str) -> None:
    confirmatory = decides(lab, trained)
    iterations = lab.profile.pick(quick=500, standard=1000, article=1000)
    judge_trained(
        lab,
        F7,
        trained,
        cells=lambda seeds: {
            "reconstruction": dataclasses.replace(
                reconstruction(lab, seeds, layer, trained=trained, decoder="adam"),
                iterations=iterations,
            ),
        },
        effects=lambda seen: {
            "kept": seen["reconstruction"].values["same_class"],
            "class kept by the noised photograph": seen["reconstruction"].values[
                "same_class_noised"
            ],
            "m_g / m_r": ratio(
                seen["reconstruction"].values["m_g"], seen["reconstruction"].values["m_r"]
            ),
            "m_i / |a' - a|": ratio(
                seen["reconstruction"].values["m_i"], seen["reconstruction"].values["m_n"]
            ),
        },
        confirmatory=confirmatory,
        control=lambda seen: not_the_same(seen["reconstruction"]),
    )


def not_the_same(run: Record) -> str | None:
    """The control that a reconstruction's hidden value is nearer than a noised photograph's."""
    near = run.values["m_g"] < run.values["m_r"]
    return None if near else "m_g did not fall below m_r"
