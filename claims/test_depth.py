"""Why depth leads to nonunique trivial representations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from claims.effects import exponential_fit, log_ratio, power_fit
from claims.exact import search
from harness.claim import Claim, Criterion, Scale, conjunction, equivalence, event, exact
from harness.lab.lab import Lab
from harness.plan.cells import BATCH, ExactInverse, Inversion, LocalRank
from harness.plan.decoders import ARTICLE_MLP, LBFGS
from harness.plan.images import Images
from harness.plan.networks import MLP
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record
from harness.verdict.results import Table

SECTION = "Why depth leads to nonunique trivial representations"

NARROW = 0.79
"""The article's narrow width, 2000, over the 2523 elements of its 29 x 29 image."""
WIDE = 1.19
"""Its wide one, 3000."""

C6 = Claim(
    id="C6",
    statement="A layer narrower than the input has no unique reconstruction.",
    section=SECTION,
    source="it appears impossible to make a unique trivial representation of an input of size $a$"
    " with a layer of size $b < a$",
    method="Freshly drawn fully connected networks of two layers (torch's initialisation; "
    "float64, so that precision plays no part) with fewer units than the photograph has "
    "elements. The witness is a direction in the null space of the composed network at the "
    "photograph; no decoder is involved. Small stacks are searched for one that has no second "
    "input. The loss is what L-BFGS and the article's descent for fully connected networks "
    "leave, the floor is what L-BFGS leaves on linear networks; no blur.",
    estimands={
        "witness": exact(
            "A second input at distance 1 has the same output: the outputs differ by at most 100 "
            "machine epsilons of their natural scale.",
            Criterion(effect="residual", label="difference of outputs in epsilons", below=100.0),
        ),
        "stack": exact(
            "Every stack of small matrices with a layer narrower than the input (the first one, "
            "if there are activations between layers) has a second input at distance 1 with the "
            "same output up to 100 machine epsilons.",
            Criterion(
                effect="residual",
                label="difference of outputs of two inputs, in machine epsilons",
                below=100.0,
            ),
        ),
        "loss": event(
            "More than a tenth of the initial distance to the image is left.",
            Criterion(effect="r", label="m_i(T) / m_i(0)", above=0.1),
        ),
        "floor": equivalence(
            "What is left agrees within 0.05 with the share of a random direction that lies in "
            "the null space, sqrt(1 - b/n).",
            effect="excess",
            label="m_i(T) / m_i(0) - sqrt(1 - b/n)",
            centre=0.0,
            margin=0.05,
        ),
    },
    headline="width",
)

C7 = Claim(
    id="C7",
    statement="With layers wider than the input, m_i decays exponentially with iterations, to "
    "almost nothing.",
    section=SECTION,
    source="if we continue to trade the 3000-width model, an exponential decay is still observed "
    "such that very low (0.1) distance is achieved after 200,000 iterations",
    method="Freshly drawn linear networks of two layers, 1.19 times as wide as the photograph has "
    "elements (float64); the article's descent for fully connected networks: L1, no blur, a step "
    "that falls linearly to 0.0001. Each number of iterations is a separate run, since within "
    "one run m_i follows the step.",
    estimands={
        "decay": conjunction(
            "A line through ln m_i over iterations has R^2 above 0.95, and the longest run leaves "
            "less than a hundredth of the initial distance.",
            Criterion(effect="fit", label="R^2 of exponential decay of m_i", above=0.95),
            Criterion(effect="r", label="m_i(T) / m_i(0) of the longest run", below=0.01),
        )
    },
    headline="width",
)

C8 = Claim(
    id="C8",
    statement="With layers narrower than the input, m_i does not fall from 1,000 to 100,000 "
    "iterations while m_g decays exponentially.",
    section=SECTION,
    source="the 2000-width model has no decrease in distance from 1,000 to 100,000 iterations "
    "even as the embedding distance follows an exponential decay",
    method="As C7 (no blur, a separate run for each number of iterations), with networks 0.79 "
    "times as wide as the photograph has elements.",
    estimands={
        "stall": conjunction(
            "m_i falls by less than a factor of 1.05 from 1,000 to 100,000 iterations, and a line "
            "through ln m_g over iterations has R^2 above 0.95.",
            Criterion(
                effect="change",
                label="m_i(100,000) / m_i(1,000)",
                above=-math.log(1.05),
                scale=Scale.LOG,
            ),
            Criterion(effect="fit", label="R^2 of exponential decay of m_g", above=0.95),
        )
    },
    headline="width",
)

C11 = Claim(
    id="C11",
    statement="A reconstruction's output can be nearer to the image's output than the noised "
    "image's is, while the reconstruction itself is farther from the image.",
    section=SECTION,
    source=r"the representation is worse even though it makes as good an approximation of $O(a, "
    r"\theta)$ as $a'$",
    method="Freshly drawn deep fully connected networks, wide enough for the image to be unique "
    "(1.2 n linear, 2.4 n with ReLU; float64); the article's descent for fully connected networks "
    "(no blur).",
    estimands={
        "both": event(
            "m_g < m_r and |a_g - a| > |a' - a| in the same run; the effect is the smaller of m_r "
            "/ m_g and |a_g - a| / |a' - a|.",
            Criterion(
                effect="both",
                label="the smaller of m_r / m_g and m_i / |a' - a|",
                above=0.0,
                scale=Scale.LOG,
                joint=True,
            ),
        )
    },
    headline="disconnect",
)

D1 = Claim(
    id="D1",
    statement="Square linear stacks invert exactly in float64, not in float32.",
    section=SECTION,
    source="it appears that the 32-bit `torch.float` type is insufficient for accurate inversion "
    "for the matricies used above",
    method="Three freshly drawn square layers (torch's initialisation, with biases), solved layer "
    "by layer from the output back to the photograph, in both precisions.",
    estimands={
        "precision": conjunction(
            "The relative error is above 0.01 in float32 and below 0.000001 in float64.",
            Criterion(
                effect="float32",
                label="relative error in float32",
                above=math.log(1e-2),
                scale=Scale.LOG,
            ),
            Criterion(
                effect="float64",
                label="relative error in float64",
                below=math.log(1e-6),
                scale=Scale.LOG,
            ),
        )
    },
    headline="precision",
)


def small_image(lab: Lab) -> Images:
    """A photograph of 192 elements in `quick`, of the article's 2523 in `article`."""
    return lab.photographs(pixels=lab.profile.pick(quick=8, standard=16, article=29))


def tiny_image(lab: Lab) -> Images:
    """A grey photograph of 64 elements for the long runs of `quick`: the condition number, and with
    it the course of a run, depends on the ratio of widths and on depth, not on n."""
    return lab.photographs(
        pixels=lab.profile.pick(quick=8, standard=8, article=29),
        channels=lab.profile.pick(quick=1, standard=3, article=3),
    )


def stack(images: Images, *, ratio: float, depth: int = 2, activation: str = "none") -> MLP:
    """Layers of equal width, `ratio` times the elements of an image."""
    width = round(ratio * images.elements)
    return MLP(inputs=images.elements, widths=(width,) * depth, activation=activation)


@pytest.mark.parametrize("ratio", [0.5, 0.79])
def test_c6_a_second_input_has_the_same_output(lab: Lab, ratio: float) -> None:
    images = small_image(lab)
    lab.judge(
        C6,
        estimand="witness",
        cells=lambda seeds: {
            "witness": LocalRank(seeds=seeds, network=stack(images, ratio=ratio), images=images)
        },
        effects=lambda seen: {
            "residual": seen["witness"].values["witness_residual"],
            "rank / n": seen["witness"].values["rank_share"],
        },
    )


def test_c6_every_narrow_stack_has_a_second_input(lab: Lab) -> None:
    search(lab, C6, "narrow stack", estimand="stack")


@pytest.mark.parametrize("decoder", ["l-bfgs", "article"])
@pytest.mark.parametrize("activation", ["none", "relu", "leaky-relu", "tanh", "sigmoid"])
def test_c6_a_narrow_layer_loses_the_image(lab: Lab, activation: str, decoder: str) -> None:
    lab.judge(
        C6,
        estimand="loss",
        cells=lambda seeds: {
            "reconstruction": narrow_reconstruction(lab, seeds, NARROW, activation, decoder)
        },
        effects=lambda seen: {"r": seen["reconstruction"].values["r"]},
        family="reconstructions from fully connected layers"
        if (activation, decoder) == ("relu", "l-bfgs")
        else None,
    )


@pytest.mark.parametrize("ratio", [0.5, 0.79])
def test_c6_the_loss_is_what_the_null_space_holds(lab: Lab, ratio: float) -> None:
    width = round(ratio * small_image(lab).elements)
    floor = math.sqrt(1 - width / small_image(lab).elements)
    lab.judge(
        C6,
        estimand="floor",
        cells=lambda seeds: {
            "reconstruction": narrow_reconstruction(lab, seeds, ratio, "none", "l-bfgs")
        },
        effects=lambda seen: {"excess": seen["reconstruction"].values["r"] - floor},
    )


def narrow_reconstruction(
    lab: Lab, seeds: ReplicateSeeds, ratio: float, activation: str, decoder: str
) -> Inversion:
    """A reconstruction from a narrow network."""
    images = small_image(lab)
    strong = decoder == "l-bfgs"
    return Inversion(
        seeds=seeds,
        network=stack(images, ratio=ratio, activation=activation),
        images=images,
        decoder=LBFGS() if strong else ARTICLE_MLP,
        iterations=lab.profile.pick(quick=500, standard=1000, article=1000)
        if strong
        else lab.profile.pick(quick=2000, standard=10_000, article=10_000),
        precision="float64",
        batch=BATCH,
    )


LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000)
"""Iterations of the separate runs of C8; C7 has a further one of 200,000, as the article."""


def runs(
    lab: Lab, seeds: ReplicateSeeds, *, ratio: float, lengths: tuple[int, ...] = LENGTHS
) -> dict[str, Inversion]:
    """One run of each length, to the same photograph from the same start."""
    images = tiny_image(lab)
    return {
        str(length): Inversion(
            seeds=seeds,
            network=stack(images, ratio=ratio),
            images=images,
            decoder=ARTICLE_MLP,
            iterations=length,
            precision="float64",
            batch=BATCH,
        )
        for length in lengths
    }


def at_ends(seen: Mapping[str, Record], quantity: str) -> tuple[list[int], list[float]]:
    """The lengths of separate runs, and a quantity at their ends."""
    return [int(length) for length in seen], [record.values[quantity] for record in seen.values()]


def by_length(records: Sequence[Mapping[str, Record]]) -> tuple[Table, ...]:
    """Medians over replicates by the length of a run."""
    lengths = list(records[0]) if records else []
    return (
        Table(
            title="Medians over replicates at the ends of separate runs.",
            columns=("iterations", "m_i(T) / m_i(0)", "m_g / m_r"),
            rows=tuple(
                (
                    int(length),
                    float(np.median([seen[length].values["r"] for seen in records])),
                    float(
                        np.median(
                            [
                                seen[length].values["m_g"] / seen[length].values["m_r"]
                                for seen in records
                            ]
                        )
                    ),
                )
                for length in lengths
            ),
        ),
    )


def test_c7_wide_layers_let_the_input_distance_decay(lab: Lab) -> None:
    lab.judge(
        C7,
        cells=lambda seeds: runs(lab, seeds, ratio=WIDE, lengths=(*LENGTHS, 200_000)),
        effects=lambda seen: {
            "fit": exponential_fit(*at_ends(seen, "m_i")),
            "r": list(seen.values())[-1].values["r"],
            "exponent of a power law": power_fit(*at_ends(seen, "m_i")),
        },
        tables=by_length,
    )


def test_c8_narrow_layers_stop_the_input_distance(lab: Lab) -> None:
    lab.judge(
        C8,
        cells=lambda seeds: runs(lab, seeds, ratio=NARROW),
        effects=lambda seen: {
            "change": log_ratio(seen["100000"].values["m_i"], seen["1000"].values["m_i"]),
            "fit": exponential_fit(*at_ends(seen, "m_g")),
            "exponent of a power law": power_fit(*at_ends(seen, "m_g")),
        },
        tables=by_length,
    )


@pytest.mark.parametrize("depth", [4, 6])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_c11_nearer_in_output_and_farther_in_input(lab: Lab, activation: str, depth: int) -> None:
    images = tiny_image(lab)
    ratio = 2.4 if activation == "relu" else 1.2
    lab.judge(
        C11,
        cells=lambda seeds: {
            "reconstruction": Inversion(
                seeds=seeds,
                network=stack(images, ratio=ratio, depth=depth, activation=activation),
                images=images,
                decoder=ARTICLE_MLP,
                iterations=lab.profile.pick(quick=2000, standard=10_000, article=10_000),
                precision="float64",
                batch=BATCH,
            )
        },
        effects=lambda seen: {
            "both": min(
                log_ratio(
                    seen["reconstruction"].values["m_r"], seen["reconstruction"].values["m_g"]
                ),
                log_ratio(
                    seen["reconstruction"].values["m_i"], seen["reconstruction"].values["m_n"]
                ),
            )
        },
    )


def test_d1_inversion_needs_float64(lab: Lab) -> None:
    sizes = {
        "64": lab.photographs(pixels=8, channels=1),
        "192": lab.photographs(pixels=8),
        "768": lab.photographs(pixels=16),
        "1536": lab.photographs(pixels=32, rows=16),
    }
    decisive = lab.profile.pick(quick="1536", standard="3072", article="3072")
    if decisive == "3072":
        sizes["3072"] = lab.photographs(pixels=32)
    lab.judge(
        D1,
        cells=lambda seeds: {
            size: ExactInverse(
                seeds=seeds,
                network=MLP(inputs=images.elements, widths=(images.elements,) * 3),
                images=images,
            )
            for size, images in sizes.items()
        },
        effects=lambda seen: {
            name: log_ratio(seen[decisive].values[f"error_{name}"], 1.0)
            for name in ("float32", "float64")
        },
        tables=errors_by_size,
        # In `standard` this block would take half as long as all the claims together.
        family=lab.profile.pick(quick=None, standard=None, article="exact inverses"),
    )


def errors_by_size(records: Sequence[Mapping[str, Record]]) -> tuple[Table, ...]:
    """Error against kappa * eps, and the size at which float32 stops being enough."""

    def median(size: str, name: str) -> float:
        return float(np.median([seen[size].values[name] for seen in records]))

    sizes = list(records[0]) if records else []
    too_large = [size for size in sizes if median(size, "error_float32") > 1e-2]
    crossing = f"from {too_large[0]} elements on" if too_large else "at none of these sizes"
    return (
        Table(
            title="Median relative error, and condition number times machine epsilon; in "
            f"float32 it exceeds 0.01 {crossing}.",
            columns=(
                "elements",
                "condition number",
                "float32 kappa * eps",
                "float32 error",
                "float64 kappa * eps",
                "float64 error",
            ),
            rows=tuple(
                (
                    int(size),
                    median(size, "condition"),
                    median(size, "condition") * float(np.finfo(np.float32).eps),
                    median(size, "error_float32"),
                    median(size, "condition") * float(np.finfo(np.float64).eps),
                    median(size, "error_float64"),
                )
                for size in sizes
            ),
        ),
    )
