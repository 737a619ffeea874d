"""Each operation of compiled plans: outputs, VJP and JVP against autograd in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import normal, one_thread  # noqa: F401  (a fixture for all)
from torch import Tensor, nn
from torch.nn import functional as F

from harness.encoders.network import NetworkEncoder

TOLERANCE = 100 * torch.finfo(torch.float64).eps


class Applying(nn.Module):
    """What a function makes of an input, and of parameters and buffers."""

    def __init__(self, function: Callable[..., Tensor], *constants: Tensor) -> None:
        super().__init__()
        self.function = function
        for number, each in enumerate(constants):
            if number % 2:
                self.register_buffer(f"constant{number}", each)
            else:
                setattr(self, f"constant{number}", nn.Parameter(each))
        self.names = [f"constant{number}" for number in range(len(constants))]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *(getattr(self, name) for name in self.names))


def drawn(module: nn.Module, *, seed: int) -> nn.Module:
    """A module in eval mode with random parameters, and variances above zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        if values.is_floating_point():
            values.data.normal_(generator=generator)
        if name.endswith("running_var"):
            values.data.abs_().add_(0.5)
    return module.double().eval().requires_grad_(False)


def check(module: nn.Module, inputs: Tensor, *, diagonal: bool = False) -> None:
    """A plan's outputs, gradients and tangents against torch's own.

    Parameters
    ----------
    diagonal : bool
        Whether the module is a function of every number by itself; torch lacks the second
        derivatives of some, by which it computes a tangent.
    """

    def call(values: Tensor) -> Tensor:
        output: Tensor = module(values.clone())
        return output if output.dim() > 1 else output[:, None]

    found, kept = NetworkEncoder(module), inputs.clone()
    output, jvp, vjp = found.linearize(inputs)
    assert found.path == "compiled plan"
    cotangent = normal(*output.shape, seed=1)
    tangent = normal(*inputs.shape, seed=2)
    leaf = inputs.clone().requires_grad_()
    truth = call(leaf)
    (gradient,) = torch.autograd.grad(truth, leaf, cotangent, retain_graph=True)
    if diagonal:
        (slope,) = torch.autograd.grad(truth, leaf, torch.ones_like(truth))
        moved = slope * tangent
    else:
        _, moved = torch.autograd.functional.jvp(call, inputs, tangent)
    for mine, other, vector in (
        (output, truth.detach(), inputs),
        (vjp(cotangent), gradient, cotangent),
        (jvp(tangent), moved, tangent),
    ):
        assert mine.shape == other.shape
        scale = max(float(other.norm()), float(vector.norm()))
        assert float((mine - other).norm()) <= TOLERANCE * scale
    # They are there as often as they are asked for, and nothing is overwritten that others read.
    assert torch.equal(vjp(cotangent), found.vjp(inputs)[1](cotangent))
    assert torch.equal(jvp(tangent), jvp(tangent))
    assert torch.equal(found.encode(inputs), output)
    assert torch.equal(inputs, kept)


ELEMENTWISE: dict[str, Callable[[], nn.Module]] = {
    **{
        f"{kind.__name__}{', in place' * inplace}": lambda kind=kind, inplace=inplace: kind(
            inplace=inplace
        )
        for kind in (
            *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish),
            *(nn.ELU, nn.CELU, nn.SELU, nn.LeakyReLU, nn.Hardtanh),
        )
        for inplace in (False, True)
    },
    "GELU": nn.GELU,
    "GELU, tanh": lambda: nn.GELU("tanh"),
    "LeakyReLU, steep": lambda: nn.LeakyReLU(0.7),
    "Hardtanh, uneven": lambda: nn.Hardtanh(-0.25, 2.0),
    "ELU, alpha": lambda: nn.ELU(0.3),
    "CELU, alpha": lambda: nn.CELU(2.0),
    "Softplus": nn.Softplus,
    "Softplus, options": lambda: nn.Softplus(2.0, 3.0),
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "LogSigmoid": nn.LogSigmoid,
    "Softsign": nn.Softsign,
    "PReLU": nn.PReLU,
    "PReLU, channels": lambda: nn.PReLU(3),
    **{
        name: lambda function=function: Applying(function)
        for name, function in {
            "exp": torch.exp,
            "sin": torch.sin,
            "cos": lambda x: x.cos(),
            "abs": torch.abs,
            "square": lambda x: x.square(),
            "root": lambda x: (x * x + 1).sqrt(),
            "cube": lambda x: x**3,
            "pow": lambda x: torch.pow(x, 2),
            "inverse": lambda x: 2 / (x.exp() + 1),
            "negative": lambda x: -x,
            "affine": lambda x: 3 - (2 * x + 1) / 4,
            "method": lambda x: x.tanh_().sigmoid(),
            "function": lambda x: F.leaky_relu(F.silu(x), 0.2, True),
            "relu6, positional": lambda x: F.relu6(x, True),
            "scaled sum": lambda x: torch.add(x, x, alpha=-3) - torch.sub(1, x, alpha=2),
            "product with itself": lambda x: x * x / (x * x + 2),
        }.items()
    },
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 7), (2, 3, 5)], ids=str)
def test_functions_of_every_number(name: str, shape: tuple[int, ...]) -> None:
    module = ELEMENTWISE[name]()
    if name == "PReLU, channels" and shape[1] != 3:
        shape = (2, 3)
    module = drawn(module, seed=3)
    inputs = 3 * normal(*shape, seed=len(shape))
    inputs[-1].view(-1)[:3] = torch.tensor([0.0, 3.0, -3.0])  # where some have kinks
    check(module, inputs, diagonal=True)


Case = tuple[nn.Module, tuple[int, ...]]
"""A module, and the shape of its inputs."""

SMALL = st.integers(1, 4)
SIZES = st.integers(5, 9)


def one_or_pair(draw: st.DrawFn, least: int, most: int) -> int | tuple[int, int] | list[int]:
    """A number for both axes, or one for each, as torch takes them."""
    number = st.integers(least, most)
    return draw(
        st.one_of(number, st.tuples(number, number), st.lists(number, min_size=2, max_size=2))
    )


def images(draw: st.DrawFn, channels: int | None = None) -> tuple[int, int, int, int]:
    return draw(SMALL), channels or draw(st.integers(1, 6)), draw(SIZES), draw(SIZES)


def sequences(draw: st.DrawFn, channels: int | None = None) -> tuple[int, int, int]:
    return draw(SMALL), channels or draw(st.integers(1, 6)), draw(SIZES)


def any_shape(draw: st.DrawFn) -> tuple[int, ...]:
    return tuple(draw(st.lists(SMALL, min_size=2, max_size=5)))


def grouped(draw: st.DrawFn) -> dict[str, int | bool]:
    groups = draw(st.integers(1, 3))
    inputs, outputs = groups * draw(SMALL), groups * draw(SMALL)
    options = {"in_channels": inputs, "out_channels": outputs, "groups": groups}
    return {**options, "bias": draw(st.booleans())}


def conv1d(draw: st.DrawFn) -> Case:
    options = grouped(draw)
    padding = draw(st.sampled_from([0, 1, 2, "same", "valid"]))
    stride = 1 if padding == "same" else draw(st.integers(1, 2))
    layer = nn.Conv1d(
        kernel_size=draw(st.sampled_from([1, 3])),
        stride=stride,
        padding=padding,
        dilation=draw(st.integers(1, 2)),
        **options,
    )
    return layer, sequences(draw, layer.in_channels)


def conv2d(draw: st.DrawFn) -> Case:
    layer = nn.Conv2d(
        kernel_size=one_or_pair(draw, 1, 3),
        stride=one_or_pair(draw, 1, 2),
        padding=one_or_pair(draw, 0, 2),
        dilation=one_or_pair(draw, 1, 2),
        **grouped(draw),
    )
    return layer, images(draw, layer.in_channels)


def conv2d_padded_by_name(draw: st.DrawFn) -> Case:
    layer = nn.Conv2d(
        kernel_size=(draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 5]))),
        padding=draw(st.sampled_from(["same", "valid"])),
        dilation=draw(st.integers(1, 2)),
        **grouped(draw),
    )
    return layer, (draw(SMALL), layer.in_channels, draw(SIZES) + 4, draw(SIZES) + 4)


def depthwise(draw: st.DrawFn) -> Case:
    channels = draw(st.integers(1, 20))
    layer = nn.Conv2d(
        channels,
        channels,
        draw(st.sampled_from([3, 5])),
        draw(st.integers(1, 2)),
        2,
        groups=channels,
    )
    return layer, images(draw, channels)


def transposed_options(draw: st.DrawFn) -> dict[str, int]:
    stride = draw(st.integers(1, 3))
    return {
        "kernel_size": draw(st.integers(1, 4)),
        "stride": stride,
        "output_padding": draw(st.integers(0, stride - 1)),
        "padding": draw(st.integers(0, 1)),
    }


def conv_transpose1d(draw: st.DrawFn) -> Case:
    layer = nn.ConvTranspose1d(**transposed_options(draw), **grouped(draw))
    return layer, sequences(draw, layer.in_channels)


def conv_transpose2d(draw: st.DrawFn) -> Case:
    dilation = draw(st.integers(1, 2))
    layer = nn.ConvTranspose2d(**transposed_options(draw), **grouped(draw), dilation=dilation)
    return layer, images(draw, layer.in_channels)


def linear(draw: st.DrawFn) -> Case:
    shape = any_shape(draw)
    return nn.Linear(shape[-1], draw(SMALL), bias=draw(st.booleans())), shape


def matmul(draw: st.DrawFn) -> Case:
    shape = any_shape(draw)
    return Applying(torch.matmul, torch.ones(shape[-1], draw(SMALL))), shape


def batch_norm(draw: st.DrawFn) -> Case:
    kind, shape = draw(
        st.sampled_from(
            [
                (nn.BatchNorm1d, (3, 4)),
                (nn.BatchNorm1d, (3, 4, 5)),
                (nn.BatchNorm2d, (3, 4, 5, 6)),
                (nn.BatchNorm3d, (3, 4, 5, 2, 3)),
            ]
        )
    )
    layer = kind(4, affine=draw(st.booleans()), eps=draw(st.sampled_from([1e-5, 0.1])))
    if draw(st.booleans()):
        layer.bias = None
    return layer, shape


def layer_norm(draw: st.DrawFn) -> Case:
    shape = draw(SMALL), draw(SMALL), draw(SIZES), draw(SIZES)
    axes = draw(st.integers(1, 3))
    options = {"elementwise_affine": draw(st.booleans()), "bias": draw(st.booleans())}
    return nn.LayerNorm(shape[-axes:], **options), shape


def group_norm(draw: st.DrawFn) -> Case:
    groups = draw(st.integers(1, 3))
    channels = groups * draw(SMALL)
    layer = nn.GroupNorm(groups, channels, affine=draw(st.booleans()))
    shape = images(draw, channels) if draw(st.booleans()) else sequences(draw, channels)
    return layer, shape


def max_pool2d(draw: st.DrawFn) -> Case:
    layer = nn.MaxPool2d(
        one_or_pair(draw, 2, 3),
        stride=draw(st.one_of(st.none(), st.integers(1, 3))),
        padding=one_or_pair(draw, 0, 1),
        dilation=one_or_pair(draw, 1, 2),
        ceil_mode=draw(st.booleans()),
    )
    return layer, images(draw)


def max_pool1d(draw: st.DrawFn) -> Case:
    options = {"padding": draw(st.integers(0, 1)), "dilation": draw(st.integers(1, 2))}
    stride = draw(st.one_of(st.none(), st.integers(1, 3)))
    layer = nn.MaxPool1d(draw(st.integers(2, 3)), stride, ceil_mode=draw(st.booleans()), **options)
    return layer, sequences(draw)


def avg_pool2d(draw: st.DrawFn) -> Case:
    layer = nn.AvgPool2d(
        one_or_pair(draw, 2, 3),
        stride=draw(st.one_of(st.none(), st.integers(1, 3))),
        padding=one_or_pair(draw, 0, 1),
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
        divisor_override=draw(st.one_of(st.none(), st.integers(1, 5))),
    )
    return layer, images(draw)


def avg_pool1d(draw: st.DrawFn) -> Case:
    layer = nn.AvgPool1d(
        draw(st.integers(2, 3)),
        draw(st.one_of(st.none(), st.integers(1, 3))),
        draw(st.integers(0, 1)),
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
    )
    return layer, sequences(draw)


def adaptive_avg_pool2d(draw: st.DrawFn) -> Case:
    size = st.one_of(st.none(), st.integers(1, 12))
    wanted = draw(st.one_of(st.integers(1, 12), st.tuples(size, size)))
    return nn.AdaptiveAvgPool2d(wanted), images(draw)


def adaptive_avg_pool1d(draw: st.DrawFn) -> Case:
    return nn.AdaptiveAvgPool1d(draw(st.integers(1, 12))), sequences(draw)


def totals(draw: st.DrawFn) -> Case:
    shape = any_shape(draw)
    some = st.lists(st.integers(1, len(shape) - 1), min_size=1, unique=True)
    axes: int | list[int] = draw(st.one_of(st.integers(1, len(shape) - 1), some))
    if draw(st.booleans()):
        axes = [axis - len(shape) for axis in axes] if isinstance(axes, list) else axes - len(shape)
    function = draw(st.sampled_from([torch.mean, torch.sum]))
    keeps = draw(st.booleans())
    return Applying(lambda x: function(x, axes, keepdim=keeps)), shape


def broadcast_values(draw: st.DrawFn) -> Case:
    """Two values of which either is one number along some axes."""
    shape = any_shape(draw)
    axes = st.lists(st.integers(1, len(shape) - 1), unique=True)
    first, second = draw(axes), draw(axes)
    apply = draw(
        st.sampled_from(
            [
                torch.add,
                torch.sub,
                torch.mul,
                lambda x, y: x / (y * y + 1),
                lambda x, y: torch.add(x, y, alpha=3),
            ]
        )
    )

    def function(x: Tensor) -> Tensor:
        y = x.sigmoid()
        if first:
            x = x.mean(first, keepdim=True)
        if second:
            y = y.sum(second, keepdim=True)
        result: Tensor = apply(x, y)
        return result

    return Applying(function), shape


def broadcast_constants(draw: st.DrawFn) -> Case:
    """A value and a constant of which either is one number along some axes."""
    shape = any_shape(draw)
    axes = range(1, len(shape))
    value = (shape[0], *(shape[axis] if draw(st.booleans()) else 1 for axis in axes))
    constant = (1, *(shape[axis] if draw(st.booleans()) else 1 for axis in axes))
    if draw(st.booleans()):
        constant = constant[draw(st.integers(1, len(shape))) :]
    apply = draw(
        st.sampled_from(
            [
                torch.add,
                lambda x, c: c + x,
                torch.sub,
                lambda x, c: c - x,
                torch.mul,
                lambda x, c: c * x,
                lambda x, c: x / (c * c + 1),
                lambda x, c: torch.sub(x, c, alpha=2),
            ]
        )
    )
    return Applying(apply, torch.ones(constant)), value


def put_together(draw: st.DrawFn) -> Case:
    shape = any_shape(draw)
    axis = draw(st.integers(1, len(shape) - 1))
    back = axis - len(shape) if draw(st.booleans()) else axis
    function = draw(
        st.sampled_from(
            [
                lambda x: torch.cat([x, x.tanh(), x], back),
                lambda x: torch.cat((x, x.sum(axis, keepdim=True)), dim=back),
                lambda x: torch.stack([x, x.sin()], axis),
                lambda x: torch.cat(x.chunk(2, axis)[::-1], axis),
                lambda x: torch.cat([x.narrow(axis, 0, 1), x], axis),
            ]
        )
    )
    return Applying(function), shape


def taken_apart(draw: st.DrawFn) -> Case:
    batch, channels, rows, columns = images(draw)
    function = draw(
        st.sampled_from(
            [
                lambda x: x.chunk(2, 2)[1],
                lambda x: x.unbind(2)[-1] + x.unbind(-2)[0],
                lambda x: 3 * x.split([2, rows - 2], dim=2)[1],
                lambda x: x.split(2, 3)[0] * x.split(2, 3)[1],
                lambda x: torch.chunk(x, 3, dim=-1)[0],
                lambda x: x[:, :, 1::2, : columns - 1],
                lambda x: x[:, 0],
                lambda x: x[..., 0, None, 1:3],
                lambda x: x[:, -1:] + x[:, :1],
                lambda x: x[..., -1],
            ]
        )
    )
    return Applying(function), (batch, channels, rows, columns)


def axes_moved(draw: st.DrawFn) -> Case:
    shape = any_shape(draw)
    order = [0, *draw(st.permutations(range(1, len(shape))))]
    one, other = draw(st.integers(1, len(shape) - 1)), draw(st.integers(1, len(shape) - 1))
    place = draw(st.integers(1, len(shape)))
    function = draw(
        st.sampled_from(
            [
                lambda x: x.permute(*order),
                lambda x: torch.permute(x, order).contiguous(),
                lambda x: x.transpose(one, other - len(shape)),
                lambda x: x.unsqueeze(place).squeeze(place),
                lambda x: torch.unsqueeze(x, -1).expand(*[-1] * len(shape), 3),
                lambda x: x.squeeze(one),
                lambda x: x.flip(one).roll(1, other),
                lambda x: torch.roll(x, (1, 2), (one, -1)),
            ]
        )
    )
    return Applying(function), shape


def reshaped(draw: st.DrawFn) -> Case:
    batch, channels, rows, columns = draw(SMALL), 4 * draw(SMALL), draw(SIZES), draw(SIZES)
    function = draw(
        st.sampled_from(
            [
                lambda x: x.view(x.size(0), 4, -1, rows, columns).transpose(1, 2).flatten(1, 2),
                lambda x: x.reshape(x.size()[0], -1),
                lambda x: x.view(x.shape[0], x.shape[1] // 2, 2 * rows, columns).sigmoid(),
                lambda x: torch.flatten(x, 2),
                lambda x: x.flatten(1).unflatten(1, (2, -1, 2)),
                lambda x: (
                    x.flatten(2).transpose(1, 2).unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
                ),
                lambda x: F.channel_shuffle(x, 2),
                lambda x: F.pixel_shuffle(x, 2),
                lambda x: F.pad(F.pixel_shuffle(x, 2), (1, 0, 0, 1)),
                lambda x: F.pixel_unshuffle(F.pad(x, (0, columns % 2, 0, rows % 2)), 2),
            ]
        )
    )
    return Applying(function), (batch, channels, rows, columns)


def padded(draw: st.DrawFn) -> Case:
    shape = images(draw)
    widths = draw(st.lists(st.integers(-1, 2), min_size=4, max_size=4))
    return draw(
        st.sampled_from([nn.ZeroPad2d(widths), Applying(lambda x: F.pad(x, widths))])
    ), shape


def dropped(draw: st.DrawFn) -> Case:
    kind = draw(
        st.sampled_from([nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout])
    )
    layer = nn.Sequential(nn.Tanh(), kind(0.3, inplace=draw(st.booleans())), nn.Identity())
    return layer, images(draw)


CASES: dict[str, Callable[[st.DrawFn], Case]] = {
    made.__name__: made
    for made in (
        *(conv1d, conv2d, conv2d_padded_by_name, depthwise, conv_transpose1d, conv_transpose2d),
        *(linear, matmul, batch_norm, layer_norm, group_norm, max_pool1d, max_pool2d, avg_pool1d),
        *(avg_pool2d, adaptive_avg_pool1d, adaptive_avg_pool2d, totals, broadcast_values),
        *(broadcast_constants, put_together, taken_apart, axes_moved, reshaped, padded, dropped),
    )
}


def fits(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether torch takes inputs of a shape, and returns something."""
    try:
        return bool(module(torch.zeros(shape, dtype=torch.float64)).numel())
    except (RuntimeError, ValueError):
        return False


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_operations(name: str, data: st.DataObject) -> None:
    module, shape = CASES[name](data.draw)
    module = drawn(module, seed=data.draw(st.integers(0, 2**32)))
    if fits(module, shape) and math.prod(shape):
        check(module, normal(*shape, seed=5))
