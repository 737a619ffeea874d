"""Ensembles of any networks, against a loop over them."""

from __future__ import annotations

import copy
import doctest

import pytest
import torch
from inversion_cases import normal
from networks import Mixer
from torch import Tensor, nn

from harness.encoders import ensemble
from harness.encoders.encoder import ModuleEncoder
from harness.encoders.ensemble import ensemble_encoder


class Convolutions(nn.Module):
    """A network of images that overwrites its input."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2) + self.convolution(x).relu_().sum(1, keepdim=True)


def drawn(kind: type[nn.Module], *, number: int) -> list[nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return [kind().double().eval().requires_grad_(False) for _ in range(number)]


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize(("kind", "shape"), [(Mixer, (24,)), (Convolutions, (2, 5, 4))])
def test_each_sample_has_its_own_network(
    kind: type[nn.Module], shape: tuple[int, ...], restarts: int
) -> None:
    modules = drawn(kind, number=3)
    inputs = normal(3 * restarts, *shape, seed=1)
    kept = inputs.clone()
    encoder = ensemble_encoder(modules)
    output, jvp, vjp = encoder.linearize(inputs)
    tangent, cotangent = normal(*inputs.shape, seed=2), normal(*output.shape, seed=3)
    found = (output, jvp(tangent), vjp(cotangent))
    assert torch.equal(encoder.encode(inputs), output)
    torch.testing.assert_close(encoder.vjp(inputs)[1](cotangent), found[2])
    for sample in range(len(inputs)):
        one = [sample]
        alone = ModuleEncoder(modules[sample // restarts]).linearize(inputs[one])
        truth = (alone[0], alone[1](tangent[one]), alone[2](cotangent[one]))
        for mine, other in zip(found, truth, strict=True):
            torch.testing.assert_close(mine[one], other, rtol=1e-12, atol=1e-13)
    assert torch.equal(inputs, kept)


def test_networks_stay_as_they_were() -> None:
    modules = drawn(Mixer, number=2)
    before = [copy.deepcopy(module.state_dict()) for module in modules]
    encoder = ensemble_encoder(modules)
    output, vjp = encoder.vjp(normal(2, 24, seed=1))
    vjp(output)
    for module, state in zip(modules, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
        assert not any(value.requires_grad for value in module.state_dict().values())


def test_flags_of_attention_are_given_back() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    ensemble_encoder(drawn(Mixer, number=2)).linearize(normal(2, 24, seed=1))
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_the_example_of_own_networks_is_as_it_says() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        told = doctest.testmod(ensemble)
    assert told.attempted > 5
    assert told.failed == 0
