"""Each operation of compiled plans: outputs, VJP and JVP against autograd in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import normal, one_thread  # noqa: F401  (a fixture for all)
from torch import Tensor, fx, nn
from torch.nn import functional as F

from harness.encoders.compiled import CompiledPlan
from harness.encoders.network import NetworkEncoder
from harness.encoders.tracing import UntraceableError, trace

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

    found, kept = NetworkEncoder(module.eval().requires_grad_(False)), inputs.clone()
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
        *(avg_pool2d, adaptive_avg_pool1d, adaptive_avg_pool2d, totals, dropped),
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


SIZES_OF_ONE = [(8, 5, 6), (8, 1, 1), (1, 5, 6), (1, 1, 6), (8, 1, 6)]
"""Shapes of a sample that are broadcast to one another."""

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "product": torch.mul,
    "quotient": lambda x, y: x / (y * y + 1),
    "inverse quotient": lambda x, y: y / (x * x + 1),
    "multiples": lambda x, y: torch.add(x, y, alpha=3),
    "minus multiples": lambda x, y: torch.sub(y, x, alpha=2),
}


def reduced(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Means over the axes that have length 1 in a shape."""
    axes = [axis for axis, length in enumerate(shape, 1) if length == 1]
    return x.mean(axes, keepdim=True) if axes else x


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("first", SIZES_OF_ONE, ids=str)
@pytest.mark.parametrize("second", SIZES_OF_ONE, ids=str)
def test_shapes_are_broadcast(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    apply = BINARY[name]
    inputs = normal(3, 8, 5, 6, seed=1)
    check(Applying(lambda x: apply(reduced(x, first), reduced(x.sin(), second))), inputs)
    constant = normal(1, *second, seed=2)
    if name == "inverse quotient":  # of which there is no form for every shape
        return
    for each in (constant, constant[0], constant[0, 0, 0], constant[0, 0, 0, 0]):
        module = Applying(lambda x, c: apply(reduced(x, first), c), each)
        check(module, inputs)


CONSTANT = torch.arange(1, 7, dtype=torch.float64)


def asserted(x: Tensor) -> Tensor:
    torch._assert(x.shape[1] == 8, "of 8 channels")
    return x.mean(1)


ARRANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "cat": lambda x: torch.cat([x, x.tanh(), x], 1),
    "cat, uneven": lambda x: torch.cat((x, x.sum(2, keepdim=True)), dim=-2),
    "cat of vectors": lambda x: torch.cat([x.flatten(1), x.mean((2, 3))], 1),
    "cat of parts": lambda x: torch.cat(x.chunk(3, 2)[::-1], 2),
    "stack": lambda x: torch.stack([x, x.sin()], 2),
    "stack, last": lambda x: torch.stack((x, x.sin()), dim=-1),
    "narrow": lambda x: x.narrow(1, 2, 3) * 2,
    "chunk": lambda x: x.chunk(2, 2)[1],
    "chunk, function": lambda x: torch.chunk(x, 3, dim=-1)[0],
    "split": lambda x: 3 * x.split([2, 3], dim=2)[1],
    "split, one size": lambda x: x.split(3, 3)[0] * x.split(3, 3)[1],
    "unbind": lambda x: x.unbind(2)[-1] + x.unbind(-2)[0],
    "slices": lambda x: x[:, :, 1::2, :4],
    "one channel": lambda x: x[:, 0],
    "one column, a new axis": lambda x: x[..., 0, None, 1:3],
    "last": lambda x: x[..., -1] + x[:, :, :, 0],
    "sum of slices": lambda x: x[:, -1:] + x[:, :1],
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "permute, cyclic": lambda x: torch.permute(x, (0, 3, 1, 2)).contiguous(),
    "transpose": lambda x: x.transpose(1, -1),
    "unsqueeze": lambda x: torch.unsqueeze(x, -1).expand(-1, -1, -1, -1, 3),
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1),
    "squeeze": lambda x: x.sum(2, keepdim=True).squeeze(2),
    "squeeze, any": lambda x: x.sum((2, 3), keepdim=True).flatten(2).squeeze(-1),
    "flip": lambda x: x.flip(1, 3),
    "roll": lambda x: torch.roll(x, (1, -2), (1, -1)),
    "reshape": lambda x: x.reshape(x.size()[0], -1),
    "view": lambda x: x.view(x.shape[0], x.shape[1] // 2, 10, 6).sigmoid(),
    "shuffle by views": lambda x: x.view(x.size(0), 4, -1, 5, 6).transpose(1, 2).flatten(1, 2),
    "flatten": lambda x: torch.flatten(x, 2),
    "unflatten": lambda x: x.flatten(1).unflatten(1, (2, -1, 2)),
    "tokens": lambda x: x.flatten(2).transpose(1, 2).unflatten(1, (5, 6)).permute(0, 3, 1, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x[:, :, 1:], 2),
    "pad": lambda x: F.pad(x, (1, 0, -1, 2)),
    "pad channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "called by name": lambda x: F.dropout(input=torch.tanh(input=x), training=False),
    "shapes asserted": asserted,
    "groups of parts": lambda x: F.group_norm(x[:, 2:], 3, eps=0.1).transpose(2, 3),
    "constants": lambda x: CONSTANT / (x * x + 1) + CONSTANT * x.sum(3, keepdim=True),
    "overwritten without views": lambda x: (x * 2).view(x.size(0), -1).relu_(),
    "overwritten, then viewed": lambda x: (x * 2).relu_().transpose(1, 2),
}
"""Functions of images of 8 channels, 5 rows and 6 columns that move numbers."""


@pytest.mark.parametrize("name", ARRANGED)
@pytest.mark.parametrize("batch", [1, 3])
def test_rearrangements(name: str, batch: int) -> None:
    function = ARRANGED[name]
    check(Applying(function), normal(batch, 8, 5, 6, seed=1))
    # Between others, tensors lie in other ways.
    around = Applying(lambda x, w, b: function(F.conv2d(x, w, b)).sin(), *parameters(8, 8))
    check(around, normal(batch, 8, 5, 6, seed=2))


def parameters(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    return normal(outputs, inputs, 1, 1, seed=3), normal(outputs, seed=4)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [(2, 3), (4, 2), (1, 4)])
def test_padding_that_is_wider_on_one_side(kernel: tuple[int, int]) -> None:
    module = drawn(nn.Conv2d(8, 3, kernel, padding="same"), seed=1)
    check(module, normal(2, 8, 5, 6, seed=1))


def first_overwritten(x: Tensor) -> Tensor:
    y = x * 2
    F.dropout(y, training=False).relu_()
    return y


def test_what_dropout_returns_is_its_input() -> None:
    check(Applying(first_overwritten), normal(2, 8, 5, 6, seed=1))


def flattened_and_overwritten(x: Tensor) -> Tensor:
    y = x * 2
    flat = y.flatten(1)
    y.relu_()
    return flat.sin()


def viewed_and_overwritten(x: Tensor) -> Tensor:
    y = x * 2
    y.permute(0, 2, 1, 3).relu_()
    return y


def written_into(x: Tensor) -> Tensor:
    y = x * 2
    torch.add(x, 1, out=y)
    return y


def written_into_a_part(x: Tensor) -> Tensor:
    y = x * 2
    y.select(1, 0).neg_()
    return y


def written_into_an_attribute(x: Tensor) -> Tensor:
    y = x * 2
    y.data.neg_()
    return y


@fx.wrap
def negated(x: Tensor) -> None:
    x.neg_()


def written_by_a_stranger(x: Tensor) -> Tensor:
    y = x * 2
    negated(y)
    return y


SAMPLES = torch.ones(3, 1, 1, 1)

NO_PLAN: dict[str, Callable[[Tensor], Tensor]] = {
    "a view read after its value is overwritten": flattened_and_overwritten,
    "a value read after its view is overwritten": viewed_and_overwritten,
    "samples along another axis": lambda x: x.transpose(0, 1),
    "samples permuted": lambda x: x.permute(1, 0, 2, 3),
    "samples flattened": lambda x: x.flatten(0, 1),
    "samples rolled": lambda x: x.roll(1, 0),
    "samples flipped": lambda x: x.flip(0),
    "all numbers rolled": lambda x: x.roll(1),
    "mean of all": lambda x: x - x.mean(),
    "mean of the samples": lambda x: x - x.mean(0, keepdim=True),
    "samples chosen": lambda x: x[1:] - x[:1],
    "samples reversed": lambda x: torch.cat(x.chunk(3)[::-1]),
    "samples stacked": lambda x: torch.stack([x, x, x]),
    "samples broadcast": lambda x: x.flatten(1).mean(1) * x,
    "an axis before the samples": lambda x: x.expand(3, -1, -1, -1, -1),
    "a number of samples": lambda x: x.view(3, -1),
    "a row a sample": lambda x: x * SAMPLES,
    "normalised over the samples": lambda x: F.layer_norm(x, x.shape),
    "written into": written_into,
    "written into a part": written_into_a_part,
    "written into an attribute": written_into_an_attribute,
    "written by a stranger": written_by_a_stranger,
    "another dtype": lambda x: x * torch.ones(3, dtype=torch.float64),
    "random": lambda x: F.dropout(x, training=True),
    "places": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
}
"""Functions of three images of three channels, rows and columns that are left to autograd."""


@pytest.mark.parametrize("name", NO_PLAN)
def test_no_plan(name: str) -> None:
    with pytest.raises(UntraceableError):
        CompiledPlan(trace(Applying(NO_PLAN[name]).eval()), torch.rand(3, 3, 3, 3))


def test_no_plan_where_a_sample_is_repeated() -> None:
    repeated = Applying(lambda x: x.expand(3, -1, -1, -1)).eval()
    with pytest.raises(UntraceableError):
        CompiledPlan(trace(repeated), torch.rand(1, 3, 3, 3))
