"""Simplified networks compute what they computed before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.encoders.simplify import trim_kernels
from harness.plan.networks import ResNet
from harness.subjects.resnet import build_resnet, truncated_resnet

CPU = torch.device("cpu")


def test_deep_layers_of_small_images_lose_most_taps() -> None:
    module = truncated_resnet(
        build_resnet(ResNet(name="resnet18", layer="conv1"), seed=3), layer="layer4"
    )
    before = sum(parameter.numel() for parameter in module.parameters())
    trim_kernels(module, shape=(3, 32, 32))
    after = sum(parameter.numel() for parameter in module.parameters())
    # layer4 sees one pixel: one of nine taps is left, four of nine in its strided convolution.
    assert after < before / 2


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
def test_trimming_any_convolution_changes_nothing(stride: int, padding: int, kernel: int) -> None:
    for size in ((1, 1), (2, 1), (3, 4), (8, 2)):
        if min(size) + 2 * padding < kernel:
            continue
        convolution = nn.Conv2d(2, 3, kernel, stride=stride, padding=padding).double()
        images = torch.rand(2, 2, *size, dtype=torch.float64)
        expected = convolution(images)
        trim_kernels(convolution, shape=(2, *size))
        torch.testing.assert_close(convolution(images), expected, rtol=1e-12, atol=1e-12)
