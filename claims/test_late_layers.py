"""Late layer representations are mostly inference."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from claims.decoders import resnet_decoder
from claims.effects import log_ratio, ratio
from claims.test_training import sharpening
from claims.trained import (
    at_most,
    decides,
    gallery,
    judge_trained,
    judges_training,
    network,
    reconstruction,
    training,
)
from harness.claim import LN_11, Claim, Criterion, Scale, conjunction, equivalence, event
from harness.lab.lab import Lab
from harness.plan.cells import LinearProbe, Reflection
from harness.plan.images import ARTICLE_START, Start
from harness.plan.networks import RESNET_LAYERS
from harness.store import Record

SECTION = "Late layer representations are mostly inference"

NOISE = (
    "In `quick`, ResNet-18s with a quarter of the channels memorise 512 images of N(1/2, 1/4) "
    "noise of 32 pixels with 100 random labels; each replicate has its own network. At the "
    "article's sizes, ResNet-50s memorise 10,000 of 224 pixels, by Adam at a rate of 0.0001 in "
    "batches of 128, for 90 epochs."
)

G1 = Claim(
    id="G1",
    statement="A ResNet fits images of noise with random labels (in the article 10,000 images "
    "N(1/2, 1/4) in 100 classes, by ResNet-50).",
    section=SECTION,
    source="deep learning vision models are somewhat surprisingly capable of accurately "
    "classifying these images of noise",
    method=f"Accuracy on the training images at the end, in eval mode. {NOISE}",
    estimands={
        "fit": event(
            "Training accuracy exceeds 0.9.",
            Criterion(effect="accuracy", label="training accuracy", above=0.9),
        )
    },
)

G2 = Claim(
    id="G2",
    statement="With blur, a reconstruction from a network trained on noise has m_g > m_r, and one "
    "from a network trained on natural images m_g < m_r.",
    section=SECTION,
    source=r"applying a Gaussian convolution to smooth the representation results in inputs $a_g$ "
    r"that do not approximate the input's embedding as well as $O(a', \theta)$",
    method="The article's descent with blur at its nominal step, to the same photograph from the "
    "same start, from the same layer of both networks. Adam with the same blur is exploratory. "
    f"{NOISE} The other network, of the same kind, tells eight photographs and three textures "
    "apart; ImageNet's in its place is a separate condition, which decides at the article's "
    "sizes.",
    estimands={
        "contrast": conjunction(
            "ln(m_g / m_r) is above ln 1.1 for the network trained on noise and below -ln 1.1 for "
            "the other.",
            Criterion(
                effect="noise", label="m_g / m_r, trained on noise", above=LN_11, scale=Scale.LOG
            ),
            Criterion(
                effect="natural",
                label="m_g / m_r, trained on natural images",
                below=-LN_11,
                scale=Scale.LOG,
            ),
        )
    },
)

G3 = Claim(
    id="G3",
    statement="Without blur, a reconstruction with m_g < m_r is easy to find in a network trained "
    "on noise.",
    section=SECTION,
    source=r"obtaining a $a_g$ that yields an output that approximates $O(a, \theta)$ better than "
    r"$O(a', \theta)$ is not difficult",
    method="The article's descent without blur at its nominal step, from six layers, conv1 to "
    f"layer4; Adam is exploratory. m_g / m_r at the start is reported as well. {NOISE}",
    estimands={
        "every": event(
            "m_g < m_r at every layer: the largest of the six m_g / m_r is below 1.",
            Criterion(
                effect="worst",
                label="largest m_g / m_r of the layers",
                below=0.0,
                scale=Scale.LOG,
                joint=True,
            ),
        )
    },
)

G4 = Claim(
    id="G4",
    statement="Conv3 to Conv5 of a network trained on noise hold almost nothing of the input, and "
    "reconstructions from them resemble the training noise.",
    section=SECTION,
    source="layers Conv3 through Conv5 contain almost no information on the input but rather "
    "infer that it must resemble the random training data seen by this model",
    method="A ridge regression of the pixels on the layer's output, fitted to 400 crops of "
    "pictures and evaluated on 100 crops of other parts of them, shows how much of the input is "
    "left; for comparison, the same regression is given nothing but which picture a crop is "
    "from. The radial power spectrum of the reconstruction (article's descent without blur) is "
    "compared with the photograph's and with a flat one, that of the training noise: whiteness "
    "is the distance to the former minus the distance to the latter. Descent without blur may "
    "leave noise whatever a network has learnt, so the reconstruction from the same network "
    "before training, from the same start, is compared as well. As the article's start is itself "
    "noise, a flat start, N(1/2, 1/1000), decides; the article's is exploratory. The regression "
    f"before training is reported as well. {NOISE}",
    estimands={
        "inference": conjunction(
            "R^2 of the regression is below 0.1, and the reconstruction's spectrum is nearer to "
            "white noise than to the photograph's, and more so than before training.",
            Criterion(effect="r_squared", label="R^2 of a linear probe", below=0.1),
            Criterion(
                effect="whiteness",
                label="distance of spectra to the photograph - to noise",
                above=0.0,
                null=0.0,
            ),
            Criterion(
                effect="learnt",
                label="the same, trained on noise - untrained",
                above=0.0,
                null=0.0,
            ),
        )
    },
)

G5 = Claim(
    id="G5",
    statement="Training on noise does not sharpen the reconstructions from early layers.",
    section=SECTION,
    source="the early layer representations are not noticeably clearer after training on random "
    "inputs compared to the untrained model",
    method="As F4, with networks trained on noise: the article's descent with blur, before and "
    "after training, from the same start to the same photograph; Adam with the same blur is "
    f"exploratory. {NOISE}",
    estimands={
        "same": equivalence(
            "SSIM of the reconstruction changes by less than 0.02 either way.",
            effect="gain",
            label="SSIM, trained on noise - untrained",
            centre=0.0,
            margin=0.02,
        )
    },
)

G6 = Claim(
    id="G6",
    statement="Late layers of networks trained on natural images also reflect their training "
    "content more than the input.",
    section=SECTION,
    source="representations in later layers reflect the training dataset's content far more than "
    "the input itself",
    method="The article's descent with blur from Conv4 or Conv5 (layer3, layer4) of a network "
    "that tells eight photographs and three textures apart. Another such network, the same for "
    "all replicates and involved in no reconstruction, is the judge: in the features that its "
    "head receives, it measures how far the reconstruction is from its photograph, and how far "
    "from the nearest training crop of any other picture. The nearest of many crops is near "
    "because there are many, even to the start, which has seen nothing: so the ratio of the two "
    "distances is divided by that of the start. The judge must have learnt its pictures, too, "
    "and a noised photograph must be nearer to the photograph than to any crop; otherwise the "
    "replicate fails. Adam with the same blur is exploratory. m_g / m_r is reported as well: a "
    "reconstruction whose output is far off shows the decoder as much as the layer.",
    estimands={
        "reflection": event(
            "From start to reconstruction, the distance to the photograph over that to the "
            "nearest training crop of another picture grows by more than a tenth.",
            Criterion(
                effect="reflection",
                label="distance to the photograph over that to training content, "
                "reconstruction over start",
                above=LN_11,
                scale=Scale.LOG,
            ),
        )
    },
)


def test_g1_noise_is_memorised(lab: Lab) -> None:
    lab.judge(
        G1,
        cells=lambda seeds: training(lab, seeds, "noise"),
        effects=lambda seen: {
            "accuracy": seen["noise training"].values["accuracy"],
            # A training that diverges at once has no epoch to show.
            "loss of the last epoch": next(
                reversed(seen["noise training"].traces["loss"]), math.nan
            ),
            "seconds of training": seen["noise training"].values["seconds"],
        },
        max_replicates=at_most(lab, "noise", confirmatory=True),
    )


@pytest.mark.parametrize("natural", ["photographs", "imagenet"])
@pytest.mark.parametrize("decoder", ["article", "adam-blur"])
@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3", "layer4"])
def test_g2_blur_suits_natural_images_alone(
    lab: Lab, layer: str, decoder: str, natural: str
) -> None:
    confirmatory = decides(lab, natural) and decoder == "article"
    networks = {"noise": "noise", "natural": natural}
    judge_trained(
        lab,
        G2,
        "noise",
        natural,
        cells=lambda seeds: {
            role: reconstruction(lab, seeds, layer, trained=each, decoder=decoder)
            for role, each in networks.items()
        },
        effects=lambda seen: {
            role: log_ratio(seen[role].values["m_g"], seen[role].values["m_r"]) for role in networks
        },
        confirmatory=confirmatory,
    )


@pytest.mark.parametrize("decoder", ["article-nominal", "adam"])
def test_g3_without_blur_it_is_easy(lab: Lab, decoder: str) -> None:
    confirmatory = decoder == "article-nominal"
    judge_trained(
        lab,
        G3,
        "noise",
        cells=lambda seeds: {
            layer: reconstruction(lab, seeds, layer, trained="noise", decoder=decoder)
            for layer in RESNET_LAYERS
        },
        effects=lambda seen: {
            "worst": max(
                log_ratio(seen[layer].values["m_g"], seen[layer].values["m_r"])
                for layer in RESNET_LAYERS
            ),
            **{
                f"m_g / m_r at {layer}": ratio(seen[layer].values["m_g"], seen[layer].values["m_r"])
                for layer in RESNET_LAYERS
            },
            "least m_g / m_r of the layers at the start": min(
                ratio(seen[layer].values["m_g0"], seen[layer].values["m_r"])
                for layer in RESNET_LAYERS
            ),
        },
        confirmatory=confirmatory,
    )


STARTS = {"flat": Start(mean=0.5, sd=0.001), "article": ARTICLE_START}


@pytest.mark.parametrize("start", list(STARTS))
@pytest.mark.parametrize("layer", ["layer2", "layer3", "layer4"])
def test_g4_late_layers_infer_noise(lab: Lab, layer: str, start: str) -> None:
    confirmatory = start == "flat"
    pixels = lab.profile.pick(quick=32, standard=64, article=224)
    judge_trained(
        lab,
        G4,
        "noise",
        cells=lambda seeds: {
            **{
                role: LinearProbe(
                    seeds=seeds, network=network(lab, layer, trained=each), pixels=pixels
                )
                for role, each in (("probe", "noise"), ("probe before", "no"))
            },
            **{
                role: reconstruction(
                    lab,
                    seeds,
                    layer,
                    trained=each,
                    decoder="article-nominal",
                    start=STARTS[start],
                )
                for role, each in (("reconstruction", "noise"), ("reconstruction before", "no"))
            },
        },
        effects=lambda seen: {
            "r_squared": seen["probe"].values["r_squared"],
            "whiteness": seen["reconstruction"].values["whiteness"],
            "learnt": seen["reconstruction"].values["whiteness"]
            - seen["reconstruction before"].values["whiteness"],
            "R^2 before training": seen["probe before"].values["r_squared"],
            "R^2 of which picture it is": seen["probe"].values["r_squared_of_picture"],
        },
        gallery=gallery(
            lab,
            trained=("noise",),
            layers=(layer,),
            decoder="article-nominal",
            start=STARTS[start],
        )
        if confirmatory
        else {},
        confirmatory=confirmatory,
    )


@pytest.mark.parametrize("decoder", ["article", "adam-blur"])
@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_g5_noise_sharpens_nothing(lab: Lab, layer: str, decoder: str) -> None:
    confirmatory = decoder == "article"
    networks = {"untrained": "no", "trained": "noise"}
    judge_trained(
        lab,
        G5,
        "noise",
        cells=lambda seeds: {
            role: reconstruction(lab, seeds, layer, trained=each, decoder=decoder)
            for role, each in networks.items()
        },
        effects=sharpening,
        gallery=gallery(lab, trained=tuple(networks.values()), layers=(layer,), decoder="article")
        if confirmatory
        else {},
        confirmatory=confirmatory,
    )


def reflects(run: Record, what: str) -> float:
    """ln of the distance to the photograph over that to training content."""
    return log_ratio(run.values[f"{what}_to_image"], run.values[f"{what}_to_training"])


def told_apart(seen: Mapping[str, Record]) -> str | None:
    """The features have to tell: a noised photograph must not pass for training content."""
    known = reflects(seen["reconstruction"], "noised") < 0
    return None if known else "a noised photograph passes for training content"


@pytest.mark.parametrize("decoder", ["article", "adam-blur"])
@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_g6_late_layers_reflect_what_was_learnt(lab: Lab, layer: str, decoder: str) -> None:
    confirmatory = decoder == "article"
    judge_trained(
        lab,
        G6,
        "photographs",
        cells=lambda seeds: {
            **judges_training(lab, "photographs"),
            "reconstruction": Reflection(
                seeds=seeds,
                network=network(lab, layer, trained="photographs"),
                images=lab.photographs(pixels=lab.profile.pick(quick=32, standard=64, article=224)),
                decoder=resnet_decoder(decoder, lab.profile),
                iterations=lab.profile.pick(quick=200, standard=500, article=500),
            ),
        },
        effects=lambda seen: {
            "reflection": reflects(seen["reconstruction"], "reconstruction")
            - reflects(seen["reconstruction"], "start"),
            **{
                f"distance to the photograph over that to training content, {what}": ratio(
                    seen["reconstruction"].values[f"{what}_to_image"],
                    seen["reconstruction"].values[f"{what}_to_training"],
                )
                for what in ("reconstruction", "start", "noised")
            },
            "share of training crops nearer than the photograph": seen["reconstruction"].values[
                "nearer"
            ],
            "m_g / m_r": ratio(
                seen["reconstruction"].values["m_g"], seen["reconstruction"].values["m_r"]
            ),
        },
        control=told_apart,
        confirmatory=confirmatory,
    )
