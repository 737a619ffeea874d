"""Theoretical lower bounds for perfect input representation: pooling, and what ResNets lose."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from claims.effects import log_ratio, ratio
from claims.exact import search
from claims.test_autoencoding import gallery, reconstruction_at
from claims.test_cause import ladder
from claims.test_noninvertible_maps import NONE, ROUNDING
from harness.claim import Claim, Criterion, Scale, conjunction, event, exact
from harness.lab.lab import Lab
from harness.plan.cells import Cell, ErrorInNullSpace, PooledRank
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record

SECTION = "Theoretical lower bounds for perfect input representation"

E6 = Claim(
    id="E6",
    statement="The reconstruction from conv1 before BatchNorm and pooling is near-perfect; after "
    "them it is not.",
    section=SECTION,
    source="the representation for ResNet50 layer Conv1 before batchnorm and max pooling (trained"
    " or untrained) is near-perfect, whereas the representation after applying batchnorm "
    "and more importantly pooling is not (especially for the untrained model)",
    method="The reconstructions of A1 and A2 (untrained ResNets in eval mode): m_i(T) / m_i(0) at "
    "the stem (after BatchNorm, ReLU and max-pooling) minus that at conv1, from the same start, "
    "by the article's descent with blur and by Adam without. The reason: at a photograph (of 16 "
    "to 32 pixels, so that ranks are exact) conv1 has full rank, and max-pooling keeps at most "
    "one number for each distinct position that is active and the largest of a window. There are "
    "fewer of these than the image has elements, although there are more pooled outputs: at 299 "
    "pixels, too, counting outputs (360,000 pooled ones for 268,203 elements) predicts no loss. "
    "The witness is a second image, in [0, 1] like the photograph, moved along the null space as "
    "far as the same positions stay the largest (found by a linear program). Small convolutions "
    "of one channel are searched for one that has no second image.",
    estimands={
        "loss": event(
            "The stem leaves at least a fifth of the initial distance more than conv1.",
            Criterion(
                effect="difference",
                label="m_i(T) / m_i(0) at the stem less that at conv1",
                above=0.2,
                null=0.0,
            ),
        ),
        "rank": exact(
            "The rank after pooling is the number of distinct active arg-max positions, or of "
            "elements where these are fewer.",
            Criterion(effect="off", label="rank after pooling off its law", below=NONE),
        ),
        "witness": exact(
            "A second image, different by a grey level (1/255) or more in some pixel, has the same "
            "pooled output up to 100 machine epsilons.",
            Criterion(
                effect="residual",
                label="difference of pooled outputs of two inputs, in machine epsilons",
                below=ROUNDING,
            ),
        ),
        "every": exact(
            "Every convolution of one channel, followed by ReLU and pooling, has a second image "
            "with the same output up to 100 machine epsilons.",
            Criterion(
                effect="residual",
                label="difference of outputs of two images, in machine epsilons",
                below=ROUNDING,
            ),
        ),
    },
)

E7 = Claim(
    id="E7",
    statement="In ResNets non-uniqueness causes most of the inaccuracy of deep layers.",
    section=SECTION,
    source="For ResNet, it appears that the non-uniqueness phenomenon is the root of most of the "
    "inaccuracy in deep layers' representations",
    method="Conv5 (layer4) of an untrained ResNet, ResNet-18 in the quick profile and ResNet-50 "
    "in the others; the article's descent without blur at its falling step, on photographs of 32 "
    "pixels for the null space and the rest, and of the profile's size for the strongest "
    "decoder. Three measures. Null space: the part of the reconstruction's squared error that "
    "lies in the null space of the Jacobian at the photograph (float64), which to first order no "
    "output reveals, compared with that part of the start's error. Most of any error lies there, "
    "since most directions do, and any descent raises this part a little. The rest: what is left "
    "of the error outside the null space, which the output does reveal; if descent or "
    "conditioning were to blame, it would be left as well. Strongest decoder: the distance that "
    "2,000 gradients of L-BFGS leave, divided by what the article's descent leaves; it is left "
    "although the output is reached.",
    estimands={
        "null space": event(
            "A larger part of the reconstruction's error than of the start's lies in the null "
            "space.",
            Criterion(
                effect="gain",
                label="part of |a_g - a|^2 in the null space less that of |a0 - a|^2",
                above=0.0,
                null=0.0,
            ),
        ),
        "rest": conjunction(
            "More than half of |a_g - a|^2 lies in the null space, and of the part of |a0 - a|^2 "
            "outside it, less than half is left.",
            Criterion(effect="within", label="part of |a_g - a|^2 in the null space", above=0.5),
            Criterion(
                effect="outside",
                label="the rest of |a_g - a|^2 / that of |a0 - a|^2",
                below=math.log(0.5),
                scale=Scale.LOG,
            ),
        ),
        "strongest decoder": event(
            "The strongest decoder leaves more than half of what the article's descent leaves.",
            Criterion(
                effect="floor", label="m_i of L-BFGS / m_i of the article's descent", above=0.5
            ),
        ),
    },
)


@pytest.mark.networks("resnet50", "resnet18")
@pytest.mark.parametrize("decoder", ["article", "adam"])
def test_e6_pooling_spoils_the_reconstruction(lab: Lab, network: str, decoder: str) -> None:
    lab.judge(
        E6,
        estimand="loss",
        cells=lambda seeds: {
            layer: reconstruction_at(lab, seeds, network=network, layer=layer, decoder=decoder)
            for layer in ("conv1", "stem")
        },
        effects=lambda seen: {
            "difference": seen["stem"].values["r"] - seen["conv1"].values["r"],
            "m_i(T) / m_i(0) at conv1": seen["conv1"].values["r"],
            "m_i(T) / m_i(0) at the stem": seen["stem"].values["r"],
        },
        gallery=gallery(lab, network=network, decoder=decoder, layers=("conv1", "stem")),
    )


def pooled(lab: Lab, seeds: ReplicateSeeds) -> dict[str, Cell]:
    """Ranks of the first layers of a ResNet; those of all sizes have the same."""
    pixels = lab.profile.pick(quick=16, standard=24, article=32)
    return {
        "stem": PooledRank(
            seeds=seeds,
            network=lab.resnet(lab.custom.network or "resnet18", "stem"),
            images=lab.photographs(pixels=pixels),
        )
    }


def test_e6_the_rank_after_pooling_is_that_of_its_positions(lab: Lab) -> None:
    lab.judge(
        E6,
        estimand="rank",
        cells=lambda seeds: pooled(lab, seeds),
        effects=lambda seen: {
            "off": abs(seen["stem"].values["excess"]),
            "rank of conv1 / n": seen["stem"].values["rank_conv1_share"],
            "rank after pooling / n": seen["stem"].values["rank_stem_share"],
            "pooled outputs / n": seen["stem"].values["outputs_share"],
        },
        max_replicates=12,
    )


def test_e6_a_second_input_has_the_same_pooled_output(lab: Lab) -> None:
    lab.judge(
        E6,
        estimand="witness",
        cells=lambda seeds: pooled(lab, seeds),
        effects=lambda seen: {
            "residual": unless_alike(seen["stem"]),
            "largest change of a pixel": seen["stem"].values.get("witness_change", 0.0),
            "distance of the second image": seen["stem"].values.get("witness_distance", 0.0),
        },
        max_replicates=12,
    )


def test_e6_every_pooled_convolution_has_a_second_image(lab: Lab) -> None:
    search(lab, E6, "pooled convolution", estimand="every")


GREY_LEVEL = 1 / 255
"""What an image of eight bits can tell; a witness that differs by less is the image itself."""


def unless_alike(run: Record) -> float:
    """Difference of the outputs of image and witness in epsilons; infinite where there is none."""
    differs = run.values.get("witness_change", 0.0) >= GREY_LEVEL
    return run.values["witness_residual"] if differs else math.inf


def deep_network(lab: Lab) -> str:
    """Whose Jacobian at Conv5 is small enough for the profile."""
    return lab.custom.network or lab.profile.pick(
        quick="resnet18", standard="resnet50", article="resnet50"
    )


def test_e7_the_error_moves_into_the_null_space(lab: Lab) -> None:
    judge_null_space(lab, "null space")


def test_e7_what_outputs_tell_is_recovered(lab: Lab) -> None:
    judge_null_space(lab, "rest")


def judge_null_space(lab: Lab, estimand: str) -> None:
    """One run serves both estimands."""
    asked = reconstruction_at(
        lab,
        ReplicateSeeds(replicate=0),
        network=deep_network(lab),
        layer="layer4",
        decoder="article-falling",
    )
    lab.judge(
        E7,
        estimand=estimand,
        cells=lambda seeds: {
            "reconstruction": ErrorInNullSpace(
                seeds=seeds,
                network=lab.resnet(deep_network(lab), "layer4"),
                images=lab.photographs(pixels=32),
                decoder=asked.decoder,
                iterations=asked.iterations,
            )
        },
        effects=lambda seen: {
            "gain": seen["reconstruction"].values["null_share"]
            - seen["reconstruction"].values["null_share_start"],
            "within": seen["reconstruction"].values["null_share"],
            "outside": outside(seen["reconstruction"]),
            "null space / n": seen["reconstruction"].values["null_dimension_share"],
            "part of |a0 - a|^2 in it": seen["reconstruction"].values["null_share_start"],
            "m_i(T) / m_i(0)": seen["reconstruction"].values["r"],
            "m_g(T) / m_g(0)": seen["reconstruction"].values["m_g_share"],
        },
        max_replicates=lab.profile.pick(quick=24, standard=48, article=48),
    )


def outside(run: Record) -> float:
    """ln of what is left of the squared error outside of the null space, over the start's."""
    begun, ended = 1 - run.values["null_share_start"], 1 - run.values["null_share"]
    return log_ratio(ended * run.values["r"] ** 2, begun)


def reached(seen: Mapping[str, Record]) -> str | None:
    """The strongest decoder has to reach the output: else what it leaves is its own failure."""
    values = seen["l-bfgs"].values
    near = values["m_g"] < values["m_r"] / 10
    return None if near else "L-BFGS did not bring m_g below m_r / 10"


def test_e7_the_strongest_decoder_leaves_most_of_it(lab: Lab) -> None:
    lab.judge(
        E7,
        estimand="strongest decoder",
        cells=lambda seeds: {
            name: ladder(lab, seeds, network=deep_network(lab))[name]
            for name in ("article-falling", "l-bfgs")
        },
        effects=lambda seen: {
            "floor": ratio(seen["l-bfgs"].values["m_i"], seen["article-falling"].values["m_i"])
        },
        control=reached,
        max_replicates=lab.profile.pick(quick=12, standard=24, article=48),
    )
