"""The multiverse around a condition: one choice at a time, and only choices that are possible."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from small_cells import cell, rank

from harness.lab.multiverse import LEVELS, around, levels
from harness.plan.cells import Cell, Inversion
from harness.plan.decoders import LBFGS, Adam, Blur, Decoder, Descent, Whitening
from harness.plan.images import ImageFolder, Images
from harness.plan.networks import MLP, ResNet, WeightsFile
from harness.plan.seeds import ReplicateSeeds

PHOTOGRAPHS = Images(pixels=32)


def reconstruction(decoder: Decoder, **changes: object) -> Inversion:
    made = Inversion(
        seeds=ReplicateSeeds(replicate=0),
        network=ResNet(name="resnet18", layer="layer1"),
        images=PHOTOGRAPHS,
        decoder=decoder,
        iterations=10,
    )
    return dataclasses.replace(made, **changes)


def changes(inversion: Inversion) -> dict[str, list[str]]:
    """The levels that are tried, by factor."""
    found: dict[str, list[str]] = {}
    own = levels(inversion)
    for variation in around({"reconstruction": inversion})[1:]:
        ((factor, level),) = variation.factors.items() - own.items()
        found.setdefault(factor, []).append(level)
    return found


ARTICLE = reconstruction(Descent(priors=(Blur(),)))


def test_the_condition_itself_comes_first() -> None:
    first, *others = around({"reconstruction": ARTICLE})
    assert first.cells == {"reconstruction": ARTICLE}
    assert all(other.cells != first.cells for other in others)


def test_every_factor_is_varied_around_the_articles_descent() -> None:
    assert changes(ARTICLE) == {
        "decoder": ["adam"],  # L-BFGS takes no blur
        "step": ["1/3", "3"],
        "loss": ["l2"],
        "blur": ["none"],
        "start": ["N(0.5, 0.2)"],
        "images": ["dead-leaves"],
        "network": ["resnet50"],
        "precision": ["float64"],
    }


def test_every_cell_says_truly_what_it_is() -> None:
    for variation in around({"reconstruction": ARTICLE}):
        found = variation.cells["reconstruction"]
        assert isinstance(found, Inversion)
        assert {**levels(found), "step": variation.factors["step"]} == variation.factors


@pytest.mark.parametrize(("level", "step"), [("1/3", 0.1 / 3), ("3", 0.3)])
def test_a_step_is_relative_to_the_conditions_own(level: str, step: float) -> None:
    (found,) = (
        v.cells["reconstruction"]
        for v in around({"reconstruction": ARTICLE})
        if v.factors["step"] == level
    )
    assert isinstance(found, Inversion)
    assert isinstance(found.decoder, Descent)
    assert found.decoder.step == pytest.approx(step)


@pytest.mark.parametrize(
    ("inversion", "left_out"),
    [
        (reconstruction(LBFGS()), {"step", "blur"}),
        (
            reconstruction(
                Adam(),
                images=Images(
                    pixels=8, source="folder", folder=ImageFolder(sha256="0", path=Path("a"))
                ),
            ),
            {"images"},
        ),
        (
            reconstruction(
                Adam(),
                network=ResNet(
                    name="resnet18", layer="layer1", weights=WeightsFile(sha256="0", path=Path("a"))
                ),
            ),
            {"network"},
        ),
    ],
)
def test_what_a_condition_cannot_have_is_left_out(inversion: Inversion, left_out: set[str]) -> None:
    assert set(changes(inversion)) == set(LEVELS) - left_out


def test_another_decoder_keeps_loss_priors_and_tolerance() -> None:
    descent = Descent(loss="l1", priors=(Whitening(),), returns="best", tolerance=0.2)
    for variation in around({"reconstruction": reconstruction(descent)}):
        found = variation.cells["reconstruction"]
        assert isinstance(found, Inversion)
        assert found.decoder.tolerance == 0.2
        if variation.factors["decoder"] != "descent":
            assert found.decoder.loss == "l1"
            assert found.decoder.priors == descent.priors


def test_a_stack_is_varied_by_its_initialisation() -> None:
    stack = reconstruction(Descent(), network=MLP(inputs=3072, widths=(64,)))
    assert changes(stack)["network"] == ["gaussian"]


def test_all_inversions_of_a_replicate_change_together_and_nothing_else_does() -> None:
    cells: dict[str, Cell] = {
        "a": ARTICLE,
        "rank": rank(0),
        "b": dataclasses.replace(ARTICLE, iterations=20),
    }
    for variation in around(cells)[1:]:
        assert variation.cells["rank"] == cells["rank"]
        assert variation.cells["a"] != cells["a"]
        assert dataclasses.replace(variation.cells["b"], iterations=10) == variation.cells["a"]


def test_what_inverts_nothing_has_no_multiverse() -> None:
    assert around({"rank": rank(0)}) == ()
    assert around({"reconstruction": cell(0)})


@pytest.mark.parametrize(
    ("other", "varied"),
    [
        # A ladder of decoders compares them: to give all the same one would undo it.
        (reconstruction(LBFGS()), {"start", "images", "network", "precision"}),
        # So does what looks at the same images or network.
        (rank(0), {"decoder", "step", "loss", "blur", "start", "precision"}),
    ],
)
def test_what_roles_are_compared_by_is_not_varied(other: Cell, varied: set[str]) -> None:
    own = reconstruction(Adam())
    found = around({"a": own, "b": other})[1:]
    assert {name for each in found for name, _ in each.factors.items() - levels(own).items()} == (
        varied
    )
