"""Measurements of whole cells: what they hold, that seeds decide them, and planted answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.encoders.encoder import AffineEncoder
from harness.measurements.measure import measure
from harness.measurements.measurement import Measurement
from harness.plan.cells import ActiveUnits, Cell, ExactInverse, Inversion, LocalRank, block
from harness.plan.decoders import LBFGS, Adam, Decoder, Descent
from harness.plan.images import Images, Start
from harness.plan.networks import INITIALISATIONS, MLP, ResNet, WeightsFile
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.generators import torch_generator
from harness.subjects.images.originals import draw_original
from harness.subjects.images.starts import draw_noise, draw_starts
from harness.subjects.mlp import draw_layers
from harness.subjects.networks import build_encoder
from harness.subjects.resnet import build_resnet

IMAGES = Images(pixels=4, source="dead-leaves")


def inversion(
    replicate: int = 0,
    *,
    decoder: Decoder = Descent(),  # noqa: B008  (frozen)
    **changes: object,
) -> Inversion:
    cell = Inversion(
        seeds=ReplicateSeeds(replicate=replicate),
        network=MLP(inputs=48, widths=(60, 48), activation="relu"),
        images=IMAGES,
        decoder=decoder,
        iterations=20,
    )
    return dataclasses.replace(cell, **changes)  # type: ignore[arg-type]


def bare(measurement: Measurement) -> str:
    """All numbers of a measurement but its time; repr shows every digit."""
    images = {name: image.tobytes() for name, image in measurement.images.items()}
    return repr((dataclasses.replace(measurement, seconds=0.0, images={}), images))


def one(cell: Cell) -> Measurement:
    (found,) = measure([cell], device="cpu")
    return found


CELLS: list[Cell] = [
    inversion(),
    inversion(decoder=Adam(), precision="float64"),
    inversion(decoder=LBFGS()),
    ExactInverse(
        seeds=ReplicateSeeds(replicate=0), network=MLP(inputs=48, widths=(48, 48)), images=IMAGES
    ),
    ActiveUnits(seeds=ReplicateSeeds(replicate=0), images=IMAGES),
    LocalRank(
        seeds=ReplicateSeeds(replicate=0), network=MLP(inputs=48, widths=(40,)), images=IMAGES
    ),
]


class TestSeeds:
    @pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
    def test_one_seed_gives_one_result_to_the_bit(self, cell: Cell) -> None:
        torch.manual_seed(1)
        first = one(cell)
        torch.manual_seed(2)
        np.random.seed(3)  # noqa: NPY002  (nothing may depend on global generators)
        assert bare(one(cell)) == bare(first)
        other = dataclasses.replace(cell, seeds=ReplicateSeeds(replicate=1))
        assert bare(one(other)) != bare(first)

    @settings(max_examples=25, deadline=None)
    @given(replicates=st.lists(st.integers(0, 10**6), min_size=2, max_size=2, unique=True))
    def test_everything_drawn_is_drawn_anew_for_each_replicate(self, replicates: list[int]) -> None:
        for seeds in (
            lambda which: draw_original(IMAGES, which)[0],
            lambda which: draw_starts(Start(), IMAGES, which),
            lambda which: draw_noise(0.04, IMAGES, which),
            lambda which: torch.rand(5, generator=torch_generator(which, Source.WEIGHTS)),
        ):
            first, again, other = (
                seeds(ReplicateSeeds(replicate=number))
                for number in (*replicates[:1] * 2, replicates[1])
            )
            assert torch.equal(first, again)
            assert not torch.equal(first, other)

    def test_start_and_noise_have_the_laws_that_are_asked_for(self) -> None:
        images = Images(pixels=64)
        (start,) = draw_starts(Start(), images, ReplicateSeeds(replicate=0))
        noise = draw_noise(1 / 18, images, ReplicateSeeds(replicate=0))
        for values, mean, sd in ((start, 0.7, 0.05), (noise, 0.0, 1 / 18)):
            n = values.numel()
            assert values.dtype == torch.float64
            assert float(values.mean()) == pytest.approx(mean, abs=4 * sd / n**0.5)
            assert float(values.std()) == pytest.approx(sd, rel=4 / (2 * n) ** 0.5)
        assert abs(float(torch.corrcoef(torch.stack([start, noise]).flatten(1))[0, 1])) < 0.05

    def test_dtypes_and_decoders_share_their_draws(self) -> None:
        first, second = one(inversion()), one(inversion(decoder=Adam(), precision="float64"))
        for name in ("target", "noised"):
            np.testing.assert_array_equal(first.images[name], second.images[name])
        np.testing.assert_array_equal(
            first.images["start"].astype(np.float32), second.images["start"].astype(np.float32)
        )
        assert first.values["m_g0"] == pytest.approx(second.values["m_g0"], rel=1e-5)

    def test_rows_and_channels_are_cut_as_asked(self) -> None:
        whole, _ = draw_original(Images(pixels=6), ReplicateSeeds(replicate=0))
        upper, _ = draw_original(Images(pixels=6, rows=2), ReplicateSeeds(replicate=0))
        grey, _ = draw_original(Images(pixels=6, channels=1), ReplicateSeeds(replicate=0))
        assert torch.equal(upper, whole[:, :2])
        torch.testing.assert_close(grey, whole.mean(dim=0, keepdim=True))


class TestInversions:
    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_values_are_those_of_the_trace_and_of_the_images(self, precision: str) -> None:
        found = one(inversion(precision=precision))
        values, traces, images = found.values, found.traces, found.images
        assert {len(trace) for trace in traces.values()} == {len(traces["iteration"])}
        assert traces["iteration"][0] == 0
        assert traces["iteration"][-1] == 20
        for name in ("m_g", "m_i"):
            assert values[name] == traces[name][-1]
            assert values[f"{name}0"] == traces[name][0]
        assert values["m_i_half"] == traces["m_i"][traces["iteration"].index(10.0)]
        assert values["r"] == values["m_i"] / values["m_i0"]

        def apart(first: str, second: str) -> float:
            return float(np.linalg.norm(images[first] - images[second]))

        assert values["m_i"] == pytest.approx(apart("reconstruction", "target"), rel=1e-5)
        assert values["m_i0"] == pytest.approx(apart("start", "target"), rel=1e-5)
        assert values["m_n"] == pytest.approx(apart("noised", "target"), rel=1e-5)
        assert {image.shape for image in images.values()} == {(3, 4, 4)}
        assert found.seconds > 0
        assert found.labels == {"image": "dead leaves", "termination_reason": "length"}

    @settings(max_examples=6, deadline=None)
    @given(replicate=st.integers(0, 11), decoder=st.sampled_from([Descent(), Adam(), LBFGS()]))
    def test_a_step_does_not_depend_on_the_block(self, replicate: int, decoder: Decoder) -> None:
        cell = inversion(replicate, decoder=decoder, iterations=1, precision="float64")
        together = measure(block(dataclasses.replace(cell, batch=12)), device="cpu")[replicate]
        alone = one(cell)
        assert together.outcome == alone.outcome
        assert together.labels == alone.labels
        np.testing.assert_allclose(
            together.images["reconstruction"], alone.images["reconstruction"], rtol=1e-12
        )
        for name, value in alone.values.items():
            assert together.values[name] == pytest.approx(value, rel=1e-11, nan_ok=True)

    def test_not_a_number_in_a_weights_file_is_a_status(self, tmp_path: Path) -> None:
        state = build_resnet(ResNet(name="resnet18", layer="conv1"), seed=1).state_dict()
        state["conv1.weight"][0, 0, 0, 0] = torch.nan
        path = tmp_path / "w.pt"
        torch.save(state, path)
        found = one(
            inversion(
                network=ResNet(name="resnet18", layer="conv1", weights=WeightsFile.of(path)),
                images=Images(pixels=32, source="dead-leaves"),
                iterations=2,
            )
        )
        assert found.outcome == "non-finite"


class TestPlantedAnswers:
    @pytest.mark.parametrize("depth", [1, 3])
    def test_an_orthogonal_stack_is_inverted_to_round_off(self, depth: int) -> None:
        network = MLP(inputs=48, widths=(48,) * depth, initialisation="orthogonal")
        exact = one(ExactInverse(seeds=ReplicateSeeds(replicate=0), network=network, images=IMAGES))
        assert exact.values["condition"] == pytest.approx(1, rel=1e-12)
        assert exact.values["error_float64"] < 1e-14
        assert 1e-9 < exact.values["error_float32"] < 1e-5
        found = one(inversion(network=network, decoder=LBFGS(), precision="float64"))
        assert found.outcome == "matched"
        assert found.values["r"] < 1e-13

    @settings(max_examples=10, deadline=None)
    @given(replicate=st.integers(0, 10**6), width=st.integers(20, 44))
    def test_a_narrow_layer_leaves_its_null_space(self, replicate: int, width: int) -> None:
        network = MLP(inputs=48, widths=(width,), initialisation="orthogonal")
        floor = one(
            LocalRank(seeds=ReplicateSeeds(replicate=replicate), network=network, images=IMAGES)
        )
        assert floor.values["rank"] == width
        assert floor.values["witness_residual"] < 100
        found = one(
            inversion(
                replicate, network=network, decoder=LBFGS(), precision="float64", iterations=30
            )
        )
        # The same replicate: the same network, image and start.
        assert found.values["r"] == pytest.approx(floor.values["floor"], rel=1e-9)

    @settings(max_examples=10, deadline=None)
    @given(replicate=st.integers(0, 10**6))
    def test_the_condition_and_errors_are_those_of_numpy(self, replicate: int) -> None:
        seeds = ReplicateSeeds(replicate=replicate)
        network = MLP(inputs=12, widths=(12, 12), initialisation="gaussian")
        cell = ExactInverse(
            seeds=seeds, network=network, images=Images(pixels=2, source="dead-leaves")
        )
        found = one(cell).values
        encoder = build_encoder(network, [seeds], dtype=torch.float64, device=torch.device("cpu"))
        assert isinstance(encoder, AffineEncoder)
        condition = np.linalg.cond(encoder.matrix[0].numpy())
        assert found["condition"] == pytest.approx(condition, rel=1e-6)
        # Layer by layer each solve loses its own layer's condition at most.
        assert found["error_float64"] < 1e-12 * condition**2
        assert found["error_float64"] < found["error_float32"]

    @pytest.mark.parametrize("initialisation", INITIALISATIONS[:2])
    def test_units_are_counted_until_enough_are_active(self, initialisation: str) -> None:
        cell = ActiveUnits(
            seeds=ReplicateSeeds(replicate=0), images=IMAGES, initialisation=initialisation
        )
        found = one(cell).values
        # Among m units about half are active: m is near 2 n, give or take sqrt(2 n).
        n = IMAGES.elements
        assert found["needed"] == pytest.approx(2, abs=5 * (2 * n) ** 0.5 / n)
        for ratio in cell.ratios:
            enough = int(ratio * n) >= round(found["needed"] * n)
            assert found[f"enough_{ratio:g}"] == float(enough)

    def test_a_relu_keeps_the_rank_of_its_active_units(self) -> None:
        network = MLP(inputs=48, widths=(60, 48), activation="relu")
        cell = LocalRank(seeds=ReplicateSeeds(replicate=3), network=network, images=IMAGES)
        found = one(cell).values
        image, _ = draw_original(IMAGES, cell.seeds)
        first, second = draw_layers(
            network, generators=[torch_generator(cell.seeds, Source.WEIGHTS)]
        )
        truth = torch.autograd.functional.jacobian(
            lambda x: second.matrix[0] @ torch.relu(first.matrix[0] @ x + first.offset[0]),
            image.flatten(),
        )
        assert found["rank"] == np.linalg.matrix_rank(truth.numpy()) < 48
        assert found["rank_share"] == found["rank"] / 48
