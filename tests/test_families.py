"""Every family of torchvision's classification models is inverted from a middle layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from inversion_cases import one_thread  # noqa: F401  (a fixture for all)

import harness
from harness.subjects.vision import models

MIDDLE = {
    "alexnet": "features.6",
    "convnext_tiny": "features.3",
    "densenet121": "features.denseblock2",
    "efficientnet_b0": "features.4",
    "efficientnet_v2_s": "features.3",
    "googlenet": "inception3b",
    "inception_v3": "Mixed_5c",
    "mnasnet0_5": "layers.9",
    "mobilenet_v2": "features.7",
    "mobilenet_v3_small": "features.6",
    "regnet_x_400mf": "trunk_output.block2",
    "regnet_y_400mf": "trunk_output.block2",
    "resnet18": "layer3",
    "resnext50_32x4d": "layer2",
    "shufflenet_v2_x0_5": "stage3",
    "squeezenet1_1": "features.7",
    "swin_t": "features.3",
    "swin_v2_t": "features.3",
    "vgg11_bn": "features.15",
    "vit_b_16": "encoder.layers.encoder_layer_1",
    "wide_resnet50_2": "layer2",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    "vit_b_16": {"image_size": 64},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MIDDLE)
def test_every_decoder_lowers_m_g(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = getattr(models, name)(weights=None, **OPTIONS.get(name, {})).eval()
    pixels = 75 if name == "inception_v3" else 64  # which takes no less
    images = torch.rand(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(2))
    for decoder in (
        harness.Adam(),
        harness.Descent(loss="l2", rule="polyak", returns="best", step=1.0, factor=0.5),
        harness.LBFGS(),
        None,
    ):
        found = harness.invert(network, images, layer=MIDDLE[name], decoder=decoder, steps=12)
        assert float(found.m_g) < float(found.traces["m_g"][0])
