"""Why depth leads to nonunique trivial representations: the neighbourhood of an output."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from claims.effects import log_ratio
from claims.exact import search
from claims.test_noninvertible_maps import ROUNDING
from harness.claim import LN_11, Claim, Criterion, Scale, conjunction, equivalence, event, exact
from harness.lab.lab import Lab
from harness.plan.cells import BATCH, Cell, Inversion, NeighbourLaw, Neighbours
from harness.plan.decoders import ARTICLE_MLP
from harness.plan.images import Images
from harness.plan.networks import MLP
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record

SECTION = "Why depth leads to nonunique trivial representations"

LAYERS = 3

D2 = Claim(
    id="D2",
    statement="Almost all points whose output differs from the image's by a little noise are "
    "enormously farther from the image than the noised image is.",
    section=SECTION,
    source="nearly all points $a''$ are much farther from $a$ (note the scale: the median "
    "distance if more than 40,000) than $a'$ (which is under 3)",
    method="Three square linear layers with biases (torch's initialisation), as wide as the "
    "photograph has elements: 768 in the quick profile, the article's 3072 in the others. Noise "
    "of standard deviation 1/1000 is added to the output and the layers are solved backwards in "
    "float64; a' is the photograph with noise of 1/25. The distance grows with the square of the "
    "width, so that the quick profile's is a sixteenth of the article's (more than 40,000). For "
    "Gaussian weights the distance of a point has an exact law, |a'' - a| = |noise| prod 1 / (sd "
    "|z_l|) with standard normal z_l; it is compared with 4,096 small networks per replicate.",
    estimands={
        "distance": event(
            "The median distance of 256 such points exceeds 100 times that of a'.",
            Criterion(
                effect="ratio",
                label="median |a'' - a| / |a' - a|",
                above=math.log(100),
                scale=Scale.LOG,
            ),
        ),
        "law": equivalence(
            "The median distance over networks agrees with its law within a factor of 1.1.",
            effect="log_ratio",
            label="median stretch / its law",
            centre=0.0,
            margin=LN_11,
            scale=Scale.LOG,
        ),
    },
)

D3 = Claim(
    id="D3",
    statement="A short gradient descent ends nearer to the image than almost all points whose "
    "output is as near or nearer.",
    section=SECTION,
    source="the gradient descent method for visualizing the representation of the output is also "
    "far more accurate to the orginal input $a$ than almost all other points in the "
    "neighborhood",
    method="The networks and points of D2 and, on the same network, the article's descent for "
    "fully connected networks, 220 iterations as in the article. As it is: compared with the "
    "points at noise of 1/1000, whose outputs are nearer than the reconstruction's. At equal "
    "m_g: compared with the same points moved out until their outputs are as far off as the "
    "reconstruction's (the network is linear, so that both distances grow together). The points "
    "are so far away that the start may be nearer than almost all of them before any descent: "
    "the share of points nearer than the start is reported as well; at equal m_g, the points are "
    "moved out to the start's m_g.",
    estimands={
        "quantile": event(
            "Less than a twentieth of the points are nearer to the image than the reconstruction.",
            Criterion(
                effect="quantile",
                label="share of points nearer than the reconstruction",
                below=0.05,
            ),
        )
    },
)

D4 = Claim(
    id="D4",
    statement="That is because nearly all of these points have pixels far outside [0, 1].",
    section=SECTION,
    source=r"nearly all elements of $\{ a'' \}$ contian pixels that are very far from the desired "
    r"range $[0, 1]$ and therefore cannot be accurate input representations",
    method="The points of D2 and the descent of D3. If the range were the cause, clipping to [0, "
    "1] would bring the points about as near as the reconstruction; it also moves their outputs "
    "away from the image's.",
    estimands={
        "range": conjunction(
            "In the median point more than half of the elements lie outside [0, 1], and the "
            "median distance after clipping is below twice that of the reconstruction.",
            Criterion(effect="outside", label="share of elements outside of [0, 1]", above=0.5),
            Criterion(
                effect="clipped",
                label="|clipped a'' - a| / m_i of the reconstruction",
                below=math.log(2),
                scale=Scale.LOG,
            ),
        )
    },
)

D5 = Claim(
    id="D5",
    statement="The noised image is a kind of lower bound: no point with an output as far off lies "
    "nearer to the image.",
    section=SECTION,
    source="$a'$ provides a kind of lower bound to how accurate a point at distance $E(a') - "
    "E(a)$ could be",
    method="Invertible linear maps (triangular matrices) of two to five elements and shifts a' - "
    "a, integers drawn and shrunk by hypothesis. The least distance at which an output is as far "
    "off as that of a' is |O(a') - O(a)| / s_max, along the first right singular vector. That a' "
    "is atypically near, as the article says next, is a different statement: D2 counts the "
    "points that are nearer.",
    estimands={
        "bound": exact(
            "The least distance is that of a', up to 100 machine epsilons.",
            Criterion(
                effect="residual",
                label="1 - least distance / |a' - a|, in machine epsilons",
                below=ROUNDING,
            ),
        )
    },
)


def square_image(lab: Lab) -> Images:
    """768 elements, or the article's 3072."""
    return lab.photographs(pixels=lab.profile.pick(quick=16, standard=32, article=32))


def square(images: Images) -> MLP:
    """Three square layers."""
    return MLP(inputs=images.elements, widths=(images.elements,) * LAYERS)


def points(lab: Lab, seeds: ReplicateSeeds) -> Neighbours:
    """The points a'' of a replicate."""
    images = square_image(lab)
    return Neighbours(seeds=seeds, network=square(images), images=images)


def with_reconstruction(lab: Lab, seeds: ReplicateSeeds) -> dict[str, Cell]:
    """The points and a reconstruction by a short descent, on the same network."""
    images = square_image(lab)
    return {
        "points": points(lab, seeds),
        "reconstruction": Inversion(
            seeds=seeds,
            network=square(images),
            images=images,
            decoder=ARTICLE_MLP,
            iterations=220,
            precision="float64",
        ),
    }


def test_d2_points_near_the_output_are_far_from_the_image(lab: Lab) -> None:
    lab.judge(
        D2,
        estimand="distance",
        cells=lambda seeds: {"points": points(lab, seeds)},
        effects=lambda seen: {
            "ratio": log_ratio(seen["points"].values["distance"], seen["points"].values["m_n"]),
            "median |a'' - a|": seen["points"].values["distance"],
            "|a' - a|": seen["points"].values["m_n"],
            "share of points nearer than a'": seen["points"].values["nearer_than_noised"],
            "largest relative error of the inversion": seen["points"].values["error"],
        },
    )


@pytest.mark.parametrize("initialisation", ["gaussian", "default"])
def test_d2_distances_follow_their_law(lab: Lab, initialisation: str) -> None:
    n = 32
    lab.judge(
        D2,
        estimand="law",
        cells=lambda seeds: {
            "networks": NeighbourLaw(
                seeds=seeds,
                network=MLP(
                    inputs=n, widths=(n,) * LAYERS, initialisation=initialisation, bias=False
                ),
                networks=4096,
                batch=BATCH,
            )
        },
        effects=lambda seen: {
            "log_ratio": seen["networks"].values["log_ratio"],
            "median stretch": seen["networks"].values["stretch"],
            "its law": seen["networks"].values["law"],
        },
        confirmatory=initialisation == "gaussian",
    )


@pytest.mark.parametrize("compared", ["as it is", "equal m_g"])
def test_d3_descent_ends_nearer_than_almost_all_points(lab: Lab, compared: str) -> None:
    def nearer(seen: Mapping[str, Record], *, m_i: float, m_g: float) -> float:
        along = seen["points"].traces
        distances = np.array(along["distance"])
        if compared == "equal m_g":
            distances = distances * m_g / np.array(along["output"])
        return float((distances < m_i).mean())

    def effects(seen: Mapping[str, Record]) -> dict[str, float]:
        reconstruction = seen["reconstruction"].values
        return {
            "quantile": nearer(seen, m_i=reconstruction["m_i"], m_g=reconstruction["m_g"]),
            "share of points nearer than the start": nearer(
                seen, m_i=reconstruction["m_i0"], m_g=reconstruction["m_g0"]
            ),
            "m_i of the reconstruction": reconstruction["m_i"],
            "m_i of the start": reconstruction["m_i0"],
            "m_g of the reconstruction": reconstruction["m_g"],
        }

    lab.judge(D3, cells=lambda seeds: with_reconstruction(lab, seeds), effects=effects)


def test_d4_points_leave_the_range_of_pixels(lab: Lab) -> None:
    lab.judge(
        D4,
        cells=lambda seeds: with_reconstruction(lab, seeds),
        effects=lambda seen: {
            "outside": seen["points"].values["outside"],
            "clipped": log_ratio(
                seen["points"].values["clipped"], seen["reconstruction"].values["m_i"]
            ),
        },
    )


def test_d5_the_noised_image_is_a_lower_bound(lab: Lab) -> None:
    search(lab, D5, "shift as a bound")
