"""Trivial autoencoding ability decreases with model depth."""

from __future__ import annotations

import pytest

from claims.decoders import resnet_decoder
from claims.effects import ratio
from harness.claim import Claim, Criterion, event, trend
from harness.lab.lab import Lab
from harness.plan.cells import BlurLoss, Cell, Inversion
from harness.plan.decoders import Blur
from harness.plan.networks import RESNET_LAYERS
from harness.plan.seeds import ReplicateSeeds
from harness.statistics.trend import theil_sen

SECTION = "Trivial autoencoding ability decreases with model depth"

A1 = Claim(
    id="A1",
    statement="Early layers nearly copy the input.",
    section=SECTION,
    source="We find that early layers are capable of approximately copying the input",
    method="Untrained ResNets in eval mode; the article's descent (L1, fixed step, Gaussian blur "
    "after every step) recovers a photograph from the output of one layer; what the last blur "
    "alone takes from the photograph is reported as well. conv1 is the article's Conv1 before "
    "BatchNorm, the stem what BatchNorm, ReLU and max-pooling make of it, layer1 its Conv2. "
    "Photographs have 32 pixels in the quick profile, the article's 299 in the largest; the "
    "descent takes 200 steps in the quick profile, the article's 500 in the others.",
    estimands={
        "reconstruction": event(
            "r = m_i(T) / m_i(0), the part of the initial distance to the image that is left, is "
            "below a quarter.",
            Criterion(effect="r", label="m_i(T) / m_i(0)", below=0.25),
        )
    },
    headline="autoencoding",
)

A2 = Claim(
    id="A2",
    statement="Copying gets worse with depth.",
    section=SECTION,
    source="but as depth increases this ability diminishes and instead a non-trivial "
    "representation is found",
    method="The same photographs are recovered from six layers of the same network, conv1 to "
    "layer4. Adam without blur decides, since its step does not depend on the scale of a layer's "
    "gradient; the article's descent with blur is exploratory.",
    estimands={
        "slope": trend(
            "The Theil-Sen slope of r over the six layers exceeds 0.05 per layer.",
            Criterion(effect="slope", label="slope of m_i(T) / m_i(0) per layer", above=0.05),
        )
    },
    headline="autoencoding",
)


def reconstruction_at(
    lab: Lab,
    seeds: ReplicateSeeds,
    *,
    network: str,
    layer: str,
    decoder: str,
    pixels: int | None = None,
) -> Inversion:
    """The cell that recovers a photograph from one layer; other sections use it, too."""
    size = lab.profile.pick(quick=32, standard=64, article=299)
    return Inversion(
        seeds=seeds,
        network=lab.resnet(network, layer),
        images=lab.photographs(pixels=pixels or size),
        decoder=resnet_decoder(decoder, lab.profile),
        iterations=lab.profile.pick(quick=200, standard=500, article=500),
    )


def last_blur(lab: Lab, seeds: ReplicateSeeds) -> BlurLoss:
    """The cell that blurs the photograph itself as the article's descent does last."""
    size = lab.profile.pick(quick=32, standard=64, article=299)
    return BlurLoss(seeds=seeds, images=lab.photographs(pixels=size), blur=Blur())


def at_most(lab: Lab, *, confirmatory: bool) -> int:
    """Replicates of a condition on deep layers. But for the article's sizes, exploratory conditions
    have four; in `quick` confirmatory ones have two looks."""
    return lab.profile.pick(
        quick=24 if confirmatory else 4, standard=48 if confirmatory else 4, article=48
    )


def gallery(lab: Lab, *, network: str, decoder: str, layers: tuple[str, ...]) -> dict[str, Cell]:
    """One replicate, large enough to look at."""
    pixels = lab.profile.pick(quick=64, standard=128, article=299)
    return {
        layer: reconstruction_at(
            lab,
            ReplicateSeeds(replicate=0),
            network=network,
            layer=layer,
            decoder=decoder,
            pixels=pixels,
        )
        for layer in layers
    }


@pytest.mark.networks("resnet50", "resnet18")
@pytest.mark.parametrize("layer", ["conv1", "stem", "layer1"])
def test_a1_early_layers_nearly_copy_the_input(lab: Lab, network: str, layer: str) -> None:
    lab.judge(
        A1,
        cells=lambda seeds: {
            "reconstruction": reconstruction_at(
                lab, seeds, network=network, layer=layer, decoder="article"
            ),
            "blurred": last_blur(lab, seeds),
        },
        effects=lambda seen: {
            "r": seen["reconstruction"].values["r"],
            "m_i of the blurred image / m_i(0)": ratio(
                seen["blurred"].values["m_i"], seen["reconstruction"].values["m_i0"]
            ),
            "m_g / m_r": ratio(
                seen["reconstruction"].values["m_g"], seen["reconstruction"].values["m_r"]
            ),
        },
        gallery=gallery(lab, network=network, decoder="article", layers=(layer,)),
        family="reconstructions from a ResNet"
        if (network, layer) == ("resnet18", "layer1")
        else None,
    )


@pytest.mark.networks("resnet50", "resnet18")
@pytest.mark.parametrize("decoder", ["adam", "article"])
def test_a2_copying_gets_worse_with_depth(lab: Lab, network: str, decoder: str) -> None:
    lab.judge(
        A2,
        cells=lambda seeds: {
            layer: reconstruction_at(lab, seeds, network=network, layer=layer, decoder=decoder)
            for layer in RESNET_LAYERS
        },
        effects=lambda seen: {
            "slope": theil_sen([seen[layer].values["r"] for layer in RESNET_LAYERS])
        },
        gallery=gallery(lab, network=network, decoder=decoder, layers=RESNET_LAYERS),
        confirmatory=decoder == "adam",
        max_replicates=at_most(lab, confirmatory=decoder == "adam"),
    )
