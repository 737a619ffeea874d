"""Precisions: what they compute in, the flags that they set and give back, what they refuse."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness import checkpoint as module
from harness.checkpoint import Checkpoint
from harness.encoders.adapters import Cast, Reshaped
from harness.encoders.encoder import ModuleEncoder
from harness.encoders.network import NetworkEncoder
from harness.encoders.runtime import precision_of
from harness.errors import DeviceError
from harness.inversion import restarts as starts
from harness.measurements.measure import measure
from harness.plan.cells import Inversion, block
from harness.plan.decoders import LBFGS, Adam, Blur, Decoder, Descent, Prior, Whitening
from harness.plan.images import Images
from harness.plan.networks import MLP, Network, ResNet
from harness.plan.seeds import ReplicateSeeds
from harness.subjects.images.starts import draw_starts

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

CELL = Inversion(
    seeds=ReplicateSeeds(replicate=0),
    network=MLP(inputs=16, widths=(24, 20), activation="relu"),
    images=Images(pixels=4, channels=1, source="dead-leaves"),
    decoder=Adam(rate=0.05),
    iterations=60,
)


IEEE = ("ieee", "ieee", "ieee", "ieee", "ieee", True, False, False)
TF32 = ("tf32", "tf32", "tf32", "ieee", "ieee", True, False, False)


def flags() -> tuple[object, ...]:
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cudnn.rnn.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
        torch.backends.mkldnn.conv.fp32_precision,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
    )


@pytest.fixture
def left_as_found() -> Iterator[None]:
    """Flags as they were before a test that sets some."""
    backends = torch.backends
    cudnn, onednn = backends.cudnn, backends.mkldnn
    places = (backends, backends.cuda.matmul, cudnn.conv, cudnn.rnn, onednn.matmul, onednn.conv)
    before = [place.fp32_precision for place in places]
    benchmark = torch.backends.cudnn.benchmark
    yield
    for place, value in zip(places, before, strict=True):
        place.fp32_precision = value
    torch.backends.cudnn.benchmark = benchmark


class TestFlags:
    @pytest.mark.parametrize("name", ["float32", "float64", "bf16"])
    @pytest.mark.parametrize("device", [CPU, CUDA])
    @pytest.mark.usefixtures("left_as_found")
    def test_ieee_arithmetic_is_asked_for_and_the_flags_are_given_back(
        self, name: str, device: torch.device
    ) -> None:
        torch.backends.cudnn.benchmark = True
        before = flags()
        assert before[1] == "tf32"
        with precision_of(name, device=device):
            assert flags() == IEEE
        assert flags() == before

    @pytest.mark.usefixtures("left_as_found")
    def test_whatever_products_inherit_they_are_ieee(self) -> None:
        torch.backends.fp32_precision = "tf32"
        for device in (CPU, CUDA):
            with precision_of("float32", device=device):
                assert flags() == IEEE

    @pytest.mark.filterwarnings("ignore:Please use the new API settings")  # older versions of torch
    @pytest.mark.usefixtures("left_as_found")
    def test_either_interface_of_torch_may_have_been_used_before(self) -> None:
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        # The older one now tells nothing any more.
        with pytest.raises(RuntimeError, match="mix of the legacy and new"):
            _ = torch.backends.cudnn.allow_tf32
        before = flags()
        with precision_of("float32", device=CUDA):
            assert flags() == IEEE
        assert flags() == before

    @pytest.mark.filterwarnings("ignore:Please use the new API settings")
    def test_whoever_uses_the_older_interface_afterwards_can(self) -> None:
        with precision_of("tf32", device=CUDA):
            pass
        assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32

    def test_tf32_is_for_gpus(self) -> None:
        with precision_of("tf32", device=CUDA):
            assert flags() == TF32
        with (
            pytest.raises(DeviceError, match="TF32 is a way in which GPUs multiply"),
            precision_of("tf32", device=CPU),
        ):
            pass

    def test_flags_are_given_back_after_an_error_too(self) -> None:
        before = flags()
        with pytest.raises(ZeroDivisionError), precision_of("tf32", device=CUDA):
            raise ZeroDivisionError
        assert flags() == before


class TestMeasured:
    def test_bf16_is_of_the_network_alone(self) -> None:
        seen: list[torch.dtype] = []

        class Spy(nn.Module):
            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                seen.append(inputs.dtype)
                return 2 * inputs

        encoder = Cast(ModuleEncoder(Spy()), inside=torch.bfloat16, outside=torch.float32)
        output, vjp = encoder.vjp(torch.ones(1, 3))
        assert seen == [torch.bfloat16]
        gradient = vjp(output)
        assert output.dtype == gradient.dtype == torch.float32
        assert bool((gradient == 4).all())
        assert encoder.encode(torch.ones(1, 3)).dtype == torch.float32


def fail_with(error: Exception) -> None:
    raise error


def fail_in_capture(error: Exception) -> None:
    """The end of a capture fails as well, since what failed in it made it invalid."""
    try:
        raise error
    finally:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


class TestMemory:
    """Out of memory, as CUDA tells it: the block is measured in halves, or the starts of its one
    image are, and the result says so."""

    def fit(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        at_most: int,
        fail: Callable[[], None] = lambda: fail_with(torch.OutOfMemoryError("CUDA out of memory")),
    ) -> list[int]:
        sizes: list[int] = []
        real = starts.run

        def run(method, *, start, **rest):  # type: ignore[no-untyped-def]
            sizes.append(len(start))
            if len(start) > at_most:
                fail()
            return real(method, start=start, **rest)

        monkeypatch.setattr(starts, "run", run)
        return sizes

    def test_halves_until_it_fits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cell = dataclasses.replace(CELL, batch=5, precision="float64")
        whole = measure(block(cell), device="cpu")
        sizes = self.fit(monkeypatch, at_most=2)
        split = measure(block(cell), device="cpu")
        assert sizes == [5, 3, 2, 1, 2]
        told = [int(found.labels["memory"].split()[0]) for found in split]
        assert told == [2, 2, 1, 2, 2]
        for one, other in zip(whole, split, strict=True):
            assert one.values["m_i"] == pytest.approx(other.values["m_i"], rel=1e-9)
            assert "memory" not in one.labels

    @pytest.mark.parametrize(
        ("fail", "sizes"),
        [
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), [2, 1, 1]),
            (RuntimeError("CUDA error: out of memory"), [2, 1, 1]),
            (RuntimeError("CUDA error: an illegal memory access"), [2]),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("raised", [fail_with, fail_in_capture])
    def test_errors_of_memory_are_told_from_others(
        self,
        raised: Callable[[Exception], None],
        fail: Exception,
        sizes: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        found = self.fit(monkeypatch, at_most=1, fail=lambda: raised(fail))
        with contextlib.nullcontext() if sizes[1:] else pytest.raises(RuntimeError):
            measure(block(dataclasses.replace(CELL, batch=2)), device="cpu")
        assert found == sizes

    def test_the_encoder_that_did_not_fit_is_freed_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def encoders() -> list[NetworkEncoder]:
            return [one for one in gc.get_objects() if type(one) is NetworkEncoder]

        before, held = encoders(), []

        def count() -> None:
            held.append(len(encoders()) - len(before))

        def fail() -> None:
            count()
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(torch.cuda, "empty_cache", count)
        self.fit(monkeypatch, at_most=1, fail=fail)
        cell = dataclasses.replace(
            CELL,
            network=ResNet(name="resnet18", layer="conv1"),
            images=Images(pixels=16),
            iterations=2,
            restarts=2,
        )
        measure([cell], device="cpu")
        assert held == [1, 0]

    def test_one_image_that_does_not_fit_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fit(monkeypatch, at_most=0)
        for cell in (CELL, dataclasses.replace(CELL, restarts=3)):
            with pytest.raises(DeviceError):
                measure([cell], device="cpu")

    @pytest.mark.parametrize(
        ("network", "pixels", "decoder"),
        [
            (CELL.network, 4, Descent(loss="l2", priors=(Blur(),))),
            (CELL.network, 4, LBFGS(tolerance=0.05)),
            (ResNet(name="resnet18", layer="conv1"), 32, Descent(loss="l2", step=0.01)),
        ],
    )
    def test_one_image_is_recovered_from_some_starts_after_others(
        self, network: Network, pixels: int, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cell = dataclasses.replace(
            CELL,
            network=network,
            images=dataclasses.replace(CELL.images, pixels=pixels, channels=1 + 2 * (pixels > 4)),
            decoder=decoder,
            iterations=8,
            precision="float64",
            restarts=5,
        )
        (whole,) = measure([cell], device="cpu")
        sizes = self.fit(monkeypatch, at_most=2)
        (split,) = measure([cell], device="cpu")
        assert sizes == [5, 3, 2, 2, 1]
        assert split.labels == {"memory": "2 starts at a time", **whole.labels}
        assert (split.outcome, split.values.keys()) == (whole.outcome, whole.values.keys())
        for name, value in whole.values.items():
            assert split.values[name] == pytest.approx(value, rel=1e-7, nan_ok=True)
        for name, image in whole.images.items():
            assert split.images[name] == pytest.approx(image, rel=1e-7)
        assert "apart_start" in whole.values

    def test_parts_of_the_starts_go_on_from_what_is_theirs(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cell = dataclasses.replace(CELL, precision="float64", restarts=4, iterations=8)
        (whole,) = measure([cell], device="cpu")
        monkeypatch.setattr(module, "SHARE", float("inf"))
        checkpoint = Checkpoint(tmp_path / "run.safetensors", interval=0.0)
        for at_most in (2, 1, 2):
            with monkeypatch.context() as patch:
                self.fit(patch, at_most=at_most)
                (split,) = measure([cell], device="cpu", checkpoint=checkpoint)
            for name, value in whole.values.items():
                assert split.values[name] == pytest.approx(value, rel=1e-7, nan_ok=True)
        checkpoint.remove()
        assert list(tmp_path.iterdir()) == []


class TestRestarts:
    def test_the_best_of_several_is_kept_and_the_spread_told(self) -> None:
        cell = dataclasses.replace(CELL, precision="float64", restarts=4, iterations=15)
        (found,) = measure([cell], device="cpu")
        assert found.values["m_g"] < found.values["m_g_largest"]
        assert found.values["m_i_least"] <= found.values["m_i"] <= found.values["m_i_largest"]
        assert found.values["apart"] > 0
        (begun,) = measure([dataclasses.replace(cell, iterations=0)], device="cpu")
        assert begun.values["apart"] == begun.values["apart_start"] == found.values["apart_start"]
        assert found.values["apart"] != found.values["apart_start"]
        (alone,) = measure([dataclasses.replace(cell, restarts=1)], device="cpu")
        assert "apart" not in alone.values
        assert found.values["m_g"] <= alone.values["m_g"] * (1 + 1e-9)

    def test_one_start_is_that_of_a_run_without_restarts(self) -> None:
        several = draw_starts(CELL.start, CELL.images, CELL.seeds, restarts=3)
        (alone,) = draw_starts(CELL.start, CELL.images, CELL.seeds)
        assert torch.equal(several[0], alone)

    @pytest.mark.parametrize("prior", [None, Whitening()])
    def test_the_start_that_is_told_is_what_the_copy_came_from(self, prior: Prior | None) -> None:
        cell = dataclasses.replace(
            CELL,
            decoder=Adam(rate=0.05, priors=(prior,) if prior else ()),
            precision="float64",
            restarts=4,
            iterations=15,
        )
        firsts = []
        for replicate in range(4):
            (found,) = measure(
                [dataclasses.replace(cell, seeds=ReplicateSeeds(replicate=replicate))], device="cpu"
            )
            start, target = found.images["start"], found.images["target"]
            assert np.linalg.norm(start - target) == pytest.approx(found.values["m_i0"], rel=1e-9)
            drawn = draw_starts(
                cell.start, cell.images, ReplicateSeeds(replicate=replicate), restarts=4
            )
            firsts.append(np.allclose(start, drawn[0].numpy()))
        assert not all(firsts)
        (begun,) = measure([dataclasses.replace(cell, iterations=0)], device="cpu")
        assert (begun.images["start"] == begun.images["reconstruction"]).all()
        assert begun.values["apart_start"] == begun.values["apart"]


def test_a_vector_seen_as_an_image_is_the_same_vector() -> None:
    linear = nn.Linear(12, 7, dtype=torch.float64).requires_grad_(False)
    images = torch.rand(2, 3, 2, 2, dtype=torch.float64)
    output, vjp = Reshaped(ModuleEncoder(linear)).vjp(images)
    assert torch.equal(output, linear(images.flatten(1)))
    torch.testing.assert_close(vjp(output), (output @ linear.weight).reshape(images.shape))
