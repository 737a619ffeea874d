"""Networks that several tests look at."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.settings import ResNet
from harness.subjects.resnet import build_resnet


def lively_resnet(name: str) -> nn.Module:
    """A ResNet in eval mode whose BatchNorms do something."""
    whole = build_resnet(ResNet(name=name, cut="conv1"), seed=7)
    source = np.random.default_rng(7)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                assert values is not None
                values.copy_(torch.from_numpy(source.uniform(low, high, values.shape)))
    return whole
