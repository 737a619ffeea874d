"""First-order decoders against naive loops, torch's Adam, closed forms and theorems."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    CPU,
    affine,
    convolutions,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
)
from torch import Tensor, nn

from harness.encoders.encoder import Encoder
from harness.inversion.loss import LOSS
from harness.inversion.recover import Reconstructions, recover
from harness.inversion.schedule import descent_steps, trace_points
from harness.plan.decoders import LOSSES, RULES, Adam, Blur, Decoder, Descent
from harness.plan.networks import RESNET_LAYERS, ResNet
from harness.subjects import vision  # noqa: F401  (makes the next import possible everywhere)
from harness.subjects.resnet import build_resnet, encoder_of

# isort: split
from torchvision.transforms.functional import gaussian_blur

SEEDS = st.integers(0, 2**40)
PLAIN = Descent(loss="l2", factor=1.0)
ARTICLE = Descent(priors=(Blur(),))


def run(
    encoder: Encoder, original: Tensor, *, start: Tensor, decoder: Decoder, iterations: int
) -> Reconstructions:
    """Invert, with a' far enough that m_r is no matter."""
    return recover(
        encoder,
        original,
        start=start,
        noised=original + 1,
        decoder=decoder,
        iterations=iterations,
    )


def distance(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


# The article's equations, step by step, on the network as torchvision made it.


def naive_output(network: nn.Module, image: Tensor, *, layer: str) -> Tensor:
    """O_l(a): the layers one after the other, nothing folded, nothing in place."""
    hidden = nn.functional.conv2d(image, network.get_parameter("conv1.weight"), stride=2, padding=3)
    if layer == "conv1":
        return hidden
    hidden = torch.relu(network.get_submodule("bn1")(hidden))
    hidden = nn.functional.max_pool2d(hidden, kernel_size=3, stride=2, padding=1)
    for stage in RESNET_LAYERS[2 : RESNET_LAYERS.index(layer) + 1]:
        hidden = network.get_submodule(stage)(hidden)
    return hidden


def naive_gradient(
    network: nn.Module, image: Tensor, target: Tensor, *, layer: str, factor: float, loss: str
) -> Tensor:
    image = image.clone().requires_grad_()
    output = naive_output(network, image, layer=layer)
    if loss == "l1":
        value = factor * torch.sum(torch.abs(target - output))
    else:
        value = factor * torch.sum((target - output) ** 2) / 2
    value.backward()
    assert image.grad is not None
    return image.grad


def naive_descent(
    network: nn.Module,
    target: Tensor,
    start: Tensor,
    *,
    layer: str,
    iterations: int,
    decreasing: bool = False,
    blur: bool = True,
    loss: str = "l1",
) -> Tensor:
    """a <- N_c(a - eps * g), sigma from 2.4 to 0.4."""
    image = start.clone()
    for iteration in range(iterations):
        epsilon = 0.1
        if decreasing:
            epsilon = max(0.1 * (iterations - iteration) / iterations, 0.0001)
        gradient = naive_gradient(network, image, target, layer=layer, factor=0.15, loss=loss)
        image = image - epsilon * gradient
        if blur:
            sigma = 2.4 - 2.0 * iteration / max(iterations - 1, 1)
            image = gaussian_blur(image, kernel_size=[3, 3], sigma=[sigma, sigma])
    return image


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest) -> nn.Module:
    """An untrained ResNet in float64, with BatchNorms that do something."""
    whole = build_resnet(ResNet(name=request.param, layer="conv1"), seed=11).double()
    source = torch.Generator().manual_seed(11)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=source)
            module.running_var.uniform_(0.7, 1.4, generator=source)
            module.weight.uniform_(0.7, 1.3, generator=source)
            module.bias.normal_(0, 0.2, generator=source)
    return whole


IMAGE = torch.rand(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
START = 0.7 + normal(1, 3, 32, 32, seed=2) / 20


class TestAgainstTheNaiveLoop:
    """L1 descent is chaotic: one step is compared tightly, trajectories only for smooth losses."""

    @pytest.mark.parametrize(
        ("network", "layer"),
        [
            *(("resnet18", layer) for layer in RESNET_LAYERS),
            ("resnet50", "layer1"),
            ("resnet50", "layer4"),
        ],
        indirect=["network"],
    )
    def test_one_step_is_the_same(self, network: nn.Module, layer: str) -> None:
        target = naive_output(network, IMAGE, layer=layer)
        truth = naive_gradient(network, START, target, layer=layer, factor=0.15, loss="l1") / 0.15
        step = naive_descent(network, target, START, layer=layer, iterations=1)
        # In float32 a few signs of tiny residuals differ.
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-2)):
            encoder = encoder_of(network, layer=layer, dtype=dtype, device=CPU)
            image, start = IMAGE.to(dtype), START.to(dtype)
            output, vjp = encoder.vjp(start)
            gradient = vjp(torch.sign(output - encoder.encode(image)))
            assert gradient.dtype == dtype
            assert distance(gradient, truth) < tolerance
            found = run(encoder, image, start=start, decoder=ARTICLE, iterations=1)
            assert distance(found.images - start, step - START) < tolerance

    @pytest.mark.parametrize("schedule", ["fixed", "decreasing"])
    @pytest.mark.parametrize("network", ["resnet18"], indirect=True)
    def test_a_smooth_run_is_the_same_with_all_its_schedules(
        self, network: nn.Module, schedule: str
    ) -> None:
        target = naive_output(network, IMAGE, layer="conv1")
        truth = naive_descent(
            network,
            target,
            START,
            layer="conv1",
            iterations=9,
            decreasing=schedule == "decreasing",
            loss="l2",
        )
        decoder = Descent(loss="l2", schedule=schedule, priors=(Blur(),))
        encoder = encoder_of(network, layer="conv1", dtype=torch.float64, device=CPU)
        found = run(encoder, IMAGE, start=START, decoder=decoder, iterations=9)
        assert distance(found.images - START, truth - START) < 1e-12


class TestSchedules:
    def test_a_decreasing_step_stops_at_its_minimum(self) -> None:
        decoder = Descent(step=1.0, factor=2.0, schedule="decreasing", minimum=0.3)
        np.testing.assert_allclose(
            descent_steps(decoder, iterations=5), [2.0, 1.6, 1.2, 0.8, 0.6], rtol=1e-15
        )

    @given(iterations=st.integers(0, 300_000))
    @settings(max_examples=50, deadline=None)
    def test_a_trace_has_its_marks_in_order(self, iterations: int) -> None:
        points = trace_points(iterations)
        assert list(points) == sorted(set(points))
        assert points[0] == 0
        assert points[-1] == iterations
        assert {iterations // 2, iterations * 3 // 4} <= set(points)
        assert len(points) <= 52


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)), seed=SEEDS)
def test_losses_and_their_derivatives(name: str, shape: tuple[int, ...], seed: int) -> None:
    loss, leaf = LOSS[name], normal(*shape, seed=seed).requires_grad_()
    (truth,) = torch.autograd.grad(loss.value(leaf).sum(), leaf)
    residual = leaf.detach()
    torch.testing.assert_close(loss.cotangent(residual), truth, rtol=1e-13, atol=0)
    values = np.abs(residual.numpy()) if name == "l1" else np.square(residual.numpy()) / 2
    found = loss.value(residual).numpy()
    np.testing.assert_allclose(found, values.sum(axis=(1, 2)), rtol=1e-13)


def naive_rule(
    network: nn.Module, target: Tensor, start: Tensor, *, rule: str, loss: str, size: float
) -> list[Tensor]:
    """The images of three steps on one sample, the size of each by its rule's formula."""
    images = [start]
    for _ in range(3):
        leaf = images[-1].clone().requires_grad_()
        residual = network(leaf[None])[0] - target
        value = residual.abs().sum() if loss == "l1" else residual.square().sum() / 2
        value.backward()
        assert leaf.grad is not None
        gradient, step = leaf.grad, size
        if rule == "polyak":
            step = size * float(value.detach() / (gradient**2).sum())
        if rule == "normalised":
            step = size / float((gradient**2).mean() ** 0.5)
        images.append(images[-1] - step * gradient)
    return images


class TestRules:
    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("loss", ["l1", "l2"])
    def test_steps_are_those_of_a_loop_written_by_hand(self, rule: str, loss: str) -> None:
        encoder = convolutions()
        original, start = normal(3, 3, 12, 12, seed=1), normal(3, 3, 12, 12, seed=2)
        target = encoder.encode(original)
        decoder = Descent(loss=loss, rule=rule, step=0.5, factor=0.04)
        found = [
            run(encoder, original, start=start, decoder=decoder, iterations=steps).images
            for steps in range(4)
        ]
        for sample in range(3):
            truth = naive_rule(
                encoder.module, target[sample], start[sample], rule=rule, loss=loss, size=0.02
            )
            for mine, theirs in zip(found, truth, strict=True):
                torch.testing.assert_close(mine[sample], theirs, rtol=1e-11, atol=1e-12)

    @pytest.mark.parametrize(
        "decoder",
        [
            *(Descent(loss=loss, rule=rule, step=1.0) for loss in LOSSES for rule in RULES),
            Adam(returns="last"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_start_at_the_target_stays_there(self, decoder: Decoder, dtype: torch.dtype) -> None:
        original = normal(2, 3, 12, 12, seed=1, dtype=dtype)
        found = run(convolutions(dtype), original, start=original, decoder=decoder, iterations=3)
        assert torch.equal(found.images, original)


class TestAdam:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 2**40), beta1=st.floats(0, 0.99), beta2=st.floats(0.5, 0.9999))
    def test_its_steps_are_those_of_torchs(self, seed: int, beta1: float, beta2: float) -> None:
        decoder = Adam(rate=0.03, beta1=beta1, beta2=beta2, returns="last")
        encoder, original = affine(2, 6, 5, seed=seed), normal(2, 5, seed=seed + 3)
        start = normal(2, 5, seed=seed + 4)
        iterations = 20
        found = run(encoder, original, start=start, decoder=decoder, iterations=iterations)

        image = start.clone().requires_grad_()
        target = encoder.encode(original)
        tiny = torch.finfo(torch.float64).tiny ** 0.5
        theirs = torch.optim.Adam([image], lr=0.03, betas=(beta1, beta2), eps=tiny)
        rates = torch.optim.lr_scheduler.LambdaLR(
            theirs, lambda step: 0.5 * (1 + np.cos(np.pi * step / iterations))
        )
        for _ in range(iterations):
            theirs.zero_grad()
            (
                (encoder.matrix @ image[..., None]).squeeze(-1) + encoder.offset - target
            ).square().sum().div(2).backward()
            theirs.step()
            rates.step()
        torch.testing.assert_close(found.images, image.detach(), rtol=1e-9, atol=1e-11)


class TestKnownAnswers:
    @settings(max_examples=20, deadline=None)
    @given(
        m=st.integers(1, 8),
        n=st.integers(1, 8),
        iterations=st.integers(1, 60),
        share=st.floats(0.05, 1.9),
        seed=st.integers(0, 2**40),
    )
    def test_l2_descent_follows_the_spectral_closed_form(
        self, m: int, n: int, iterations: int, share: float, seed: int
    ) -> None:
        encoder, original = affine(1, m, n, seed=seed), normal(1, n, seed=seed + 2)
        start = original + normal(1, n, seed=seed + 3)
        matrix = encoder.matrix[0].numpy()
        _, singular, right = scipy.linalg.svd(matrix)
        values = np.zeros(n)
        values[: len(singular)] = singular
        eta = share / values[0] ** 2
        found = run(
            encoder,
            original,
            start=start,
            decoder=dataclasses.replace(PLAIN, step=eta),
            iterations=iterations,
        )
        # Each right singular vector shrinks on its own; those of the null space stay.
        shares = (1 - eta * values**2) ** iterations * (right @ (start - original)[0].numpy())
        error = float(np.abs(right @ (found.images - original)[0].numpy() - shares).max())
        assert error <= 1e-10 * float((start - original).norm())


class TestTraces:
    def test_every_quantity_is_what_its_formula_says(self) -> None:
        encoder, original = affine(2, 5, 4, seed=1), normal(2, 4, seed=2)
        start = normal(2, 4, seed=3)
        decoder = Descent(step=0.2, factor=0.5, schedule="decreasing", minimum=0.05)
        found = run(encoder, original, start=start, decoder=decoder, iterations=3)
        for sample in range(2):
            matrix = encoder.matrix[sample].numpy()
            image, truth = start[sample].numpy(), original[sample].numpy()
            for row, step in enumerate((0.1, 0.1 * 2 / 3, 0.1 / 3, 0.1 / 3)):
                residual = matrix @ (image - truth)
                gradient = matrix.T @ np.sign(residual)
                loss = np.abs(residual).sum()
                expected = {
                    "m_g": np.linalg.norm(residual),
                    "m_i": np.linalg.norm(image - truth),
                    "gradient_norm": np.linalg.norm(gradient),
                    "loss": loss,
                    "rho": step * (gradient @ gradient) / (2 * loss),
                }
                for name, value in expected.items():
                    assert float(found.traces[name][row, sample]) == pytest.approx(value, rel=1e-10)
                if row < 3:
                    image = image - step * gradient
            assert found.images[sample].numpy() == pytest.approx(image, rel=1e-10)
        reference = encoder.matrix @ torch.ones(2, 4, 1, dtype=torch.float64)
        torch.testing.assert_close(found.m_r, reference.flatten(1).norm(dim=1))
        torch.testing.assert_close(found.m_n, torch.full((2,), 2.0, dtype=torch.float64))
