"""Probes, each against what theory, numpy or torch says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from harness.measurements.measure import measure
from harness.measurements.measurement import Measurement
from harness.plan.cells import (
    STATISTICS,
    BlurLoss,
    Cell,
    Conditioning,
    ErrorInNullSpace,
    GradientNorms,
    Inversion,
    NeighbourLaw,
    Neighbours,
    PooledRank,
    SpreadRate,
    SquareLayer,
    ZeroUnits,
)
from harness.plan.decoders import Blur, Descent
from harness.plan.images import Images
from harness.plan.networks import MLP, PrescribedSpectrum, ResNet
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.generators import torch_generator
from harness.subjects.images.originals import draw_original
from harness.subjects.images.sources import draw_image
from harness.subjects.mlp import draw_layers
from harness.subjects.networks import build_encoder
from harness.subjects.prescribed_spectrum import singular_values
from harness.subjects.resnet import build_resnet

IMAGES = Images(pixels=4, source="dead-leaves")
PHOTO = Images(pixels=32, source="dead-leaves")
DRAW = ReplicateSeeds(replicate=0)
CPU = torch.device("cpu")


def one(cell: Cell) -> Measurement:
    (found,) = measure([cell], device="cpu")
    return found


def image_of(images: Images) -> torch.Tensor:
    return draw_original(images, DRAW)[0]


class TestConditioning:
    def test_it_is_numpys_condition_number_of_the_product(self) -> None:
        network = MLP(inputs=12, widths=(15, 14, 13))
        found = one(Conditioning(seeds=DRAW, network=network)).values
        layers = draw_layers(network, generators=[torch_generator(DRAW, Source.WEIGHTS)])
        product = np.eye(12)
        for depth, layer in enumerate(layers, start=1):
            product = layer.matrix[0].numpy() @ product
            assert found[f"log_condition_{depth}"] == pytest.approx(
                math.log(np.linalg.cond(product)), rel=1e-8
            )

    @pytest.mark.parametrize("width", [16, 24])
    def test_great_depth_follows_newman(self, width: int) -> None:
        found = one(
            SpreadRate(seeds=DRAW, inputs=16, width=width, depth=1500, initialisation="gaussian")
        ).values
        assert found["ratio"] == pytest.approx(1, abs=0.06)

    def test_diagonals_of_qr_are_lengths_and_areas(self) -> None:
        """In two dimensions: how the first axis grows, and how an area grows beside it."""
        depth = 12
        cell = SpreadRate(seeds=DRAW, inputs=2, width=5, depth=depth, initialisation="gaussian")
        generator = torch_generator(DRAW, Source.WEIGHTS)
        product = np.eye(2)
        for number in range(depth):
            inputs = 2 if number == 0 else 5
            weight = torch.empty(5, inputs, dtype=torch.float64).normal_(
                0, inputs**-0.5, generator=generator
            )
            product = weight.numpy() @ product
        first = math.log(np.linalg.norm(product[:, 0]))
        area = math.log(np.linalg.det(product.T @ product)) / 2
        assert one(cell).values["rate"] == pytest.approx((2 * first - area) / depth, rel=1e-9)


class TestNeighbours:
    NETWORK = MLP(inputs=48, widths=(48,) * 3)

    def test_outputs_are_met_and_distances_are_those_of_the_inverse(self) -> None:
        cell = Neighbours(seeds=DRAW, network=self.NETWORK, images=IMAGES, sd=1e-3, points=64)
        found = one(cell)
        assert found.values["error"] < 1e-8
        distances, outputs = found.traces["distance"], found.traces["output"]
        assert list(distances) == sorted(distances)
        layers = draw_layers(self.NETWORK, generators=[torch_generator(DRAW, Source.WEIGHTS)])
        inverse = np.linalg.inv(np.linalg.multi_dot([x.matrix[0].numpy() for x in layers[::-1]]))
        # The noise itself is not kept; its length and the inverse's norm bound each distance.
        for distance, output in zip(distances, outputs, strict=True):
            assert distance <= output * np.linalg.norm(inverse, 2) * (1 + 1e-9)
        # |A^-1 u| for u of independent entries: its mean square is the Frobenius norm's.
        mean_square = np.mean(np.square(distances))
        assert mean_square == pytest.approx((1e-3 * np.linalg.norm(inverse)) ** 2, rel=0.8)
        assert found.values["distance"] == pytest.approx(np.median(distances), rel=0.2)

    def test_an_orthogonal_network_keeps_distances(self) -> None:
        network = MLP(inputs=48, widths=(48,) * 3, initialisation="orthogonal")
        found = one(Neighbours(seeds=DRAW, network=network, images=IMAGES, points=16))
        np.testing.assert_allclose(found.traces["distance"], found.traces["output"], rtol=1e-9)
        assert found.values["nearer_than_noised"] == 1
        assert found.values["outside"] < 0.3
        assert found.values["clipped"] <= found.values["distance"]
        assert found.values["m_n"] == pytest.approx(48**0.5 / 25, rel=0.4)

    def test_the_law_of_gaussian_networks_holds_and_another_does_not(self) -> None:
        def measured(initialisation: str) -> float:
            network = MLP(inputs=6, widths=(6,) * 3, initialisation=initialisation, bias=False)
            return one(NeighbourLaw(seeds=DRAW, network=network, networks=4000)).values["log_ratio"]

        assert measured("gaussian") == pytest.approx(0, abs=0.15)
        # Uniform weights are far from their limit at six inputs.
        assert abs(measured("default")) > abs(measured("gaussian"))


def descended(network: PrescribedSpectrum, *, iterations: int) -> Measurement:
    return one(
        Inversion(
            seeds=DRAW,
            network=network,
            images=IMAGES,
            decoder=Descent(loss="l2", step=0.2, factor=1.0),
            iterations=iterations,
            precision="float64",
        )
    )


class TestPrescribedSpectrum:
    def test_the_spectrum_is_the_one_asked_for(self) -> None:
        network = PrescribedSpectrum(inputs=10, outputs=14, condition=50.0)
        encoder = build_encoder(
            network, [DRAW, ReplicateSeeds(replicate=1)], dtype=torch.float64, device=CPU
        )
        outputs = encoder.encode(torch.eye(10, dtype=torch.float64).repeat(2, 1))
        for matrix in outputs.reshape(2, 10, 14).numpy():
            values = np.linalg.svd(matrix, compute_uv=False)
            assert values[0] / values[-1] == pytest.approx(50)
            assert np.mean(values**2) == pytest.approx(1)
            np.testing.assert_allclose(np.diff(np.log(values)), -math.log(50) / 9)

    def test_widths_share_their_right_singular_vectors(self) -> None:
        """So that with a loss of squares nothing at all depends on the number of outputs."""

        narrow, wide = (
            descended(PrescribedSpectrum(inputs=48, outputs=outputs, condition=30.0), iterations=20)
            for outputs in (48, 190)
        )
        assert narrow.values["r"] == pytest.approx(wide.values["r"], rel=1e-10)
        np.testing.assert_allclose(
            narrow.images["reconstruction"], wide.images["reconstruction"], rtol=1e-8
        )

    def test_a_descent_follows_the_closed_form(self) -> None:
        """(1 - eta s^2)^t on every right singular vector."""
        network = PrescribedSpectrum(inputs=48, outputs=60, condition=8.0)
        found = descended(network, iterations=30)
        encoder = build_encoder(network, [DRAW], dtype=torch.float64, device=CPU)
        matrix = encoder.encode(torch.eye(48, dtype=torch.float64).repeat(1, 1)).T.numpy()
        left = np.linalg.matrix_power(np.eye(48) - 0.2 * matrix.T @ matrix, 30)
        start, target = found.images["start"].ravel(), found.images["target"].ravel()
        np.testing.assert_allclose(
            found.images["reconstruction"].ravel() - target, left @ (start - target), atol=1e-12
        )
        assert singular_values(network)[0] > 1


class TestGradients:
    NETWORK = ResNet(name="resnet18", layer="layer4")

    def norms(self, statistics: str) -> Mapping[str, float]:
        return one(
            GradientNorms(
                seeds=DRAW, network=self.NETWORK, images=PHOTO, statistics=statistics, together=3
            )
        ).values

    def test_with_initial_statistics_they_are_those_of_convolutions_alone(self) -> None:
        module = build_resnet(self.NETWORK, seed=DRAW.seed(Source.WEIGHTS) >> 1)
        rng = DRAW.rng(Source.IMAGE)
        drawn = [draw_image("dead-leaves", pixels=32, rng=rng).values for _ in range(3)]
        images = torch.from_numpy(np.stack(drawn)).float()
        starts = torch.empty(3, 3, 32, 32, dtype=torch.float64).normal_(
            0.7, 0.05, generator=torch_generator(DRAW, Source.START)
        )

        def layer1(x: torch.Tensor) -> torch.Tensor:
            x = module.maxpool(torch.relu(module.conv1(x)))
            for block in module.layer1:
                x = torch.relu(x + block.conv2(torch.relu(block.conv1(x))))
            return x

        point = starts.float().requires_grad_()
        (layer1(point) - layer1(images)).abs().sum().backward()
        assert point.grad is not None
        truth = point.grad.flatten(1).norm(dim=1).log().mean().exp()
        assert self.norms("eval")["gradient_layer1"] == pytest.approx(float(truth), rel=1e-3)

    def test_statistics_come_after_the_first_convolution_and_scale_what_follows(self) -> None:
        initial, batch, kept = map(self.norms, STATISTICS)
        assert initial["gradient_conv1"] == batch["gradient_conv1"] == kept["gradient_conv1"]
        module = build_resnet(self.NETWORK, seed=DRAW.seed(Source.WEIGHTS) >> 1)
        rng = DRAW.rng(Source.IMAGE)
        drawn = [draw_image("dead-leaves", pixels=32, rng=rng).values for _ in range(3)]
        hidden = module.conv1(torch.from_numpy(np.stack(drawn)).float())
        # Outputs of conv1 are divided by their standard deviations, channel by channel.
        gains = 1 / hidden.std(dim=(0, 2, 3))
        ratio = kept["gradient_stem"] / initial["gradient_stem"]
        assert float(gains.min()) < ratio < float(gains.max())
        assert batch["gradient_layer4"] > 20 * initial["gradient_layer4"]


class TestSquareLayers:
    def test_a_relu_keeps_the_rows_of_its_active_units(self) -> None:
        cell = SquareLayer(seeds=DRAW, images=IMAGES, layer="dense", activation="relu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(DRAW.seed(Source.WEIGHTS) >> 1)
            layer = nn.Linear(48, 48).double()
        active = int((layer(image_of(IMAGES).flatten()) > 0).sum())
        assert one(cell).values["rank_share"] == active / 48 < 1

    @pytest.mark.parametrize("layer", ["dense", "convolution"])
    def test_tanh_keeps_every_rank_in_exact_numbers(self, layer: str) -> None:
        cell = SquareLayer(seeds=DRAW, images=IMAGES, layer=layer, activation="tanh")
        found = one(cell).values
        assert found["rank_share"] == 1
        assert found["effective_share"] <= 1


class TestPooling:
    CELL = PooledRank(
        seeds=DRAW,
        network=ResNet(name="resnet18", layer="stem"),
        images=Images(pixels=12, source="dead-leaves"),
    )

    def test_ranks_are_numpys_and_the_witness_is_one(self) -> None:
        found = one(self.CELL).values
        whole = build_resnet(self.CELL.network, seed=DRAW.seed(Source.WEIGHTS) >> 1).double()
        image = image_of(self.CELL.images)[None]

        def stem(x: torch.Tensor) -> torch.Tensor:
            pooled: torch.Tensor = whole.maxpool(torch.relu(whole.bn1(whole.conv1(x))))
            return pooled

        truth = torch.autograd.functional.jacobian(stem, image).reshape(-1, image.numel())
        assert found["rank_stem_share"] * image.numel() == pytest.approx(
            np.linalg.matrix_rank(truth.numpy())
        )
        # A row for each output that is not 0; equal rows are those of shared positions.
        rows = {tuple(row) for row in truth.numpy().round(12).tolist() if any(row)}
        assert found["distinct_share"] * image.numel() == pytest.approx(len(rows))

    def test_the_second_image_is_another_one_and_has_the_same_output(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from harness.measurements import pooled_rank

        kept: list[torch.Tensor] = []
        real = pooled_rank.same_output_change

        def change(*arguments, **rest):  # type: ignore[no-untyped-def]
            kept.append(real(*arguments, **rest))
            return kept[-1]

        monkeypatch.setattr(pooled_rank, "same_output_change", change)
        found = one(self.CELL).values
        image = image_of(self.CELL.images)[None]
        second = image + kept[0]
        assert 0 <= float(second.min()) <= float(second.max()) <= 1
        assert found["witness_change"] == float(kept[0].abs().max()) > 1 / 255
        assert found["witness_distance"] == float(kept[0].norm())
        whole = build_resnet(self.CELL.network, seed=DRAW.seed(Source.WEIGHTS) >> 1).double()
        outputs = [whole.maxpool(torch.relu(whole.bn1(whole.conv1(x)))) for x in (image, second)]
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-13)
        assert found["witness_residual"] < 100


class TestZeroUnits:
    def test_a_stacks_zeros_are_counted(self) -> None:
        network = MLP(inputs=48, widths=(100, 70), activation="relu")
        found = one(ZeroUnits(seeds=DRAW, network=network, images=IMAGES))
        first, second = draw_layers(network, generators=[torch_generator(DRAW, Source.WEIGHTS)])
        hidden = torch.relu(first.matrix[0] @ image_of(IMAGES).flatten() + first.offset[0])
        output = torch.relu(second.matrix[0] @ hidden + second.offset[0])
        zeros = [int((hidden == 0).sum()), int((output == 0).sum())]
        assert found.traces["zero_share"] == (zeros[0] / 100, zeros[1] / 70)
        assert found.values["zero_share"] == sum(zeros) / 170

    def test_every_relu_of_a_resnet_is_seen(self) -> None:
        cell = ZeroUnits(seeds=DRAW, network=ResNet(name="resnet18", layer="layer4"), images=PHOTO)
        found = one(cell)
        assert len(found.traces["zero_share"]) == 17
        whole = build_resnet(cell.network, seed=DRAW.seed(Source.WEIGHTS) >> 1)
        first = whole.bn1(whole.conv1(image_of(PHOTO)[None].float()))
        assert found.traces["zero_share"][0] == pytest.approx(float((first <= 0).float().mean()))


@pytest.mark.slow
def test_the_part_of_an_error_in_the_null_space_is_what_the_pseudo_inverse_leaves() -> None:
    images = Images(pixels=16, source="dead-leaves")
    network = ResNet(name="resnet18", layer="layer4")
    decoder = Descent(step=0.01)
    cell = ErrorInNullSpace(
        seeds=DRAW, network=network, images=images, decoder=decoder, iterations=30
    )
    # The precision is that of the reconstruction alone.
    double = one(dataclasses.replace(cell, precision="float64")).values
    found = one(cell).values
    assert 0 < abs(double["r"] - found["r"]) < 0.1
    assert double["null_dimension_share"] == found["null_dimension_share"]
    run = one(Inversion(seeds=DRAW, network=network, images=images, decoder=decoder, iterations=30))
    assert found["r"] == run.values["r"]

    whole = build_resnet(network, seed=DRAW.seed(Source.WEIGHTS) >> 1).double()
    layers = nn.Sequential(*list(whole.children())[:-2])
    matrix = torch.autograd.functional.jacobian(layers, image_of(images)[None])
    J = matrix.reshape(512, 768).numpy()
    kept = np.linalg.pinv(J) @ J
    assert found["null_dimension_share"] == 1 - np.linalg.matrix_rank(J) / 768
    for name, value in (("start", "null_share_start"), ("reconstruction", "null_share")):
        error = (run.images[name] - run.images["target"]).ravel()
        left = error - kept @ error
        assert found[value] == pytest.approx(left @ left / (error @ error), rel=1e-6)


def test_a_blurs_loss_is_that_of_scipys_filter() -> None:
    sigma = 0.7
    found = one(BlurLoss(seeds=DRAW, images=PHOTO, blur=Blur(first=2.0, last=sigma)))
    image = image_of(PHOTO).numpy()
    kernel = np.exp(-0.5 * (np.arange(-1, 2) / sigma) ** 2)
    blurred = image
    for axis in (1, 2):
        blurred = ndimage.correlate1d(blurred, kernel / kernel.sum(), axis=axis, mode="mirror")
    assert found.values["m_i"] == pytest.approx(np.linalg.norm(blurred - image), rel=1e-12)
