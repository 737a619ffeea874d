"""What runs on a device keeps to it, and gives what the CPU gives; no GPU is needed to tell."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator

import pytest
import torch
from elsewhere import ELSEWHERE, Device
from inversion_cases import (
    CELLS,
    CPU,
    EVERY,
    named,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case,
)
from networks import lively_resnet

from harness.encoders.spectrum import decompose, jacobian
from harness.inversion import loop
from harness.inversion.steppers import InPlace
from harness.measurements.measure import measure
from harness.plan.cells import Inversion
from harness.plan.decoders import Decoder
from harness.plan.networks import ResNet, Training
from harness.subjects.resnet import encoder_of, initial_resnet
from harness.subjects.training.fit import fit


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A device, on which steps are taken as a GPU captures them."""
    monkeypatch.setattr(loop, "drive", InPlace)
    with Device():
        yield


@pytest.mark.usefixtures("device")
class TestRecoveries:
    @EVERY
    def test_of_every_decoder(self, decoder: Decoder) -> None:
        found = run_case(decoder, iterations=3, device=ELSEWHERE)
        assert found.images.device == found.m_g.device == ELSEWHERE
        expected = run_case(decoder, iterations=3)
        torch.testing.assert_close(found.images.cpu(), expected.images, rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_of_every_kind_of_network(self, cell: Inversion) -> None:
        measure([cell], device=str(ELSEWHERE))
        # Other forms round otherwise, and rounding grows along a run.
        one = dataclasses.replace(cell, precision="float64", iterations=1)
        (found,), (expected,) = (measure([one], device=str(place)) for place in (ELSEWHERE, CPU))
        assert found.outcome == expected.outcome
        assert found.values == pytest.approx(expected.values, rel=1e-7, abs=1e-9, nan_ok=True)


@pytest.mark.usefixtures("device")
class TestOtherWork:
    def test_a_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # torch has Adam's fused kernels for devices of a list.
        monkeypatch.setattr(
            importlib.import_module("torch.optim.optimizer"),
            "_get_fused_kernels_supported_devices",
            lambda: ["cpu", ELSEWHERE.type],
        )
        training = Training(
            content="photographs", classes=3, images=24, pixels=16, epochs=2, batch=8, rate=1e-3
        )
        network = ResNet(
            name="resnet18", layer="layer4", width_multiplier=1 / 16, training=training
        )
        found, expected = (
            fit(initial_resnet(network, seed=3), training, seed=3, device=place)
            for place in (ELSEWHERE, CPU)
        )
        assert found.losses == pytest.approx(expected.losses, rel=1e-5)
        assert (found.accuracy, found.held_out) == (expected.accuracy, expected.held_out)

    def test_a_decomposition(self) -> None:
        network, image = lively_resnet("resnet18"), normal(1, 3, 8, 8, seed=1)

        def values(place: torch.device) -> list[float]:
            encoder = encoder_of(network, layer="layer1", dtype=torch.float64, device=place)
            (found,) = decompose(jacobian(encoder, image.to(place)))
            found.null_share(image.to(place))
            assert found.values.device == place
            assert found.decided
            return [found.rank, found.condition]

        assert values(ELSEWHERE) == pytest.approx(values(CPU), rel=1e-6)
