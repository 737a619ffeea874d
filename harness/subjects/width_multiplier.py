"""torchvision's ResNets with a share of their channels in every layer."""

from __future__ import annotations

import torch
from torch import nn

from harness.subjects.vision import models

_COLOURS = 3
"""Channels of an image, which stay as they are."""


def scaled_resnet(name: str, *, width_multiplier: float) -> nn.Module:
    """A ResNet with fewer channels in every layer, initialised as torchvision does.

    Convolutions have He's normal initialisation (fan out), BatchNorm starts at 1 and 0, and the
    head has torch's default; all from torch's global generator.

    Parameters
    ----------
    name : str
        torchvision's name.
    width_multiplier : float
        Share of the channels; numbers of channels are rounded, to at least 1.
    """
    with torch.device("meta"):
        whole: nn.Module = models.get_model(name, weights=None)
    for module in whole.modules():
        match module:
            case nn.Conv2d():
                module.groups = _scaled(module.groups, width_multiplier)
                if module.in_channels != _COLOURS:
                    module.in_channels = _scaled(module.in_channels, width_multiplier)
                module.out_channels = _scaled(module.out_channels, width_multiplier)
                shape = (module.out_channels, module.in_channels // module.groups)
                module.weight = nn.Parameter(torch.empty(*shape, *module.kernel_size))
            case nn.BatchNorm2d():
                module.num_features = _scaled(module.num_features, width_multiplier)
                _renew(module, nn.BatchNorm2d(module.num_features))
            case nn.Linear():
                module.in_features = _scaled(module.in_features, width_multiplier)
                _renew(module, nn.Linear(module.in_features, module.out_features))
    for module in whole.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return whole


def _scaled(channels: int, width_multiplier: float) -> int:
    """A scaled number of channels or groups."""
    return max(1, round(channels * width_multiplier))


def _renew(module: nn.Module, like: nn.Module) -> None:
    """Give a module on the meta device the parameters and buffers of another one."""
    module._parameters.update(like._parameters)
    module._buffers.update(like._buffers)
