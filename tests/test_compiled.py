"""Compiled plans: what is traced of a module; outputs, JVP and VJP against autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import normal, one_thread  # noqa: F401  (a fixture for all)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from harness.encoders.compiled import CompiledPlan
from harness.encoders.cutting import truncated
from harness.encoders.encoder import Encoder, ModuleEncoder
from harness.encoders.network import NetworkEncoder
from harness.encoders.simplify import fold_batchnorm
from harness.encoders.tracing import UntraceableError, trace
from harness.errors import ModuleError

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}


def drawn(module: nn.Module, *, seed: int = 1, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A module in eval mode with random weights and statistics that keep values about as large."""
    source = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight, part.running_var):
                if values is not None:
                    values.data.uniform_(0.5, 1.5, generator=source)
            for values in (part.bias, part.running_mean):
                if values is not None:
                    values.data.uniform_(-0.5, 0.5, generator=source)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            part.weight.data.normal_(0, part.weight[0].numel() ** -0.5, generator=source)
            if part.bias is not None:
                part.bias.data.uniform_(-0.5, 0.5, generator=source)
    return module.to(dtype).eval().requires_grad_(False)


def error(found: Tensor, truth: Tensor) -> float:
    assert found.shape == truth.shape
    return float((found - truth).norm() / truth.norm().clamp_min(1e-300))


def agree(found: Encoder, module: nn.Module, inputs: Tensor, *, tolerance: float) -> None:
    """Outputs, gradients and tangents of an encoder against torch's own derivatives."""

    def call(values: Tensor) -> Tensor:
        # A copy, which an in-place operation of the module may overwrite.
        output: Tensor = module(values.clone())
        return output

    kept = inputs.clone()
    output, jvp, vjp = found.linearize(inputs)
    cotangent = normal(*output.shape, seed=21, dtype=inputs.dtype)
    tangent = normal(*inputs.shape, seed=22, dtype=inputs.dtype)
    leaf = inputs.clone().requires_grad_()
    truth = call(leaf)
    (gradient,) = torch.autograd.grad(truth, leaf, cotangent)
    _, output_tangent = torch.autograd.functional.jvp(call, inputs, tangent)

    assert error(output, truth.detach()) < tolerance
    assert error(vjp(cotangent), gradient) < tolerance
    assert error(jvp(tangent), output_tangent) < tolerance
    # Both can be called again, in any order, and give the same bits.
    assert torch.equal(vjp(cotangent), found.vjp(inputs)[1](cotangent))
    assert torch.equal(jvp(tangent), jvp(tangent))
    assert torch.equal(found.encode(inputs), output)
    assert torch.equal(inputs, kept)
    assert not output.requires_grad


class TwiceUsed(nn.Module):
    """An in-place ReLU on a value that is read before and afterwards."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 1)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        before = y + y
        self.relu(y)  # nobody takes what it returns
        return self.second(before) + self.third(y) + y


class Reused(nn.Module):
    """One convolution and one ReLU used again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.entry(x))
        for _ in range(3):
            y = self.relu(self.shared(y))
        return y + self.shared(y)


class Sums(nn.Module):
    """Sums of every kind: of a value with itself, in place, of two that nothing can join."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.entry(x)
        z = self.other(y)
        z += y
        w = torch.relu(z + z)
        w = w.add(self.pool(w)).relu_()
        v = self.other(w)
        v.add_(F.relu(z))
        return v + w


class Residual(nn.Module):
    """A block with a strided shortcut, up to the sum before its last ReLU."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.shortcut = nn.Sequential(nn.Conv2d(3, 6, 1, stride=2), nn.BatchNorm2d(6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.relu(self.norm(self.first(x))))
        y += self.shortcut(x)
        return y


class Functional(nn.Module):
    """The functions and methods that stand for layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(F.relu(self.convolution(x), inplace=True), 2)
        y = F.dropout(F.avg_pool2d(y, 2, padding=1), training=self.training)
        y = torch.add(torch.relu_(y), y)
        return torch.flatten(F.adaptive_avg_pool2d(y, 1), 1).relu()


class Idle(nn.Module):
    """Does more than its output needs."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(3, 4, 3)
        self.idle = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.used(x)
        self.idle(y).relu_()
        return y


def unused_relu(x: Tensor) -> Tensor:
    y = x + x
    torch.relu(y)
    return y


class Returning(nn.Module):
    """Whatever a function makes of the input."""

    def __init__(self, made: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.made = made

    def forward(self, x: Tensor) -> object:
        return self.made(x)


def inplace(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "ReLU": lambda: nn.ReLU(inplace=True),
    "in place, function": lambda: TwiceUsed(inplace),
    "in place, method": lambda: TwiceUsed(lambda x: x.relu_()),
    "in place, torch": lambda: TwiceUsed(torch.relu_),
    "in place, module": lambda: TwiceUsed(nn.ReLU(inplace=True)),
    "reused": Reused,
    "sums": Sums,
    "layer in a block": Residual,
    "layer in a block, no bias": lambda: Residual(bias=False),
    "functional": Functional,
    "idle": Idle,
    "unused ReLU": lambda: Returning(unused_relu),
    "strided pixels": lambda: nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.ReLU()),
    "grouped": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, padding=1), nn.ReLU(True)),
    "dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2, stride=2),
    "even": lambda: nn.Sequential(nn.Conv2d(3, 8, 4, stride=2, padding=1), nn.ReLU()),
    "not square": lambda: nn.Conv2d(3, 4, (1, 5), stride=(2, 1), padding=(0, 2)),
    "normalised": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "normalised, no weights": lambda: nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.ReLU()),
    "broadcast onto many": lambda: BroadcastOnto(swapped=False),
    "broadcast onto one": lambda: BroadcastOnto(swapped=True),
    "number": lambda: Returning(lambda x: 3 - (2 * x + 1) / 4),
    "factor": lambda: Returning(lambda x: torch.add(x, x, alpha=2)),
    "padding by name": lambda: nn.Conv2d(3, 4, (3, 4), dilation=(1, 2), padding="same"),
    "vectors of images": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), Returning(lambda x: x.permute(0, 2, 3, 1)), nn.Linear(4, 5), nn.ReLU()
    ),
    "large means": lambda: nn.AdaptiveAvgPool2d((3, 5)),
    "derived": lambda: nn.Sequential(Derived(3, 4, 3)),
    "a view overwritten": lambda: overwritten(lambda y: y.flatten(1), read=False),
    "pools": lambda: nn.Sequential(
        nn.MaxPool2d((2, 3), stride=(1, 2), padding=(1, 0), ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.MaxPool2d(2, 1, dilation=2),
    ),
    "classifier": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Dropout(inplace=True),
        nn.Flatten(),
        nn.LazyLinear(20),
        nn.ReLU(),
        nn.Linear(20, 7, bias=False),
    ),
}


class TestModules:
    @pytest.mark.parametrize("name", MODULES)
    @pytest.mark.parametrize("size", [(11, 11), (12, 9)])
    @pytest.mark.parametrize("batch", [1, 5])
    def test_of_many_kinds(self, name: str, size: tuple[int, int], batch: int) -> None:
        for dtype, tolerance in TOLERANCES.items():
            module = MODULES[name]().eval()
            inputs = normal(batch, 3, *size, seed=4, dtype=dtype)
            module(inputs.float())  # lazy layers take their shape
            module = drawn(module, dtype=dtype)
            found = NetworkEncoder(module)
            assert found.path == "compiled plan"
            agree(found, module, inputs, tolerance=tolerance)

    def test_images_however_they_are_laid_out(self) -> None:
        module = drawn(Residual())
        images = normal(3, 3, 8, 8, seed=1)
        found = NetworkEncoder(module)
        output, vjp = found.vjp(images)
        again, vjp_again = found.vjp(images.contiguous(memory_format=torch.channels_last))
        cotangent = normal(*output.shape, seed=2)
        assert torch.equal(output, again)
        assert torch.equal(
            vjp(cotangent), vjp_again(cotangent.contiguous(memory_format=torch.channels_last))
        )

    def test_gradients_are_off_whatever_the_inputs_ask_for(self) -> None:
        module = drawn(Residual()).requires_grad_()
        inputs = normal(2, 3, 8, 8, seed=1).requires_grad_()
        output, jvp, vjp = NetworkEncoder(module).linearize(inputs)
        found = (output, jvp(inputs), vjp(output))
        assert not any(each.requires_grad for each in found)

    def test_a_plan_for_each_shape(self) -> None:
        module = drawn(Residual())
        found = NetworkEncoder(module)
        for shape in ((2, 3, 8, 8), (1, 3, 9, 5), (2, 3, 8, 8), (6, 3, 3, 3)):
            agree(found, module, normal(*shape, seed=1), tolerance=1e-12)

    @pytest.mark.parametrize("dtype", TOLERANCES)
    def test_what_is_not_a_number_stays_in_its_sample(self, dtype: torch.dtype) -> None:
        # oneDNN's own ReLU would turn it into 0.
        module = nn.Sequential(Residual(), nn.ReLU(inplace=True), nn.Conv2d(6, 3, 3), nn.ReLU())
        inputs = normal(4, 3, 32, 32, seed=1, dtype=dtype)
        inputs[2, 1, 16, 16] = torch.nan
        output, vjp = NetworkEncoder(drawn(module, dtype=dtype)).vjp(inputs)
        assert output.isfinite().flatten(1).all(1).tolist() == [True, True, False, True]
        input_cotangent = vjp(torch.ones_like(output))
        assert input_cotangent[[0, 1, 3]].isfinite().all()

    def test_bfloat16(self) -> None:
        module = drawn(Residual())
        inputs = normal(4, 3, 16, 16, seed=1)
        found = NetworkEncoder(copy.deepcopy(module).bfloat16())
        output, jvp, vjp = found.linearize(inputs.bfloat16())
        truth, jvp_truth, vjp_truth = ModuleEncoder(module).linearize(inputs)
        cotangent = normal(*truth.shape, seed=2)
        assert output.dtype == torch.bfloat16
        assert error(output.double(), truth) < 0.02
        assert error(vjp(cotangent.bfloat16()).double(), vjp_truth(cotangent)) < 0.05
        assert error(jvp(inputs.bfloat16()).double(), jvp_truth(inputs)) < 0.05


class RandomNetwork(nn.Module):
    """A network of layers one after the other, some of them with a shortcut around them."""

    def __init__(self, layers: list[tuple[nn.Module, bool]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for layer, _ in layers)
        self.shortcuts = [shortcut for _, shortcut in layers]

    def forward(self, x: Tensor) -> Tensor:
        for layer, shortcut in zip(self.layers, self.shortcuts, strict=True):
            y = layer(x)
            x = y + x if shortcut else y
        return x


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Small networks of images of at least 6 rows and columns."""
    layers: list[tuple[nn.Module, bool]] = []
    channels, strided = 3, 0
    for _ in range(draw(st.integers(1, 5))):
        kinds = ["same", "pixels", "pool", "relu", "norm"] + ["strided"] * (strided < 2)
        kind = draw(st.sampled_from(kinds))
        out = draw(st.integers(1, 12))
        taps = draw(st.sampled_from([1, 3]))
        match kind:
            case "same":
                layer: nn.Module = nn.Conv2d(channels, channels, taps, padding=taps // 2)
            case "strided":
                layer = nn.Conv2d(channels, out, draw(st.integers(2, 4)), 2, padding=1)
            case "pixels":
                layer = nn.Conv2d(channels, out, 1, bias=draw(st.booleans()))
            case "pool":
                layer = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(3, 1, 1)
            case "relu":
                layer = nn.ReLU(inplace=draw(st.booleans()))
            case _:
                layer = nn.BatchNorm2d(channels)
        same = kind in ("same", "pool", "norm")
        layers.append((layer, same and draw(st.booleans())))
        if kind in ("strided", "pixels"):
            channels = out
        strided += kind == "strided"
    return RandomNetwork(layers)


class TestProperties:
    @settings(max_examples=40, deadline=None)
    @given(
        module=networks(), seed=st.integers(0, 2**32), batch=st.integers(1, 4), fold=st.booleans()
    )
    def test_random_networks(self, module: nn.Module, seed: int, batch: int, fold: bool) -> None:
        module = drawn(module, seed=seed)
        if fold:
            fold_batchnorm(module)
        found = NetworkEncoder(module)
        inputs = normal(batch, 3, 13, 10, seed=seed)
        found.encode(inputs)
        assert found.path == "compiled plan"
        for part in module.modules():  # autograd lets no ReLU overwrite another's output
            if isinstance(part, nn.ReLU):
                part.inplace = False
        agree(found, module, inputs, tolerance=1e-11)

    @settings(max_examples=15, deadline=None)
    @given(order=st.lists(st.integers(0, 3), min_size=1, max_size=6), module=networks())
    def test_a_sample_does_not_depend_on_its_batch_mates(
        self, order: list[int], module: nn.Module
    ) -> None:
        # Any choice of samples, in any order, some of them twice or absent.
        found = NetworkEncoder(drawn(module))
        images = normal(4, 3, 12, 11, seed=3)
        outputs, vjp = found.vjp(images)
        cotangents = normal(*outputs.shape, seed=4)
        input_cotangent = vjp(cotangents)
        chosen, vjp_chosen = found.vjp(images[order])
        torch.testing.assert_close(chosen, outputs[order], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(
            vjp_chosen(cotangents[order]), input_cotangent[order], rtol=1e-11, atol=1e-12
        )


class Derived(nn.Conv2d):
    """Not what its base does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


class BroadcastOnto(nn.Module):
    """Adds one pixel to every pixel that a convolution makes, or the other way around."""

    def __init__(self, *, swapped: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.swapped = swapped

    def forward(self, x: Tensor) -> Tensor:
        small = self.mean(x)
        return self.convolution(small) + x if self.swapped else self.convolution(x) + small


class Attention(nn.Module):
    """The outer axes as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(11, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(1, 2)
        z: Tensor = self.attention(y, y, y, need_weights=False)[0]
        return z


def two_shapes(x: Tensor) -> Tensor:
    """Overwrites a value of which there is a view."""
    y = x + x
    flat = torch.flatten(y, 1)
    y.add_(y)
    return flat


def broken(x: Tensor) -> Tensor:
    raise ArithmeticError("Two\nlines.")


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(3, 3, 3))
    module[0].register_forward_hook(lambda module, given, output: output * 2)
    return module


def overwritten(view: Callable[[Tensor], Tensor], *, read: bool = True) -> nn.Module:
    """Overwrites a view of a value, which is read afterwards or not."""

    def made(x: Tensor) -> Tensor:
        y = x + x
        z = view(y).relu_()
        return y if read else z

    return Returning(made)


class Remembering(nn.Module):
    """Overwrites a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(11))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.seen.mul_(0)


UNTRACEABLE: dict[str, Callable[[], nn.Module]] = {
    "another activation": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1)),
    "another function": lambda: Returning(lambda x: x.softmax(1)),
    "hooks": hooked,
    "two shapes": lambda: Returning(two_shapes),
    "a view overwritten": lambda: overwritten(lambda y: y.view(-1, 363)),
    "a part overwritten": lambda: overwritten(lambda y: y[:, 1:]),
    "axes overwritten": lambda: overwritten(lambda y: y.transpose(1, 2)),
    "a buffer overwritten": Remembering,
    "branches": lambda: Returning(lambda x: x if x.sum() > 0 else -x),
    "reflected": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "chosen by a list": lambda: Returning(lambda x: x[:, [0, 2]]),
    "products of values": lambda: Returning(lambda x: x @ x.mT),
    "weights that flow": lambda: Returning(lambda x: F.conv2d(x, x[:1, :, :3, :3])),
}


AWKWARD: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "block": lambda: nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    ),
    "broken": lambda: Returning(broken),
}
"""Modules whose reasons are long."""


def is_reason(path: str) -> bool:
    """Whether a path says in one line why autograd is taken."""
    return path.startswith("autograd: ") and not set("\n%") & set(path) and len(path) < 200


class Counting(TorchDispatchMode):
    """Notes the names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.names.add(operator.overloadpacket.__name__)
        return operator(*args, **(kwargs or {}))


class TestUntraceable:
    @pytest.mark.parametrize("name", UNTRACEABLE)
    def test_modules_are_left_to_autograd(self, name: str) -> None:
        module = drawn(UNTRACEABLE[name]())
        found = NetworkEncoder(module)
        inputs = normal(2, 3, 11, 11, seed=2)
        agree(found, module, inputs, tolerance=1e-12)
        assert is_reason(found.path)

    @pytest.mark.parametrize(
        "module",
        [
            Returning(lambda x: (x, x)),
            Returning(lambda x: torch.fft.fft(x)),
            Returning(lambda x: x.new_zeros(2, 3)),
            Returning(lambda x: torch.rand_like(x)),
            Returning(torch.no_grad()(lambda x: x * 2)),
            nn.Softmax(1),
            nn.Bilinear(3, 3, 2),
        ],
        ids=lambda module: type(module).__name__,
    )
    def test_what_no_operation_stands_for_is_not_traced(self, module: nn.Module) -> None:
        with pytest.raises(UntraceableError):
            trace(module)

    @pytest.mark.parametrize("name", AWKWARD)
    def test_a_long_reason_is_one_line(self, name: str) -> None:
        assert is_reason(NetworkEncoder(AWKWARD[name]().eval()).path)


class TestTracing:
    def test_a_reason_names_the_layer(self) -> None:
        module = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Softmax(1)))
        assert NetworkEncoder(module.eval()).path.startswith("autograd: Softmax at 1.1 has no ")

    @pytest.mark.parametrize("hooked", [False, True])
    def test_of_a_network_that_is_cut_too(self, *, hooked: bool) -> None:
        module = nn.Sequential(nn.Flatten(2), nn.LSTM(36, 4, batch_first=True)).eval()
        if hooked:
            module[1].register_forward_hook(lambda *_: None)
        words = NetworkEncoder(truncated(module, layer="1[0]").eval()).path.split()
        assert words[words.index("at") + 1] == "1"

    def test_sums_and_relus_are_fused_into_their_convolution(self) -> None:
        module = nn.Sequential(Residual(), nn.ReLU()).eval()
        fold_batchnorm(module)
        images = torch.ones(1, 3, 6, 6)
        plan = CompiledPlan(trace(module), images)
        counted = Counting()
        with counted:
            plan.encode(images)
        # Three convolutions in all, and neither a sum nor a ReLU that needs memory of its own.
        assert counted.names.isdisjoint({"relu", "add"})
        assert {"relu_", "add_"} <= counted.names


class TestRefused:
    def test_a_module_in_train_mode(self) -> None:
        module = nn.Sequential(Residual(), nn.Sequential(nn.Dropout()), nn.Flatten())
        with pytest.raises(ModuleError):
            NetworkEncoder(Residual())
        module[0].eval()
        with pytest.raises(ModuleError, match=r"^Sequential, 1\.0: in train mode "):
            NetworkEncoder(module)

    def test_a_part_of_a_module_in_eval_mode_is_none_in_train_mode(self) -> None:
        module = nn.Sequential(Residual(), nn.Sequential(nn.ReLU()), nn.Dropout()).eval()
        for layer in (module[:2], nn.Sequential(*module, nn.Identity(), nn.Flatten())):
            assert layer.training
            assert NetworkEncoder(layer).path == "compiled plan"

    @pytest.mark.parametrize(
        "made",
        [lambda x: {"out": x}, lambda x: (x, x), lambda x: x.mean(), lambda x: torch.fft.fft(x)],
        ids=["dict", "tuple", "number", "complex"],
    )
    def test_what_returns_no_tensor_of_samples(self, made: Callable[[Tensor], object]) -> None:
        found = NetworkEncoder(Returning(made).eval())
        for use in (found.encode, found.vjp, found.linearize):
            with pytest.raises(ModuleError):
                use(torch.zeros(2, 3))

    @pytest.mark.parametrize("module", [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.GELU())])
    def test_images_of_another_dtype(self, module: nn.Module) -> None:
        found = NetworkEncoder(module.double().eval())
        for use in (found.encode, found.vjp, found.linearize):
            with pytest.raises(ModuleError):
                use(torch.zeros(2, 3))

    def test_a_module_that_casts_what_it_is_given_has_outputs_of_its_inputs_dtype(self) -> None:
        mixed = nn.Sequential(nn.Linear(3, 2), Returning(Tensor.double), nn.Linear(2, 2).double())
        found = NetworkEncoder(mixed.eval())
        output, jvp, vjp = found.linearize(torch.ones(2, 3))
        assert {each.dtype for each in (output, jvp(torch.ones(2, 3)), vjp(output))} == {
            torch.float32
        }
