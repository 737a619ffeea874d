"""Networks that nobody here thought of: their own values, by a plan, or by autograd and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from inversion_cases import normal, one_thread  # noqa: F401  (a fixture for all)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from harness.encoders.network import NetworkEncoder
from harness.subjects.vision import models

TOLERANCE = 100 * torch.finfo(torch.float64).eps


def lively(module: nn.Module, *, seed: int) -> nn.Module:
    """A module in eval mode and float64 whose values stay about as large from layer to layer."""
    source = torch.Generator().manual_seed(seed)
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        if not values.is_floating_point():
            continue
        if values.dim() > 1:
            values.data.normal_(0, values[0].numel() ** -0.5, generator=source)
        elif name.endswith(("weight", "var")):
            values.data.uniform_(0.5, 1.5, generator=source)
        else:
            values.data.uniform_(-0.5, 0.5, generator=source)
    return module.double().eval().requires_grad_(False)


def own(module: nn.Module, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Outputs of a module, and their VJP by autograd."""
    leaf = inputs.clone().requires_grad_()
    output: Tensor = module(leaf.clone())
    return output, lambda cotangent: torch.autograd.grad(output, leaf, cotangent)[0]


def check(module: nn.Module, inputs: Tensor, *, plan: bool | None = None) -> None:
    """An encoder has the module's own values and VJP, and tells why where it takes autograd.

    A plan's JVP is the transpose of its VJP; torch's own lacks some second derivatives.

    Parameters
    ----------
    plan : bool, optional
        Whether it is a compiled plan.
    """
    found = NetworkEncoder(module)
    output, vjp = found.vjp(inputs)
    truth, own_vjp = own(module, inputs)
    cotangent = normal(*truth.shape, seed=1)
    for mine, theirs, vector in (
        (output, truth.detach(), inputs),
        (vjp(cotangent), own_vjp(cotangent), cotangent),
    ):
        assert mine.shape == theirs.shape
        scale = max(float(theirs.norm()), float(vector.norm()))
        assert float((mine - theirs).norm()) <= TOLERANCE * scale
    if plan is not None:
        assert (found.path == "compiled plan") is plan, found.path
    if found.path == "compiled plan":
        _, jvp, vjp = found.linearize(inputs)
        tangent = normal(*inputs.shape, seed=2)
        moved, gradient = jvp(tangent), vjp(cotangent)
        scale = moved.norm() * cotangent.norm() + gradient.norm() * tangent.norm()
        assert abs((moved * cotangent).sum() - (gradient * tangent).sum()) <= TOLERANCE * scale
    else:
        assert found.path.startswith("autograd: ")
        assert len(found.path) > len("autograd: ")
        assert "\n" not in found.path


class Step(nn.Module):
    """A function of some layers and a value."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.made = function

    def forward(self, x: Tensor) -> Tensor:
        return self.made(x, *self.layers)


class Scaled(nn.Module):
    """Every channel times a parameter, plus a buffer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.register_buffer("shift", torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x - self.shift / 2


def shuffled(x: Tensor) -> Tensor:
    batch, channels, rows, columns = x.size()
    parts = x.view(batch, 2, channels // 2, rows, columns)
    return torch.transpose(parts, 1, 2).contiguous().view(batch, -1, rows, columns)


def halves(x: Tensor, layer: nn.Module) -> Tensor:
    kept, changed = x.chunk(2, dim=1)
    return torch.cat((kept, layer(changed)), dim=1)


def overwriting(x: Tensor, layer: nn.Module) -> Tensor:
    """Reads a value before and after it is overwritten."""
    y = layer(x)
    before = y.sum((2, 3), keepdim=True)
    y += x
    y.mul_(0.5)
    return y - before / 100


def activation(draw: st.DrawFn) -> nn.Module:
    kinds: list[Callable[[], nn.Module]] = [
        *(nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus, nn.LogSigmoid, nn.PReLU, nn.Softsign),
        partial(nn.GELU, "tanh"),
        partial(nn.Softplus, 2.0, 1.0),
        partial(nn.Hardtanh, -0.5, 1.5),
        *(
            partial(kind, inplace=inplace)
            for kind in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.ELU)
            for inplace in (False, True)
        ),
        partial(nn.LeakyReLU, 0.2, True),
    ]
    return draw(st.sampled_from(kinds))()


def layer_of(draw: st.DrawFn, channels: int) -> nn.Module:
    """A layer that keeps rows, columns and channels."""
    taps = draw(st.sampled_from([1, 3, 5]))
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    spacing = draw(st.integers(1, 2))
    return draw(
        st.sampled_from(
            [
                lambda: nn.Conv2d(
                    channels,
                    channels,
                    taps,
                    padding=spacing * (taps // 2),
                    dilation=spacing,
                    groups=groups,
                    bias=spacing == 1,
                ),
                lambda: nn.Conv2d(channels, channels, taps, padding="same", groups=groups),
                lambda: nn.ConvTranspose2d(channels, channels, taps, 1, taps // 2, groups=groups),
                lambda: nn.BatchNorm2d(channels, affine=taps == 1),
                lambda: nn.GroupNorm(groups, channels, eps=0.1),
                lambda: nn.MaxPool2d(3, 1, 1),
                lambda: nn.AvgPool2d([3, 3], 1, [1, 1], count_include_pad=taps == 1),
                lambda: nn.Dropout2d(0.5),
                lambda: Scaled(channels),
            ]
        )
    )()


def step_of(draw: st.DrawFn, channels: int) -> tuple[nn.Module, int]:
    """A part of a network, and its number of channels.

    What is added to variances keeps normalisation of a few numbers well-conditioned.
    """
    inner = nn.Sequential(layer_of(draw, channels), activation(draw))
    more = 2 * draw(st.integers(1, 4))
    half = channels // 2
    kind = draw(st.integers(0, 15))
    match kind:
        case 0 | 1:
            return inner, channels
        case 2:
            return nn.Conv2d(channels, more, draw(st.integers(1, 4)), 2, 2), more
        case 3:
            return nn.ConvTranspose2d(channels, more, 3, 2, 2, 1), more
        case 4:
            pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
            return pool(draw(st.integers(1, 3)), stride=[1, 2], padding=0, ceil_mode=True), channels
        case 5:
            return nn.AdaptiveAvgPool2d((draw(st.integers(1, 5)), None)), channels
        case 6:
            return Step(lambda x, f: x + f(x), inner), channels
        case 7:
            return Step(lambda x, f: f(x) - 2 * x, inner), channels
        case 8:
            return Step(lambda x, f: torch.cat([x, f(x), x], 1), inner), 3 * channels
        case 9:
            gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
            return Step(lambda x, g: x * g(x).sigmoid(), gate), channels
        case 10:
            tokens = nn.Sequential(
                nn.LayerNorm(channels, eps=0.1), nn.Linear(channels, more), activation(draw)
            )
            return Step(lambda x, f: f(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), tokens), more
        case 11:
            return Step(shuffled), channels
        case 12:
            return Step(halves, layer_of(draw, half)), channels
        case 13:
            return Step(overwriting, layer_of(draw, channels)), channels
        case 14:
            return Step(lambda x: F.pad(x, (1, 0, 1, 0)) / 2 + 1), channels
        case _:
            return Step(
                lambda x: F.hardswish(F.layer_norm(x, x.shape[1:], eps=0.1), True)
            ), channels


def end_of(draw: st.DrawFn, channels: int) -> nn.Module:
    """What makes vectors, or sequences, of images."""
    return draw(
        st.sampled_from(
            [
                nn.Identity,
                nn.Flatten,
                lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU(True)),
                lambda: Step(lambda x, f: f(x.mean([-1, -2])), nn.Linear(channels, 5)),
                lambda: Step(
                    lambda x, f, g: g(f(x.flatten(2))),
                    nn.Conv1d(channels, 3, 3, padding=1),
                    nn.BatchNorm1d(3),
                ),
                lambda: Step(lambda x: torch.stack([x[:, 0], x[:, -1]], 1).view(x.size(0), -1)),
                lambda: nn.Softmax(1),
            ]
        )
    )()


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    channels = 2 * draw(st.integers(1, 4))
    parts: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1)]
    for _ in range(draw(st.integers(1, 5))):
        part, channels = step_of(draw, channels)
        parts.append(part)
    return nn.Sequential(*parts, end_of(draw, channels))


def random_network(module: nn.Module, seed: int, batch: int) -> None:
    module = lively(module, seed=seed)
    inputs = normal(batch, 3, 9, 8, seed=seed)
    try:
        output, vjp = own(module, inputs)
        vjp(torch.ones_like(output))
    except RuntimeError as error:
        # The image is smaller than a window, or what autograd has to read was overwritten.
        assume("inplace" not in str(error) and "size" not in str(error))
        raise
    check(module, inputs, plan=not isinstance(module[-1], nn.Softmax))


FUZZ = given(module=networks(), seed=st.integers(0, 2**32), batch=st.integers(1, 3))
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=60, **QUIET)
@FUZZ
def test_random_networks(module: nn.Module, seed: int, batch: int) -> None:
    random_network(module, seed, batch)


@pytest.mark.slow
@settings(max_examples=400, **QUIET)
@FUZZ
def test_many_random_networks(module: nn.Module, seed: int, batch: int) -> None:
    random_network(module, seed, batch)


def strided_afterwards() -> nn.Module:
    layer = nn.Conv2d(3, 4, 3, padding=1)
    layer.stride, layer.padding, layer.dilation = 2, 1, 1
    return layer


def without_bias(layer: nn.Module) -> nn.Module:
    layer.bias = None
    return layer


class Doubled(nn.Conv2d):
    def _conv_forward(self, *args: Any) -> Tensor:
        return 2 * super()._conv_forward(*args)


class Standardised(nn.Conv2d):
    """Weights of mean 0, computed at every call."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Last(nn.Module):
    """The first of what a layer returns."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(2)
        output: Tensor = self.layer(
            *[y] * (3 if isinstance(self.layer, nn.MultiheadAttention) else 1)
        )[0]
        return output


PLANS: dict[str, Callable[[], nn.Module]] = {
    "stride set afterwards": strided_afterwards,
    "strides in lists": lambda: nn.Conv2d(3, 4, [3, 2], stride=[2, 1], padding=[1, 0]),
    "groups": lambda: nn.Conv2d(3, 6, 3, groups=3, dilation=2, bias=False),
    "even and padded": lambda: nn.Conv2d(3, 4, 3, padding="same", dilation=3),
    "valid": lambda: nn.Conv2d(3, 4, 3, padding="valid"),
    "padding beyond the kernel": lambda: nn.Conv2d(3, 4, 2, padding=3),
    "transposed": lambda: nn.ConvTranspose2d(3, 6, 3, 2, 1, 1, groups=3),
    "transposed, dilated": lambda: nn.ConvTranspose2d(3, 2, (3, 2), (2, 1), dilation=2, bias=False),
    "convolution derived": lambda: Doubled(3, 4, 3),
    "weights standardised": lambda: Standardised(3, 4, 3),
    "no affine": lambda: nn.BatchNorm2d(3, affine=False),
    "affine without bias": lambda: without_bias(nn.BatchNorm2d(3)),
    "GroupNorm": lambda: nn.GroupNorm(3, 3, affine=False),
    "LayerNorm": lambda: nn.LayerNorm([3, 8, 8], bias=False),
    "MaxPool in lists": lambda: nn.MaxPool2d(
        [2, 3], stride=[2, 1], padding=[1, 1], dilation=[1, 2]
    ),
    "MaxPool, rounded up": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "AvgPool, borders": lambda: nn.AvgPool2d(3, 2, 1, True, count_include_pad=False),
    "AvgPool, divisor": lambda: nn.AvgPool2d(2, divisor_override=3),
    "AdaptiveAvgPool, uneven": lambda: nn.AdaptiveAvgPool2d((3, 5)),
    "AdaptiveAvgPool, larger": lambda: nn.AdaptiveAvgPool2d(11),
    "PReLU": lambda: nn.PReLU(3),
    "rows": lambda: nn.Linear(8, 5),
    "ZeroPad": lambda: nn.ZeroPad2d((1, -1, 2, 0)),
    "PixelUnshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2)),
    "ChannelShuffle": lambda: nn.ChannelShuffle(3),
    "Dropout": lambda: nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()),
    "Flatten from the end": lambda: nn.Sequential(nn.Flatten(-2), nn.Unflatten(2, (2, -1))),
}
"""Variants of layers that are compiled."""

OTHERS: dict[str, Callable[[], nn.Module]] = {
    "reflected": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    "weight norm": lambda: weight_norm(nn.Conv2d(3, 4, 3)),
    "InstanceNorm": lambda: nn.InstanceNorm2d(3, affine=True),
    "LocalResponseNorm": lambda: nn.LocalResponseNorm(2),
    "RMSNorm": lambda: nn.RMSNorm(8),
    "Softmax": lambda: nn.Softmax(1),
    "GLU": lambda: nn.GLU(2),
    "Softshrink": nn.Softshrink,
    "AdaptiveMaxPool": lambda: nn.AdaptiveMaxPool2d(3),
    "LPPool": lambda: nn.LPPool2d(2, 2),
    "Upsample": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "Unfold": lambda: nn.Unfold(2),
    "Conv3d": lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 2, 3)),
    "attention": lambda: Last(nn.MultiheadAttention(64, 2, batch_first=True)),
    "LSTM": lambda: Last(nn.LSTM(64, 5, batch_first=True)),
    "Transformer": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 2, 8, batch_first=True)
    ),
}
"""Variants of layers that are left to autograd."""


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", [*PLANS, *OTHERS])
def test_variants_of_layers(name: str, batch: int) -> None:
    module = lively((PLANS | OTHERS)[name](), seed=2)
    check(module, normal(batch, 3, 8, 8, seed=3), plan=name in PLANS)


def resnet(**options: Any) -> nn.Module:
    return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], **options)


def regnet() -> nn.Module:
    params = models.regnet.BlockParams.from_init_params(4, 8, 8, 2.0, 8, se_ratio=0.25)
    return models.RegNet(params, num_classes=10)


def convnext() -> nn.Module:
    blocks = [models.convnext.CNBlockConfig(8, 16, 2), models.convnext.CNBlockConfig(16, None, 1)]
    return models.ConvNeXt(blocks, stochastic_depth_prob=0.1, num_classes=10)


def efficientnet(*, fused: bool) -> nn.Module:
    config = models.efficientnet.FusedMBConvConfig if fused else models.efficientnet.MBConvConfig
    blocks = [config(4, 3, 2, 16, 16, 2), models.efficientnet.MBConvConfig(6, 5, 2, 16, 24, 1)]
    return models.EfficientNet(blocks, dropout=0.2, last_channel=64, num_classes=10)


def mobilenet_v3() -> nn.Module:
    config = partial(models.mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    blocks = [config(16, 3, 16, 16, True, "RE", 2), config(16, 5, 32, 24, True, "HS", 1)]
    return models.MobileNetV3(blocks, last_channel=32, num_classes=10)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "AlexNet": lambda: nn.Sequential(*[*models.alexnet().children()][:2]),
    "ConvNeXt": convnext,
    "DenseNet": partial(models.DenseNet, 8, (2, 2), 16, num_classes=10),
    "EfficientNet": partial(efficientnet, fused=False),
    "EfficientNetV2": partial(efficientnet, fused=True),
    "GoogLeNet": partial(models.googlenet, init_weights=False, transform_input=True),
    "MNASNet": partial(models.MNASNet, 0.25, num_classes=10),
    "MobileNetV2": partial(models.MobileNetV2, width_mult=0.25, num_classes=10),
    "MobileNetV3": mobilenet_v3,
    "RegNet": regnet,
    "ResNet": resnet,
    "ResNeXt": partial(resnet, groups=4, width_per_group=8),
    "ShuffleNetV2": partial(models.ShuffleNetV2, [2, 2, 1], [8, 16, 24, 32, 64]),
    "SqueezeNet": partial(models.squeezenet1_1, num_classes=10),
    "VGG": lambda: (
        models.VGG(
            models.vgg.make_layers([8, "M", 16, 16, "M"], batch_norm=True), init_weights=False
        ).features
    ),
}
"""Families of torchvision whose forward pass can be traced, narrow where they can be."""

ATTENTIVE: dict[str, Callable[[], nn.Module]] = {
    "MaxVit": partial(models.MaxVit, (64, 64), 8, 2, [8, 16], [1, 1], 8, 0.1),
    "Swin": partial(models.SwinTransformer, [4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=10),
    "VisionTransformer": partial(models.VisionTransformer, 64, 16, 1, 2, 16, 16, num_classes=10),
}
"""Families of torchvision with attention."""

LARGE: Sequence[str] = (
    *("convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "inception_v3"),
    *("mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "regnet_x_400mf", "resnext50_32x4d"),
    *("shufflenet_v2_x1_0", "squeezenet1_0", "vgg11_bn", "wide_resnet50_2"),
)
"""Networks of torchvision as they are."""


def check_family(make: Callable[[], nn.Module], *, plan: bool, pixels: int = 64) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialisations to come
        module = make()
    module = lively(module, seed=4)
    check(module, torch.rand(2, 3, pixels, pixels, dtype=torch.float64), plan=plan)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_torchvision(name: str) -> None:
    check_family(FAMILIES[name], plan=True)


@pytest.mark.parametrize("name", ATTENTIVE)
def test_families_with_attention(name: str) -> None:
    check_family(ATTENTIVE[name], plan=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_networks_of_torchvision(name: str) -> None:
    small = name == "inception_v3"  # needs 75 pixels
    check_family(getattr(models, name), plan=True, pixels=96 if small else 64)
