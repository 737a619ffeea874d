"""A decoder leaves a start at which values tie or no unit is active, or says that it could not."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from inversion_cases import one_thread  # noqa: F401  (a fixture for all)
from torch import Tensor, nn

import harness
from harness.inversion.decoders.kicks import KICKS, Kicks
from harness.inversion.outcome import Outcome

DECODERS = {
    "l-bfgs": harness.LBFGS(),
    "whitened": harness.LBFGS(priors=(harness.Whitening(),)),
    "annealed": harness.AnnealedLBFGS(),
    "gauss-newton": harness.GaussNewton(inner=4),
    "descent": harness.Descent(returns="best", rule="polyak", step=1.0, factor=1.0),
}


def pooled(seed: int) -> nn.Module:
    """A small network with one or two max-poolings, whose windows may overlap."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    channels, parts = 3, []
    for _ in range(choose.choice([1, 2])):
        width = choose.choice([6, 12, 24])
        parts.append(nn.Conv2d(channels, width, 3, padding=choose.choice([0, 1])))
        if choose.random() < 0.5:
            parts.append(nn.BatchNorm2d(width))
        parts.append(choose.choice([nn.ReLU, nn.LeakyReLU, nn.Identity])())
        parts.append(nn.MaxPool2d(*choose.choice([(2,), (3, 2, 1), (3, 1)])))
        channels = width
    return nn.Sequential(*parts).eval()


def flat(images: Tensor) -> Tensor:
    return torch.full_like(images, 0.7)


def losses(found: harness.Recovery) -> Tensor:
    return found.m_g.square()


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    torch.manual_seed(0)


def never_at_its_start(seeds: range) -> None:
    for seed in seeds:
        module, images = pooled(seed), torch.rand(1, 3, 12, 12)
        others = [
            harness.invert(module, images, decoder=harness.Adam(), start=start, steps=40, seed=seed)
            for start in (flat(images), None)
        ]
        least = torch.stack([losses(other) for other in others]).min()
        decoder = list(DECODERS.values())[seed % len(DECODERS)]
        found = harness.invert(module, images, decoder=decoder, start=flat(images), steps=40)
        begun = others[0].traces["m_g"][0].square()
        assert found.outcomes[0] is not Outcome.STUCK or least > 0.9 * begun, seed


def test_no_decoder_ends_at_its_start_where_another_lowers_the_loss() -> None:
    never_at_its_start(range(20))


@pytest.mark.slow
def test_no_decoder_ends_at_its_start_in_two_hundred_networks() -> None:
    never_at_its_start(range(20, 200))


@pytest.mark.parametrize("name", ["l-bfgs", "whitened", "annealed", "gauss-newton"])
def test_a_flat_start_is_as_good_as_a_noisy_one_to_a_line_search(name: str) -> None:
    module, images = pooled(3), torch.rand(2, 3, 16, 16)
    start, decoder = flat(images), DECODERS[name]
    tied = harness.invert(module, images, decoder=decoder, start=start, steps=80)
    noisy = harness.invert(module, images, decoder=decoder, steps=80)
    assert torch.equal(tied.start, start)
    assert bool((losses(tied) < 2 * losses(noisy) + 1e-6 * tied.traces["loss"][0]).all())


@pytest.mark.parametrize("name", DECODERS)
def test_a_start_without_active_units_is_left_for_one_with_a_gradient(name: str) -> None:
    convolution = nn.Conv2d(3, 8, 3)
    nn.init.constant_(convolution.weight, 0.2)
    nn.init.constant_(convolution.bias, -0.3)  # type: ignore[arg-type]
    module, images = nn.Sequential(convolution, nn.ReLU()).eval(), torch.rand(2, 3, 10, 10)
    start = torch.zeros_like(images)
    found = harness.invert(module, images, decoder=DECODERS[name], start=start, steps=30)
    assert not torch.equal(found.start, start)
    assert Outcome.STUCK not in found.outcomes
    assert bool((found.m_g < found.traces["m_g"][0]).all())


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_that_no_noise_helps_is_stuck_and_returns_its_start(name: str) -> None:
    class Beyond(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.relu(inputs - 100) + 0 * inputs

    images = 200 + torch.rand(2, 3, 10, 10)
    start = torch.zeros_like(images)
    with pytest.warns(harness.StuckWarning):
        found = harness.invert(
            Beyond().eval(), images, decoder=DECODERS[name], start=start, steps=30
        )
    assert found.outcomes == (Outcome.STUCK,) * 2
    assert torch.equal(found.images, start)


@pytest.mark.parametrize("name", DECODERS)
def test_a_start_that_is_the_image_is_matched_and_left_alone(name: str) -> None:
    images = torch.rand(1, 3, 12, 12)
    found = harness.invert(pooled(1), images, decoder=DECODERS[name], start=images, steps=5)
    assert found.outcomes == (Outcome.MATCHED,)
    torch.testing.assert_close(found.start, images)
    torch.testing.assert_close(found.images, images)


def test_a_kick_to_what_is_not_finite_is_not_taken() -> None:
    class Cliff(nn.Module):
        """Max-pooling, infinite for bright images that are not flat."""

        def forward(self, inputs: Tensor) -> Tensor:
            least, most = inputs.flatten(1).aminmax(dim=1)
            beyond = ((most - least > 0.01) & (most > 0.5))[:, None, None, None]
            return nn.functional.max_pool2d(inputs, 2).masked_fill(beyond, torch.inf)

    images = 0.2 * torch.rand(2, 3, 10, 10)
    decoder = dataclasses.replace(DECODERS["gauss-newton"], returns="last")
    with pytest.warns(harness.StuckWarning):
        found = harness.invert(
            Cliff().eval(), images, decoder=decoder, start=flat(images), steps=60
        )
    assert found.outcomes == (Outcome.STUCK,) * 2
    assert torch.equal(found.images, flat(images))


@pytest.mark.parametrize(
    ("stuck", "norm", "value", "count", "due"),
    [
        (True, 0.5, 0.5, 0, True),
        (True, 0.5, 0.5, KICKS - 1, True),
        (False, 0.0, 0.5, 0, True),
        (False, 0.5, 0.5, 0, False),
        (True, 1e-4, 0.5, 0, False),
        (True, 0.5, 1e-6, 0, False),
        (False, 0.0, 0.0, 0, False),
        (True, 0.5, 0.5, KICKS, False),
    ],
    ids=[
        "no step helps",
        "one is left",
        "no gradient",
        "on its way",
        "a minimum",
        "a solution up to rounding",
        "a solution",
        "none is left",
    ],
)
def test_a_kick_is_due_where_no_step_helps_short_of_a_minimum(
    *, stuck: bool, norm: float, value: float, count: int, due: bool
) -> None:
    one = torch.ones(1)
    found = Kicks(torch.zeros(KICKS, 1, 2)).due(
        torch.tensor([stuck]),
        norm=norm * one,
        value=value * one,
        first=(one, one),
        count=torch.tensor([count]),
    )
    assert bool(found) is due
