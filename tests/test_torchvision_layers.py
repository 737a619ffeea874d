"""Layers of torchvision's networks, against its own forward pass, read by hooks."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from networks import lively_resnet
from torch import Tensor, nn

from harness.plan.networks import RESNET_LAYERS
from harness.subjects.resnet import encoder_of

CPU = torch.device("cpu")


def images(batch: int, pixels: int, columns: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(pixels)
    size = (batch, 3, pixels, columns or pixels)
    return torch.rand(size, dtype=torch.float64, generator=generator)


def cotangent_of(output: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(output.shape, dtype=torch.float64, generator=generator)


network = functools.cache(lively_resnet)


def truth(name: str, place: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Output at a place of the whole network and the gradient there, in float64.

    The hook copies at once, before a later in-place operation overwrites what it was given.
    """
    whole = copy.deepcopy(network(name)).double().eval()
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: object, output: Tensor) -> None:
        seen.append(output.clone())

    whole.get_submodule(place).register_forward_hook(keep)
    leaf = inputs.clone().requires_grad_()
    whole(leaf)
    (output,) = seen
    (gradient,) = torch.autograd.grad(output, leaf, cotangent_of(output))
    return output.detach(), gradient


def errors(found: Tensor, expected: Tensor) -> Tensor:
    """Relative error of each sample."""
    difference = (found.double() - expected).flatten(1).norm(dim=1)
    return difference / expected.flatten(1).norm(dim=1)


CASES = [
    *(("resnet18", layer, 32) for layer in RESNET_LAYERS),
    *(("resnet18", layer, 45) for layer in ("stem", "layer3")),
    *(("resnet50", layer, 32) for layer in ("layer2", "layer4")),
    ("resnext50_32x4d", "layer1", 32),
    *(
        pytest.param(name, layer, 64, marks=pytest.mark.slow)
        for name in ("resnet18", "resnet50")
        for layer in RESNET_LAYERS
    ),
]


@pytest.mark.parametrize(("name", "layer", "pixels"), CASES)
def test_every_layer_has_the_outputs_and_gradients_of_the_whole_network(
    name: str, layer: str, pixels: int
) -> None:
    inputs = images(5, pixels)
    expected, gradient = truth(name, {"stem": "maxpool"}.get(layer, layer), inputs)
    cotangent = cotangent_of(expected)
    for dtype in (torch.float64, torch.float32):
        found = encoder_of(network(name), layer=layer, dtype=dtype, device=CPU)
        for number in (1, 5):  # one image is taken in other ways than several
            outputs, gradients = [], []
            for batch, cotangents in zip(
                inputs.split(number), cotangent.split(number), strict=True
            ):
                output, vjp = found.vjp(batch.to(dtype))
                assert found.path == "compiled plan"
                outputs.append(output)
                gradients.append(vjp(cotangents.to(dtype)))
                assert output.dtype == gradients[-1].dtype == dtype
            off = errors(torch.cat(outputs), expected)
            slanted = errors(torch.cat(gradients), gradient)
            if dtype == torch.float64:
                assert float(off.max()) < 1e-12
                assert float(slanted.max()) < 1e-12
            else:
                assert float(off.max()) < 1e-5
                # A unit within rounding of its kink moves the gradient of its sample by far more.
                assert float(slanted.min()) < 1e-5
                assert float(slanted.max()) < 0.05


def test_a_network_in_train_mode_is_read_in_eval_mode() -> None:
    in_train_mode = copy.deepcopy(network("resnet18")).train()
    expected, _ = truth("resnet18", "layer1", images(3, 32))
    found = encoder_of(in_train_mode, layer="layer1", dtype=torch.float64, device=CPU)
    assert float(errors(found.encode(images(3, 32)), expected).max()) < 1e-12
    assert in_train_mode.training
