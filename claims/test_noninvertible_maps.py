"""Why depth leads to nonunique trivial representations: maps that cannot be inverted."""

from __future__ import annotations

import pytest

from claims.exact import search
from harness.claim import Claim, Criterion, exact
from harness.lab.lab import Lab

SECTION = "Why depth leads to nonunique trivial representations"

ROUNDING = 100.0
"""Machine epsilons of the natural scale below which a difference is rounding."""

NONE = 0.5
"""Where exceptions are counted: less than one."""

C1 = Claim(
    id="C1",
    statement="Pixels under a convolution's kernel can generally be swapped without changing the "
    "output.",
    section=SECTION,
    source="generally speaking, pixels within the kernal's dimensions may be swapped without "
    "changing the ouptut",
    method="One position of a convolution: two to nine integer weights from -9 to 9 and as many "
    "integer pixels from 0 to 255, two of which are swapped. Examples are drawn by hypothesis, "
    "which tries corner cases and shrinks what fails. The article's own kernel, whose weights "
    "are all equal, is exploratory: with it, and only with it, no swap changes the output. (That "
    "an output does not determine the pixels, as the article says next, is C3.)",
    estimands={
        "swap": exact(
            "The output changes by at most 100 machine epsilons of its natural scale.",
            Criterion(
                effect="residual",
                label="change of the output under a swap, in machine epsilons",
                below=ROUNDING,
            ),
        )
    },
)

C2 = Claim(
    id="C2",
    statement="Scanning over padded input restores a convolution's invertibility at stride 1, but "
    "in general not at larger strides.",
    section=SECTION,
    source="Invertibility may be recovered by introducing padding to the input and scanning over "
    "these known values, but in general only if the stride length is $1$.",
    method="The matrix of a convolution with one input and one output channel: a kernel of 1 x 1 "
    "to 3 x 3 integer weights, not all 0, on images larger than the kernel, padded so that every "
    "weight meets every pixel; its rank is compared with the number of pixels. Strides 2 to 4 "
    "have fewer outputs than pixels. With many output channels, as ResNets have, a strided "
    "convolution can still be invertible (E6 measures the rank of conv1).",
    estimands={
        "stride 1": exact(
            "The rank is the number of pixels.",
            Criterion(effect="residual", label="nullity at stride 1", below=NONE),
        ),
        "larger strides": exact(
            "The rank is below the number of pixels.",
            Criterion(effect="residual", label="scans of full rank at strides 2 to 4", below=NONE),
        ),
    },
)

C3 = Claim(
    id="C3",
    statement="A linear operation with fewer outputs than inputs cannot be inverted.",
    section=SECTION,
    source=r"any convolutional operation that yields a tensor of smaller total dimension ($m "
    r"\mathtt{x} n$) than the input is non-invertible, as is the case for any linear "
    r"operation",
    method="Integer matrices with one to six rows and more columns than rows. The witness is a "
    "vector of length 1 from their null space, found by a singular value decomposition: added to "
    "any input, it does not change the output.",
    estimands={
        "witness": exact(
            "There is an input of length 1 whose output is 0 up to 100 machine epsilons of the "
            "map's norm.",
            Criterion(
                effect="residual",
                label="output of a unit vector of the null space, in machine epsilons",
                below=ROUNDING,
            ),
        )
    },
)

C4 = Claim(
    id="C4",
    statement="Pooling, projections and residual connections are not invertible.",
    section=SECTION,
    source="Operations that are commonly used in conjunction with convolutions (max or average "
    "pooling, projections, residual connections etc.) are also non-invertible.",
    method="The operations as ResNets have them, on images of 2 x 2 to 6 x 6 integer pixels: 3 x "
    "3 max-pooling at stride 2, 2 x 2 average-pooling, and the 1 x 1 projection at stride 2 to "
    "twice the channels. For each image another with the same output is constructed. Residual "
    "connections are x + W relu(x) with multiples of 1/8 in W: where the branch is a contraction "
    "(Lipschitz constant below 1) the input is recovered from the output by iteration (Banach's "
    "fixed point; Behrmann et al. 2019), which contradicts the statement.",
    estimands={
        "second input": exact(
            "Another image has the same output up to 100 machine epsilons.",
            Criterion(
                effect="residual",
                label="difference of the outputs of two images, in machine epsilons",
                below=ROUNDING,
            ),
        ),
        "residual": exact(
            "No residual connection is inverted.",
            Criterion(effect="residual", label="residual connections inverted", below=NONE),
        ),
    },
)

C5 = Claim(
    id="C5",
    statement="The number of inputs that share an output grows exponentially with the number of "
    "composed maps that are not invertible.",
    section=SECTION,
    source="As the number of non-invertible operations increases, the number of possible inputs "
    "that generate some output vector also increases exponentially.",
    method="Linear maps modulo 2 or 3, so that there are finitely many inputs and those that "
    "share an output can be counted after each map. Exponential growth means that each further "
    "map at least doubles them. Shrinking: two to three maps onto fewer and fewer elements "
    "(their nullities add up). Square: maps of two or three elements onto themselves, none "
    "invertible (such as the same projection twice, which loses nothing more the second time).",
    estimands={
        "growth": exact(
            "Each map at least doubles the number of inputs that share an output.",
            Criterion(
                effect="residual",
                label="maps that do not double the inputs of an output",
                below=NONE,
            ),
        )
    },
)


@pytest.mark.parametrize("kernel", ["any", "uniform"])
def test_c1_pixels_under_a_kernel_can_be_swapped(lab: Lab, kernel: str) -> None:
    search(lab, C1, f"swap, {kernel} kernel", confirmatory=kernel == "any")


def test_c2_scanning_at_stride_1_restores_invertibility(lab: Lab) -> None:
    search(lab, C2, "scan at stride 1", estimand="stride 1")


def test_c2_scanning_at_larger_strides_does_not(lab: Lab) -> None:
    search(lab, C2, "scan at larger strides", estimand="larger strides")


def test_c3_fewer_outputs_than_inputs(lab: Lab) -> None:
    search(lab, C3, "null vector")


@pytest.mark.parametrize("operation", ["max-pool", "average-pool", "projection"])
def test_c4_pooling_and_projections_are_not_invertible(lab: Lab, operation: str) -> None:
    search(lab, C4, f"two inputs of {operation}", estimand="second input")


def test_c4_residual_connections_are_not_invertible(lab: Lab) -> None:
    search(lab, C4, "residual connection", estimand="residual")


@pytest.mark.parametrize("maps", ["shrinking", "square"])
def test_c5_preimages_multiply_with_depth(lab: Lab, maps: str) -> None:
    search(lab, C5, f"preimages of {maps} maps")
