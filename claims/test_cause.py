"""Imperfect representations are due to nonunique approximation: counting, gradients, decoders."""

from __future__ import annotations

import math

import pytest

from claims.decoders import resnet_decoder
from claims.effects import log_ratio
from claims.exact import search
from claims.test_noninvertible_maps import NONE
from harness.claim import Claim, Criterion, Scale, conjunction, equivalence, exact
from harness.lab.lab import Lab
from harness.plan.cells import STATISTICS, Cell, GradientNorms, Inversion
from harness.plan.decoders import LBFGS, Adam, Decoder, GaussNewton
from harness.plan.networks import RESNET_LAYERS
from harness.plan.seeds import ReplicateSeeds

SECTION = "Imperfect representations are due to nonunique approximation"

B1 = Claim(
    id="B1",
    statement="Conv5 of ResNet-50 with its more than 200,000 outputs could hold the input of 299 x "
    "299 pixels.",
    section=SECTION,
    source="This layer has more than 200,000 parameters and therefore viewing this layer as an "
    "autoencoder hidden layer $h$ would imply that it is capable of copying the input "
    "exactly",
    method="Counted on torchvision's ResNet-50. The article counts 299 x 299 = 89,401 elements, "
    "leaving out the three colour channels.",
    estimands={
        "count": exact(
            "Conv5 has at least as many outputs as the input has elements.",
            Criterion(effect="residual", label="elements that find no place in Conv5", below=NONE),
        )
    },
)

B2 = Claim(
    id="B2",
    statement="BatchNorm with gamma 1 and beta 0 keeps the scale of the gradient, which changes "
    "little from shallow to deep layers.",
    section=SECTION,
    source=r"general statistical measures of the gradient $\nabla_a O(a, \theta)$ are little "
    r"changed when comparing deep to shallow layers",
    method="The norm of the article's gradient (L1 loss, at its start) with respect to the input, "
    "from Conv5 (layer4) divided by that from Conv2 (layer1): geometric means over eight "
    "photographs that pass through an untrained ResNet-50 as one batch (32 pixels in the quick "
    "profile, the article's 299 in the largest). eval: BatchNorm has its initial statistics and "
    "does nothing, as in the article's own runs; train: it uses those of the batch; calibrated: "
    "it keeps those of eight photographs. Up to a factor of 2 counts as little.",
    estimands={
        "scale": equivalence(
            "The gradient from Conv5 is as large as that from Conv2 within a factor of 2.",
            effect="log_ratio",
            label="gradient norm at Conv5 / at Conv2",
            centre=0.0,
            margin=math.log(2),
            scale=Scale.LOG,
        )
    },
)

B9 = Claim(
    id="B9",
    statement="It is the forward pass that fails, not the descent.",
    section=SECTION,
    source="not because the gradient backpropegation is necessarily inaccurate but because "
    "forward propegation results in a non-unique approximations to the input",
    method="A ladder of decoders from the same start at Conv5 (layer4) of an untrained ResNet, "
    "ResNet-18 at 32 pixels in the quick profile, ResNet-50 at 64 and at the article's 299 in "
    "the others: the article's descent without blur at its falling step, Adam, Gauss-Newton (40 "
    "steps of ten products each) and L-BFGS (2,000 gradients, 100 of them remembered). If the "
    "descent were to blame, a decoder that brings the output ten times nearer than the noised "
    "image's output would bring the input near as well. Conv5 has fewer outputs than the image "
    "has elements (a sixth in ResNet-18, two thirds to three quarters in ResNet-50), so that "
    "their number alone loses much of the distance: only the first part can fail.",
    estimands={
        "ladder": conjunction(
            "The strongest decoder reaches m_g < m_r / 10, and yet no decoder leaves less than a "
            "quarter of the initial distance to the image.",
            Criterion(
                effect="m_g",
                label="least m_g / m_r over decoders",
                below=-math.log(10),
                scale=Scale.LOG,
            ),
            Criterion(effect="r", label="least m_i(T) / m_i(0) over decoders", above=0.25),
        )
    },
)


def test_b1_conv5_could_hold_the_input(lab: Lab) -> None:
    search(lab, B1, "Conv5 could hold the input")


@pytest.mark.parametrize("batchnorm", STATISTICS)
def test_b2_gradients_keep_their_scale(lab: Lab, batchnorm: str) -> None:
    lab.judge(
        B2,
        cells=lambda seeds: {
            "gradients": GradientNorms(
                seeds=seeds,
                network=lab.resnet(lab.custom.network or "resnet50", "layer4"),
                images=lab.photographs(pixels=lab.profile.pick(quick=32, standard=64, article=299)),
                statistics=batchnorm,
            )
        },
        effects=lambda seen: (
            {
                "log_ratio": log_ratio(
                    seen["gradients"].values["gradient_layer4"],
                    seen["gradients"].values["gradient_layer1"],
                )
            }
            | {
                f"norm at {layer}": seen["gradients"].values[f"gradient_{layer}"]
                for layer in RESNET_LAYERS
            }
        ),
    )


def ladder(lab: Lab, seeds: ReplicateSeeds, *, network: str) -> dict[str, Inversion]:
    """Runs of ever stronger decoders at Conv5; other sections use them, too."""
    usual = lab.profile.pick(quick=200, standard=500, article=500)
    decoders: dict[str, tuple[Decoder, int]] = {
        "article-falling": (resnet_decoder("article-falling", lab.profile), usual),
        "adam": (Adam(rate=0.05), usual),
        "gauss-newton": (GaussNewton(), 40),
        "l-bfgs": (LBFGS(history=100), 2000),
    }
    return {
        name: Inversion(
            seeds=seeds,
            network=lab.resnet(network, "layer4"),
            images=lab.photographs(pixels=lab.profile.pick(quick=32, standard=64, article=299)),
            decoder=decoder,
            iterations=iterations,
        )
        for name, (decoder, iterations) in decoders.items()
    }


def test_b9_the_forward_pass_is_the_cause(lab: Lab) -> None:
    network = lab.custom.network or lab.profile.pick(
        quick="resnet18", standard="resnet50", article="resnet50"
    )

    def cells(seeds: ReplicateSeeds) -> dict[str, Cell]:
        return dict(ladder(lab, seeds, network=network))

    lab.judge(
        B9,
        cells=cells,
        effects=lambda seen: (
            {
                "m_g": min(
                    log_ratio(record.values["m_g"], record.values["m_r"])
                    for record in seen.values()
                ),
                "r": min(record.values["r"] for record in seen.values()),
            }
            | {f"m_i(T) / m_i(0) by {name}": record.values["r"] for name, record in seen.items()}
        ),
        max_replicates=lab.profile.pick(quick=12, standard=24, article=48),
    )
