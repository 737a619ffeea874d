"""Networks that several tests look at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from harness.plan.networks import ResNet
from harness.subjects.resnet import build_resnet


def lively_resnet(name: str) -> nn.Module:
    """A ResNet in eval mode whose BatchNorms do something."""
    whole = build_resnet(ResNet(name=name, layer="conv1"), seed=7)
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


class Mixer(nn.Module):
    """Attention, normalisation and mixing of tokens, which no stack of layers is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.mix = nn.Conv1d(4, 4, 3, padding=1)
        self.out = nn.Linear(6, 5)
        self.batchnorm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.unflatten(1, (4, 6)))
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        mixed = nn.functional.gelu(self.mix(tokens + attended))
        return torch.relu_(self.batchnorm(self.out(mixed).transpose(1, 2))).flatten(1)


class Rosenbrock(nn.Module):
    """Residuals of which Rosenbrock's function is the sum of squares, least at (1, 1)."""

    def __init__(self, curvature: float = 10.0) -> None:
        super().__init__()
        self.curvature = curvature

    def forward(self, inputs: Tensor) -> Tensor:
        x, y = inputs.unbind(1)
        return torch.stack([self.curvature * (y - x.square()), 1 - x], dim=1)
