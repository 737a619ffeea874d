"""A module cut at a layer returns what a forward hook sees there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.encoders.cutting import truncated
from harness.encoders.network import NetworkEncoder
from harness.errors import ModuleError, UnknownNameError
from harness.subjects.vision import models


class Branching(nn.Module):
    """A graph that depends on values and cannot be traced; its ReLU is called twice, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)
        self.unused = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.first(inputs))
        if float(hidden.detach().sum()) > 1e9:
            hidden = hidden * 2
        return self.relu(self.second(hidden))


@pytest.fixture(scope="module", params=["resnet18", "branching", "vgg"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        match request.param:
            case "resnet18":
                made = models.resnet18()
            case "vgg":
                made = models.vgg11().features
            case _:
                made = Branching()
    return made.double().eval().requires_grad_(False)


LAYERS = {
    "ResNet": ["conv1", "bn1", "layer1.0.relu_1", "layer2", "layer3.0.downsample", "fc"],
    "Sequential": ["0", "1", "8"],
    "Branching": ["first", "relu", "second", "relu_1"],
}


def seen(network: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """What a layer returns, before anything overwrites it."""
    name, _, call = layer.partition("_")
    outputs: list[Tensor] = []

    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        outputs.append(output.clone())

    hook = network.get_submodule(name).register_forward_hook(note)
    network(inputs.clone())
    hook.remove()
    return outputs[int(call or 0)]


def test_it_returns_what_a_hook_sees(network: nn.Module) -> None:
    shape = (2, 6) if isinstance(network, Branching) else (2, 3, 32, 32)
    inputs = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for layer in LAYERS[type(network).__name__]:
        part = truncated(network, layer=layer).eval()
        truth = seen(network, layer, inputs)
        torch.testing.assert_close(part(inputs), truth, rtol=0, atol=0)
        encoder = NetworkEncoder(part)
        torch.testing.assert_close(encoder.encode(inputs), truth, rtol=1e-10, atol=1e-12)
        output, vjp = encoder.vjp(inputs)
        torch.testing.assert_close(output, truth, rtol=1e-10, atol=1e-12)
        assert vjp(output).shape == inputs.shape
        # Before the branch there is a graph, too.
        assert encoder.path.startswith("autograd") == (layer in ("second", "relu_1"))


def test_an_unknown_name_is_answered_by_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        truncated(models.resnet18(), layer="layer5")
    assert caught.value.value == "'layer5'"
    assert "layer1" in caught.value.remedy
    assert "layer1.0.conv1" not in caught.value.remedy


def test_a_layer_that_is_not_called_is_refused() -> None:
    branching = Branching().eval()
    for layer in ("unused", "relu_2"):
        with pytest.raises(ModuleError):
            truncated(branching, layer=layer)(torch.zeros(1, 6))
    with pytest.raises(ModuleError):
        truncated(models.vgg11().eval(), layer="features.2_1")(torch.zeros(1, 3, 32, 32))
