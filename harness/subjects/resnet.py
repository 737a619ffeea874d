"""torchvision's ResNets up to a layer."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from harness.encoders.network import NetworkEncoder
from harness.encoders.simplify import fold_batchnorm
from harness.plan.fields import known
from harness.plan.networks import RESNET_LAYERS, ResNet
from harness.subjects.generators import global_seed
from harness.subjects.last import LAST_ENCODER, Last
from harness.subjects.training.trained_weights import load_trained, trained_path
from harness.subjects.vision import models
from harness.subjects.weights import load_file
from harness.subjects.width_multiplier import scaled_resnet

_WHOLE = Last[nn.Module]()


def initial_resnet(network: ResNet, *, seed: int) -> nn.Module:
    """The whole network before any training.

    All but its head is the same whatever it is to be trained on.

    Parameters
    ----------
    network : ResNet
        Name, width multiplier and the classes of its training; its layer is ignored.
    seed : int
        Of torchvision's own initialisation.
    """
    with global_seed(seed):
        whole: nn.Module = (
            models.get_model(network.name, weights=None)
            if network.width_multiplier == 1
            else scaled_resnet(network.name, width_multiplier=network.width_multiplier)
        )
        if network.training is not None:
            assert isinstance(whole.fc, nn.Linear)  # torchvision's head
            whole.fc = nn.Linear(whole.fc.in_features, network.training.classes)
    return whole


def build_resnet(network: ResNet, *, seed: int) -> nn.Module:
    """The whole network in eval mode, its parameters without gradients, on the CPU.

    Parameters
    ----------
    network : ResNet
        Name, weights and training; its layer is ignored.
    seed : int
        Of torchvision's own initialisation, where there is no weights file.

    Raises
    ------
    WeightsError
        Where the weights file cannot be used, or the network has not been trained yet.
    """
    whole = initial_resnet(network, seed=seed)
    if network.training is not None:
        load_trained(whole, network, path=trained_path(network, seed=seed))
    if network.weights is not None:
        load_file(whole, network.weights, name=network.name, layer=RESNET_LAYERS[-1])
    return whole.eval().requires_grad_(False)


def truncated_resnet(whole: nn.Module, *, layer: str) -> nn.Sequential:
    """The part of a ResNet up to and including a layer.

    Nothing follows, so that no in-place operation can overwrite the output: that of conv1 is
    before BatchNorm, that of layer1 to layer4 after their last ReLU.
    """
    known(layer, RESNET_LAYERS, what="layer of a ResNet")
    children = ["conv1"]
    if layer != "conv1":
        children += ["bn1", "relu", "maxpool"]
        children += RESNET_LAYERS[2 : RESNET_LAYERS.index(layer) + 1]
    return nn.Sequential(*(whole.get_submodule(child) for child in children)).eval()


def resnet_encoder(
    network: ResNet,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> NetworkEncoder:
    """Encoder of a ResNet up to its layer, cached: do not change it.

    See `encoder_of`; `forget_encoder` frees the memory that it holds.
    """
    return LAST_ENCODER.get(
        (network, seed, dtype, device),
        lambda: encoder_of(
            whole_resnet(network, seed=seed),
            layer=network.layer,
            dtype=dtype,
            device=device,
        ),
    )


def whole_resnet(network: ResNet, *, seed: int) -> nn.Module:
    """As `build_resnet`, cached: do not change it."""
    whole = dataclasses.replace(network, layer=RESNET_LAYERS[-1])
    return _WHOLE.get((whole, seed), lambda: build_resnet(whole, seed=seed))


def encoder_of(
    whole: nn.Module,
    *,
    layer: str,
    dtype: torch.dtype,
    device: torch.device,
) -> NetworkEncoder:
    """Encoder of a built ResNet up to a layer, with BatchNorm folded into its convolutions.

    The network itself is not changed.
    """
    # Cast before folding, or a float64 encoder would have the rounding of float32.
    module = copy.deepcopy(truncated_resnet(whole, layer=layer)).to(device, dtype)
    fold_batchnorm(module)
    # mypy does not know the keyword that nn.Module.to documents.
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return NetworkEncoder(module, owned=True)
