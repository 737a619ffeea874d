"""Exact statements: their examples are what they say, and each can fail."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal
from torch.nn import functional as F

from harness.errors import UnknownNameError
from harness.measurements.exact import networks, operations
from harness.measurements.exact.convolutions import RectifiedConvolution, Scan, Window
from harness.measurements.exact.falsify import falsify
from harness.measurements.exact.maps import Composition, LinearMap, Shift
from harness.measurements.exact.networks import BlockExample, Classifier, Counted
from harness.measurements.exact.operations import Operation, ResidualExample
from harness.measurements.exact.statements import statement, statements
from harness.measurements.exact.witnesses import NarrowStack, PooledConvolution
from harness.measurements.measure import measure
from harness.measurements.measurement import Measurement
from harness.plan.cells import Search
from harness.plan.seeds import ReplicateSeeds
from harness.subjects.blocks import build_block

FALSE = {
    "Conv5 could hold the input",
    "swap, any kernel",
    "residual connection",
    "preimages of square maps",
    "shift as a bound",
    "rank of attention block",
    "rank of transformer block",
    "rank of mixer block",
}
"""Statements that theory or counting contradicts."""


def below(name: str) -> float:
    rounded = ("swap", "null vector", "two inputs", "shift", "rectified", "narrow", "pooled")
    return 100.0 if name.startswith(rounded) else 0.5


@pytest.mark.parametrize("name", statements())
def test_what_is_false_has_a_counterexample_and_what_is_true_has_none(name: str) -> None:
    asked = statement(name)
    found = falsify(
        asked.examples, lambda example: asked.residual(example) < below(name), examples=20, seed=7
    )
    assert (found.counterexample is not None) == (name in FALSE)
    shown = found.counterexample if name in FALSE else found.held[0]
    assert str(shown)
    assert json.loads(json.dumps(dataclasses.asdict(shown), default=str))


def test_an_unknown_statement_is_named() -> None:
    with pytest.raises(UnknownNameError, match="swap, any kernel"):
        statement("swap, any kernl")


def searched(name: str, *, replicate: int = 0) -> Measurement:
    cell = Search(
        seeds=ReplicateSeeds(replicate=replicate), statement=name, examples=25, below=100.0
    )
    (found,) = measure([cell], device="cpu")
    return found


class TestSearches:
    def test_a_counterexample_is_kept_as_text_and_as_json(self) -> None:
        found = searched("swap, any kernel")
        assert found.values["residual"] > 1e12
        kept = Window(**json.loads(found.labels["counterexample as JSON"]))
        assert found.labels["counterexample"] == str(
            dataclasses.replace(kept, weights=tuple(kept.weights), pixels=tuple(kept.pixels))
        )
        # The simplest there is: two pixels, and one weight other than 0.
        assert (len(kept.weights), sorted(map(abs, kept.weights))) == (2, [0, 1])

    def test_what_holds_keeps_its_worst_residual_and_how_many_were_tried(self) -> None:
        found = [searched("null vector", replicate=number) for number in range(3)]
        assert {each.values["tried"] for each in found} == {25}
        assert all(0 < each.values["residual"] < 100 for each in found)
        assert not any("counterexample" in each.labels for each in found)
        # Replicates search elsewhere.
        assert len({each.values["residual"] for each in found}) == 3


def kernels(size: int) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    row = st.tuples(*[st.integers(-3, 3)] * size)
    return st.tuples(*[row] * size)


@given(kernel=kernels(3), side=st.integers(4, 6), stride=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_scan_is_scipys_convolution(
    kernel: tuple[tuple[int, ...], ...], side: int, stride: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 9, (side, side))
    scanned = Scan(kernel, side, stride).matrix() @ image.ravel()
    truth = signal.correlate2d(image, np.array(kernel), mode="full")[::stride, ::stride]
    np.testing.assert_allclose(scanned, truth.ravel())


@given(seed=st.integers(0, 99), side=st.integers(2, 6))
def test_operations_are_torchs(seed: int, side: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side))
    image = torch.from_numpy(pixels).double()[None, None]
    rows = tuple(map(tuple, pixels.tolist()))
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    truth = {
        "max-pool": F.max_pool2d(image, 3, stride=2, padding=1),
        "average-pool": F.avg_pool2d(image, 2),
        "projection": F.conv2d(image, weight, stride=2),
    }
    assert set(truth) == set(operations.OPERATIONS)
    for name, output in truth.items():
        found = Operation(name, rows).output(pixels.astype(float))
        np.testing.assert_allclose(found, output.numpy().ravel())


def test_a_residual_connection_is_inverted_where_its_branch_contracts() -> None:
    contraction = ResidualExample(((2, -4), (1, 3)), (5, -7))
    assert contraction.lipschitz == 0.75
    np.testing.assert_allclose(contraction.recovered(), [5, -7], rtol=1e-12)
    asked = operations.residual_is_not_invertible()
    assert asked.residual(contraction) == 1
    # x + W relu(x) with W = -1 takes every input above 0 to 0.
    assert asked.residual(ResidualExample(((-8,),), (3,))) == 0


def test_preimages_are_counted() -> None:
    # Onto the sum of three bits, then nothing left to lose but the last one.
    assert Composition(2, (((1, 1, 1), (0, 1, 0)), ((1, 0),))).preimages() == (1, 2, 4)
    projection = ((1, 0), (0, 0))
    assert Composition(3, (projection, projection)).preimages() == (1, 3, 3)
    nilpotent = ((0, 1), (0, 0))
    assert Composition(3, (nilpotent, nilpotent)).preimages() == (1, 3, 9)


def test_the_least_distance_is_along_the_first_singular_vector() -> None:
    assert Shift(((3, 0), (0, 1)), (0, 6)).least == pytest.approx(2)
    assert Shift(((3, 0), (0, 1)), (6, 0)).least == pytest.approx(6)
    asked = statement("shift as a bound")
    assert asked.residual(Shift(((3, 0), (0, 1)), (6, 0))) < 100
    assert asked.residual(Shift(((3, 0), (0, 1)), (0, 6))) > 1e12


def test_the_articles_example_would_not_pass_with_other_numbers() -> None:
    asked = statement("contraction example")
    point = falsify(asked.examples, lambda _: True, examples=3).held[-1]
    assert asked.residual(point) == 0
    assert isinstance(point.first, Fraction)


@given(kernel=st.tuples(*[st.integers(-5, 5)] * 3), length=st.integers(2, 8))
def test_the_two_inputs_of_a_rectified_convolution_differ(
    kernel: tuple[int, int, int], length: int
) -> None:
    layer = RectifiedConvolution(kernel, 1, length)
    first, second = layer.two_inputs()
    assert np.abs(second - first).max() > 1e-3
    image = np.zeros(length)
    image[0] = 1
    before = np.convolve(image, kernel[::-1], mode="full")[1 : length + 1]
    np.testing.assert_allclose(layer.linear() @ image, before)


@given(seed=st.integers(0, 99), side=st.integers(2, 6), bias=st.integers(-9, 9))
def test_a_pooled_convolution_is_torchs_and_its_other_image_another(
    seed: int, side: int, bias: int
) -> None:
    rng = np.random.default_rng(seed)
    kernel, pixels = rng.integers(-5, 6, (3, 3)), rng.integers(0, 256, (side, side))
    layer = PooledConvolution(
        tuple(map(tuple, kernel.tolist())), bias, tuple(map(tuple, pixels.tolist()))
    )
    image = torch.from_numpy(pixels).double()[None, None]
    convolved = F.conv2d(image, torch.from_numpy(kernel).double()[None, None], padding=1) + bias
    truth = F.max_pool2d(convolved.clamp(min=0), 3, stride=2, padding=1)
    np.testing.assert_allclose(layer.output(pixels.astype(float)), truth.numpy().ravel())
    assert np.abs(layer.other() - pixels).max() > 1e-3


@given(stack=statement("narrow stack").examples)
def test_the_two_inputs_of_a_narrow_stack_are_one_apart(stack: NarrowStack) -> None:
    assert np.linalg.norm(stack.other() - stack.input) == pytest.approx(1)
    assert stack.output(np.array(stack.input, dtype=float)).shape == (len(stack.maps[-1]),)


def test_a_narrow_layer_after_a_wide_rectified_one_may_tell_the_origin() -> None:
    wide = ((1, 0), (-1, 0), (0, 1), (0, -1))
    stack = NarrowStack("relu", (wide, ((1, 1, 1, 1),)), (0, 0))
    angles = np.linspace(0, 2 * np.pi, 50)
    outputs = [stack.output(np.array([np.cos(angle), np.sin(angle)])) for angle in angles]
    assert np.min(outputs) >= 1 - 1e-12
    assert stack.output(np.zeros(2)) == 0


class TestNetworks:
    def test_conv5_of_resnet50_at_the_articles_size(self) -> None:
        counted = Counted("resnet50", 299)
        assert counted.inputs == 268_203
        assert counted.outputs() == (2048, 10, 10)

    def test_a_classifiers_rank_is_bounded_by_any_of_its_layers(self) -> None:
        assert Classifier(10, (4, 20), 9, 3).rank() <= 4
        assert Classifier(10, (60,), 3, 3).rank() == 3

    @pytest.mark.parametrize("name", ["attention", "transformer", "mixer"])
    def test_a_block_that_is_given_a_null_space_is_found_out(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        block = BlockExample(name, tokens=3, channels=4, heads=2, seed=5)
        assert block.rank() == 12
        real = build_block

        def blind(*arguments, **named):  # type: ignore[no-untyped-def]
            module = real(*arguments, **named)
            module.register_forward_pre_hook(
                lambda _, inputs: inputs[0] * torch.tensor([0.0, 1, 1, 1], dtype=torch.float64)
            )
            return module

        monkeypatch.setattr(networks, "build_block", blind)
        assert block.rank() == 9
        assert statement(f"rank of {name} block").residual(block) == 0

    def test_attention_is_that_of_the_textbook(self) -> None:
        block = build_block("attention", tokens=3, channels=4, heads=1, seed=0)
        attend = block.attend
        tokens = torch.randn(1, 3, 4, dtype=torch.float64)
        q, k, v = (tokens @ attend.in_proj_weight.T + attend.in_proj_bias).chunk(3, dim=2)
        mixed = torch.softmax(q @ k.mT / 4**0.5, dim=2) @ v
        truth = mixed @ attend.out_proj.weight.T + attend.out_proj.bias
        torch.testing.assert_close(block(tokens), truth)


def test_a_matrix_with_as_many_outputs_as_inputs_need_not_have_a_null_vector() -> None:
    assert statement("null vector").residual(LinearMap(((1, 0), (0, 1)))) > 1e12
