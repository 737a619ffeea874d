"""Cells on trained networks, against formulas, plain modules and other libraries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import SettingError
from harness.measurements.early_updates import loss_drop
from harness.measurements.image_quality import ssim
from harness.measurements.measure import measure
from harness.measurements.measurement import Measurement
from harness.plan.cells import (
    JUDGE,
    EarlyUpdates,
    Inversion,
    JacobianSpectrum,
    LinearProbe,
    Reflection,
)
from harness.plan.decoders import Adam, Descent
from harness.plan.images import Images
from harness.plan.networks import ResNet, Training
from harness.plan.seeds import ReplicateSeeds, Source, Stream
from harness.subjects.generators import weights_seed
from harness.subjects.images.originals import draw_original
from harness.subjects.resnet import build_resnet
from harness.subjects.training import content

DRAW = ReplicateSeeds(replicate=1, stream=Stream.PILOT)
IMAGES = Images(pixels=16)
PICTURES = Training(
    content="photographs", classes=4, images=48, pixels=16, epochs=3, batch=16, rate=3e-3
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ResNet:
    folder = tmp_path_factory.mktemp("weights")
    return ResNet(
        name="resnet18",
        layer="layer4",
        width_multiplier=1 / 16,
        training=dataclasses.replace(PICTURES, folder=folder),
    )


def measured(cell: object) -> Measurement:
    (found,) = measure([cell], device="cpu")  # type: ignore[list-item]
    return found


class TestReconstructions:
    def run(
        self, network: ResNet, *, seeds: ReplicateSeeds = DRAW, iterations: int = 10
    ) -> Measurement:
        return measured(
            Inversion(
                seeds=seeds,
                network=network,
                images=IMAGES,
                decoder=Adam(rate=0.05),
                iterations=iterations,
            )
        )

    def test_similarity_is_that_of_the_reconstruction(self, network: ResNet) -> None:
        found = self.run(network)
        assert found.values["ssim"] == ssim(found.images["target"], found.images["reconstruction"])
        assert {"psnr", "sharpness", "whiteness"} <= set(found.values)

    def test_classes_are_those_of_the_whole_network(self, network: ResNet) -> None:
        pairs = []
        for replicate in range(6):
            seeds = dataclasses.replace(DRAW, replicate=replicate)
            # The reconstruction is the start, which looks like none of the pictures.
            found = self.run(network, seeds=seeds, iterations=0)
            whole = build_resnet(network, seed=weights_seed(seeds))
            with torch.no_grad():
                target, noised, reconstruction = (
                    int(whole(torch.from_numpy(found.images[name]).float()[None]).argmax())
                    for name in ("target", "noised", "reconstruction")
                )
            pairs.append((found.values["same_class"], found.values["same_class_noised"]))
            assert pairs[-1] == (float(reconstruction == target), float(noised == target))
        assert len(set(pairs)) > 1
        assert any(kept != noised for kept, noised in pairs)

    def test_a_network_that_learnt_no_classes_has_none(self, network: ResNet) -> None:
        untrained = dataclasses.replace(network, training=None)
        assert "same_class" not in self.run(untrained).values
        assert "ssim" in self.run(untrained).values


class TestJacobianSpectrum:
    def test_it_is_that_of_autograds_jacobian(self, network: ResNet) -> None:
        shallow = dataclasses.replace(network, layer="layer3")
        found = measured(JacobianSpectrum(seeds=DRAW, network=shallow, images=Images(pixels=8)))
        whole = build_resnet(shallow, seed=weights_seed(DRAW)).double()
        part = nn.Sequential(*list(whole.children())[:-3])
        image = draw_original(Images(pixels=8), DRAW)[0]
        matrix = torch.autograd.functional.jacobian(
            lambda flat: part(flat.reshape(1, 3, 8, 8)).flatten(), image.flatten()
        ).numpy()
        rank = int(np.linalg.matrix_rank(matrix))
        values = np.linalg.svd(matrix, compute_uv=False)
        assert found.values["rank"] == rank
        assert found.values["condition"] == pytest.approx(values[0] / values[rank - 1], rel=1e-6)
        zeros = float((part(image[None]) == 0).double().mean())
        assert found.values["zero_share"] == pytest.approx(zeros)
        assert 0 < zeros < 1


class TestLinearProbe:
    def probe(self, network: ResNet, layer: str) -> float:
        asked = dataclasses.replace(network, layer=layer)
        cell = LinearProbe(seeds=DRAW, network=asked, pixels=16, examples=200)
        return measured(cell).values["r_squared"]

    def test_more_is_left_early_than_late(self, network: ResNet) -> None:
        early, late = self.probe(network, "conv1"), self.probe(network, "layer4")
        assert early > 0.5
        assert late < early - 0.1

    def test_beside_it_is_what_the_mean_of_each_picture_tells(self, network: ResNet) -> None:
        cell = LinearProbe(seeds=DRAW, network=network, pixels=16, examples=200)
        rng = DRAW.rng(Source.IMAGE)
        seen, unseen = (
            content.crops(
                classes=len(content.PICTURES), pixels=16, number=number, rng=rng, held_out=held_out
            )
            for number, held_out in ((200, False), (50, True))
        )
        shown, asked = (each.images.flatten(1).double() for each in (seen, unseen))
        means = torch.stack([shown[seen.labels == label].mean(0) for label in unseen.labels])
        left = ((asked - means) ** 2).sum() / ((asked - asked.mean(0)) ** 2).sum()
        found = measured(cell).values["r_squared_of_picture"]
        # The regression shrinks the means a little.
        assert found == pytest.approx(1 - float(left), abs=0.05)
        assert found > 0.1


class TestReflection:
    def cell(self, network: ResNet, iterations: int = 5) -> Reflection:
        return Reflection(
            seeds=DRAW,
            network=network,
            images=IMAGES,
            decoder=Descent(),
            iterations=iterations,
            crops=3,
        )

    def test_distances_are_those_that_the_judges_head_sees(self, network: ResNet) -> None:
        found = measured(self.cell(network))
        judge = build_resnet(network, seed=weights_seed(JUDGE))

        def seen(images: torch.Tensor) -> torch.Tensor:
            taken: list[torch.Tensor] = []
            hook = judge.fc.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
            with torch.no_grad():
                judge(images)
            hook.remove()
            return taken[0].double()

        image, reconstruction = (
            seen(torch.from_numpy(found.images[name]).float()[None])
            for name in ("target", "reconstruction")
        )
        assert found.values["reconstruction_to_image"] == pytest.approx(
            float((image - reconstruction).norm())
        )
        shown = content.crops(
            classes=4, pixels=16, number=12, rng=DRAW.rng(Source.PRIOR), held_out=False
        )
        own = [picture.label for picture in content.PICTURES].index(found.labels["image"])
        others = shown.pictures(torch.nonzero(shown.labels != own).flatten())
        distances = (seen(others) - reconstruction).norm(dim=1)
        assert found.values["reconstruction_to_training"] == pytest.approx(float(distances.min()))
        nearer = (distances < found.values["reconstruction_to_image"]).double().mean()
        assert found.values["nearer"] == pytest.approx(float(nearer))

    def test_before_the_first_step_the_reconstruction_is_the_start(self, network: ResNet) -> None:
        values = measured(self.cell(network, iterations=0)).values
        assert values["reconstruction_to_image"] == values["start_to_image"]
        assert values["reconstruction_to_training"] == values["start_to_training"]

    def test_a_network_without_training_pictures_is_refused(self, network: ResNet) -> None:
        with pytest.raises(SettingError):
            measured(self.cell(dataclasses.replace(network, training=None)))


class TestEarlyUpdates:
    def test_the_loss_falls_as_the_spectrum_says(self) -> None:
        """D <- (1 - rate B^T B) D, so each singular value contracts its part (Saxe et al. 2014)."""
        generator = torch.Generator().manual_seed(0)
        later, error = (
            torch.randn(9, 9, dtype=torch.float64, generator=generator) for _ in range(2)
        )
        _, values, right = torch.linalg.svd(later)
        rate, steps = 0.7 / float(values[0]) ** 2, 13
        parts = (values[:, None] * (right @ error)).square().sum(1)
        left = (1 - rate * values**2) ** (2 * steps)
        expected = 1 - float((left * parts).sum() / parts.sum())
        assert loss_drop(error, later, rate=rate, steps=steps) == pytest.approx(expected)

    def test_conditions_are_as_asked_and_drops_belong_to_them(self) -> None:
        cell = EarlyUpdates(
            seeds=DRAW, width=24, depth=1, conditions=(1.0, 10.0, 1000.0), rate=0.5, steps=20
        )
        found = measured(cell)
        np.testing.assert_allclose(found.traces["condition"], cell.conditions, rtol=1e-6)
        # All of a stack of condition 1 contracts alike: (1 - rate)^(2 steps), rate 2 * 0.5.
        assert found.traces["drop_own"][0] == pytest.approx(1.0)
        assert all(0 < drop <= 1 for drop in found.traces["drop_common"])
        assert -1 <= found.values["own"] <= 1
        # Some parts of the badly conditioned ones have hardly begun.
        assert found.traces["drop_own"][2] < found.traces["drop_own"][0]
