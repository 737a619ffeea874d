"""What a GPU has to show; `make cuda` runs these tests and all others that need one.

Where a test says nothing of GPUs alone it runs on the CPU as well, so that it has been run.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from graphs import (
    NEEDS_GPU,
    any_device,  # noqa: F401  (a fixture)
    stand_in,  # noqa: F401  (a fixture)
)
from inversion_cases import (
    CELLS,
    CPU,
    DECODERS,
    measured_by,
    named,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case_by,
)
from networks import lively_resnet
from torch import Tensor, nn

from harness.encoders.runtime import precision_of
from harness.execution.device import resolve_device
from harness.inversion import loop
from harness.inversion.steppers import Eager, Graphed, InPlace
from harness.measurements.measure import measure
from harness.plan.cells import Inversion, block
from harness.plan.decoders import Decoder, Descent
from harness.plan.images import Images
from harness.plan.networks import MLP, RESNET_LAYERS, ResNet, Training
from harness.plan.seeds import ReplicateSeeds
from harness.subjects.resnet import encoder_of, initial_resnet
from harness.subjects.training.fit import fit

CUDA = torch.device("cuda")


def test_a_gpu_is_found_without_torch_where_torch_finds_one() -> None:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto") == found


class TestPathsOfOneGradient:
    """Autograd, the compiled plan and a replayed graph agree on a gradient."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("where", "layer"),
        [
            ("cpu", "stem"),
            *(pytest.param("cuda", layer, marks=NEEDS_GPU) for layer in RESNET_LAYERS),
        ],
    )
    def test_they_agree(self, where: str, layer: str, request: pytest.FixtureRequest) -> None:
        place = torch.device(where)
        if place == CPU:
            request.getfixturevalue("graphs")
        network = lively_resnet("resnet18")
        exact = encoder_of(network, layer=layer, dtype=torch.float64, device=CPU)
        image, goal = (normal(4, 3, 32, 32, seed=seed) for seed in (1, 2))
        target = exact.encode(goal)
        output, vjp = exact.vjp(image)
        truth = vjp(output - target)

        program = encoder_of(network, layer=layer, dtype=torch.float32, device=place)
        image, target = (each.to(place, torch.float32) for each in (image, target))

        def by_autograd(module: nn.Module) -> Tensor:
            leaf = image.clone().requires_grad_()
            output = module(leaf)
            (gradient,) = torch.autograd.grad(output, leaf, output.detach() - target)
            return gradient

        def by_program() -> Tensor:
            output, vjp = program.vjp(image)
            assert program.path == "compiled plan"
            return vjp(output - target)

        def agree(gradient: Tensor) -> None:
            difference = (gradient.double().cpu() - truth).flatten(1).norm(dim=1)
            off = difference / truth.flatten(1).norm(dim=1)
            # TF32 would move it by 1e-3.
            assert float(off.min()) < 1e-4
            # A unit within rounding of its kink moves the gradient of its sample by far more.
            assert float(off.max()) < 0.05

        with precision_of("float32", device=place):
            for path in (by_program, functools.partial(by_autograd, program.module)):
                found = path()
                agree(found)
                assert torch.equal(replayed(path, device=place), found)


def replayed(path: Callable[[], Tensor], *, device: torch.device) -> Tensor:
    """What a graph of a computation comes to."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            path()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = path()
    graph.replay()
    return found


class TestCells:
    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_one_seed_gives_one_result_to_the_bit(
        self, cell: Inversion, device: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, again = (measured_by(Graphed, cell, monkeypatch, device=device) for _ in range(2))
        assert first == again

    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_a_step_in_float64_is_that_of_the_plain_loop_on_a_cpu(
        self, cell: Inversion, device: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = dataclasses.replace(cell, precision="float64", iterations=1)
        found = {}
        for kind, place in ((Eager, CPU), (Graphed, device)):
            monkeypatch.setattr(loop, "drive", kind)
            found[kind] = measure([one], device=place.type)[0]
        assert found[Graphed].outcome == found[Eager].outcome
        for name, value in found[Eager].values.items():
            close = pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True)
            assert found[Graphed].values[name] == close, name

    @pytest.mark.parametrize("network", ["relu", "resnet18 layer2"])
    def test_each_precision_rounds_as_it_says(self, network: str, device: torch.device) -> None:
        cell = next(cell for cell in CELLS if named(cell).startswith(network))

        def first(precision: str) -> float:
            one = dataclasses.replace(cell, precision=precision, iterations=1)
            return measure([one], device=device.type)[0].values["m_g0"]

        off = {name: abs(first(name) / first("float64") - 1) for name in ("float32", "bf16")}
        assert off["float32"] < 1e-5
        assert 1e-6 < off["bf16"] < 1e-1


class TestTF32:
    pytestmark = NEEDS_GPU

    @pytest.mark.parametrize("what", ["product", "convolution"])
    def test_it_is_used_where_it_is_asked_for_and_nowhere_else(self, what: str) -> None:
        if torch.cuda.get_device_capability() < (8, 0):
            pytest.skip("TF32 needs a GPU of 2020 or later")
        if what == "product":
            left, right = (normal(1024, 1024, seed=seed).to(CUDA) for seed in (1, 2))
            work: Callable[[Tensor, Tensor], Tensor] = torch.mm
        else:
            left, right = (
                normal(*shape, seed=seed).to(CUDA)
                for seed, shape in ((1, (8, 64, 56, 56)), (2, (64, 64, 3, 3)))
            )
            work = torch.nn.functional.conv2d
        truth = work(left, right)
        off = {}
        for name in ("float32", "tf32"):
            with precision_of(name, device=CUDA):
                found = work(left.float(), right.float())
            off[name] = float((found - truth).norm() / truth.norm())
        # Ten bits of a mantissa against 23, of which Winograd's convolutions lose a few.
        assert off["float32"] < 5e-5 < off["tf32"] < 1e-2

    @pytest.mark.parametrize("cell", CELLS[:1] + CELLS[-1:], ids=named)
    def test_cells_are_measured_in_it(self, cell: Inversion) -> None:
        one = dataclasses.replace(cell, iterations=1)
        exact, found = (
            measure([dataclasses.replace(one, precision=name)], device="cuda")[0]
            for name in ("float64", "tf32")
        )
        assert found.values["m_g0"] == pytest.approx(exact.values["m_g0"], rel=1e-2)


class TestReplays:
    def test_weights_stay_where_a_graph_reads_them(self, device: torch.device) -> None:
        """Whatever becomes of their owner, and whoever asks for memory."""
        driven: list[Graphed[Any]] = []

        class Keeping(Graphed[Any]):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                driven.append(self)

        cell = next(cell for cell in CELLS if named(cell).startswith("resnet18 layer2"))
        points = []
        for spoil in (False, True):
            with pytest.MonkeyPatch.context() as patch, precision_of("float32", device=device):
                patch.setattr(loop, "drive", Keeping)
                measure([cell], device=device.type)
                if spoil:
                    gc.collect()
                    _ = [torch.full((2**18,), 7.0, device=device) for _ in range(64)]
                for _ in range(3):
                    driven[-1].step()
                points.append(driven[-1].state.point.clone())
        assert torch.equal(*points)

    @pytest.mark.filterwarnings("ignore:Synchronization debug mode")
    @pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
    def test_no_step_waits_for_the_device(
        self, decoder: Decoder, device: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = []

        class Watched(InPlace[Any]):
            def note(self) -> None:
                with unwaiting(device):
                    super().note()

            def step(self) -> None:
                with unwaiting(device):
                    super().step()
                steps.append(1)

        run_case_by(Watched, decoder, monkeypatch, iterations=3, device=device)
        assert steps


class unwaiting:  # noqa: N801  (a context)
    """Lets torch fail where it would wait for a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"

    def __enter__(self) -> None:
        if self._gpu:
            torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *_: object) -> None:
        if self._gpu:
            torch.cuda.set_sync_debug_mode("default")


class TestMemory:
    pytestmark = NEEDS_GPU

    @pytest.fixture
    def room(self) -> Iterator[Callable[[int], None]]:
        """Leaves so many bytes of the GPU's memory to this process."""

        def leave(size: int) -> None:
            gc.collect()
            torch.cuda.empty_cache()
            whole = torch.cuda.get_device_properties(CUDA).total_memory
            share = (torch.cuda.memory_reserved() + size) / whole
            torch.cuda.set_per_process_memory_fraction(min(share, 1.0))

        yield leave
        torch.cuda.set_per_process_memory_fraction(1.0)

    def test_a_block_that_does_not_fit_is_measured_in_parts(
        self, room: Callable[[int], None]
    ) -> None:
        cells = block(
            Inversion(
                seeds=ReplicateSeeds(replicate=0),
                network=MLP(inputs=48, widths=(3000, 3000), activation="relu"),
                images=Images(pixels=4, source="dead-leaves"),
                decoder=Descent(),
                iterations=2,
                batch=8,
                precision="float64",
            )
        )
        measure(cells[:1], device="cuda")  # libraries take memory of their own at first
        whole = measure(cells, device="cuda")
        # Weights of a network take 72 MB, and as much again transposed.
        room(700 * 2**20)
        parts = measure(cells, device="cuda")
        for one, other in zip(whole, parts, strict=True):
            assert "memory" not in one.labels
            assert other.labels["memory"] in {f"{number} at a time" for number in (4, 2, 1)}
            assert other.values["m_i"] == pytest.approx(one.values["m_i"], rel=1e-6)

    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_all_of_it_is_given_back(self, cell: Inversion) -> None:
        measure([cell], device="cuda")
        gc.collect()
        gc.disable()
        try:
            before = torch.cuda.memory_allocated()
            for _ in range(3):
                measure([cell], device="cuda")
            # Workspaces of libraries may come and stay.
            assert torch.cuda.memory_allocated() <= before + 2**25
        finally:
            gc.enable()


def test_a_network_is_trained_on_the_device_and_ends_on_the_cpu(device: torch.device) -> None:
    training = Training(content="noise", classes=4, images=32, pixels=16, epochs=3, batch=16)
    network = ResNet(name="resnet18", layer="layer4", width_multiplier=1 / 16, training=training)
    whole = initial_resnet(network, seed=1)
    with precision_of("float32", device=device):
        found = fit(whole, training, seed=1, device=device)
    assert len(found.losses) == 3
    assert not found.diverged
    assert all(value.device == CPU for value in whole.state_dict().values())
