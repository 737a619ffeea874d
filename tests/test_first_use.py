"""Networks that are not what their layers say: their own values, or a refusal."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from inversion_cases import one_thread  # noqa: F401  (a fixture for all)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

import harness
from harness.encoders.cutting import truncated
from harness.encoders.encoder import ModuleEncoder
from harness.encoders.first_use import compared_gradient
from harness.encoders.network import COMPILED, NetworkEncoder

IMAGES = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def same_draws() -> Iterator[None]:
    """The same weights at every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval()


class Doing(nn.Module):
    """A convolution, and something done to what it returns."""

    def __init__(self, do: Callable[[Tensor], Tensor], *, first: bool = False) -> None:
        super().__init__()
        self.conv = net()[0]
        self._do, self._first = do, first
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.conv(self._do(inputs)) if self._first else self._do(self.conv(inputs))


def own(module: nn.Module, inputs: Tensor = IMAGES) -> tuple[Tensor, Tensor]:
    """The output of a module and the gradient of half its square, by autograd."""
    leaf = inputs.clone().requires_grad_()
    output = module(leaf)
    (gradient,) = torch.autograd.grad(output, leaf, output.detach())
    return output.detach(), gradient


def assert_faithful(encoder: NetworkEncoder, module: nn.Module) -> None:
    truth, gradient = own(module)
    torch.testing.assert_close(encoder.encode(IMAGES), truth, rtol=1e-4, atol=1e-5)
    output, vjp = encoder.vjp(IMAGES)
    torch.testing.assert_close(output, truth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(vjp(truth), gradient, rtol=1e-4, atol=1e-5)


def replaced(method: str) -> nn.Module:
    module = net()
    plain = getattr(module[0], method)
    setattr(module[0], method, lambda *given: 2 * plain(*given))
    return module


class Guided(torch.autograd.Function):
    """A ReLU whose gradient lets only what is positive through (guided backpropagation)."""

    @staticmethod
    def forward(ctx: object, inputs: Tensor) -> Tensor:
        return inputs.relu()

    @staticmethod
    def backward(ctx: object, cotangent: Tensor) -> Tensor:
        return cotangent.relu()


def hooked(register: str, hook: Callable[..., object]) -> nn.Module:
    module = net()
    getattr(module[1], register)(hook)
    return module


def parametrized() -> nn.Module:
    class Symmetric(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight + weight.flip(-1)

    module = net()
    nn.utils.parametrize.register_parametrization(module[0], "weight", Symmetric())
    return module.eval()


def reversed_gradient(outputs: Tensor) -> Tensor:
    with contextlib.suppress(RuntimeError):  # where there is no gradient
        outputs.register_hook(torch.neg)
    return outputs * 1.0


class Louder(nn.Conv2d):
    def forward(self, inputs: Tensor) -> Tensor:
        return 3 * super().forward(inputs)


class Softer(nn.Conv2d):
    def _conv_forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(inputs, weight / 2, bias)


class Called(nn.ReLU):
    def __call__(self, inputs: Tensor) -> Tensor:
        return super().__call__(inputs) + 1


OVERRIDDEN: dict[str, Callable[[], nn.Module]] = {
    "forward": lambda: replaced("forward"),
    "_conv_forward": lambda: replaced("_conv_forward"),
    "forward hook": lambda: hooked("register_forward_hook", lambda m, i, o: o / 2),
    "forward pre-hook": lambda: hooked("register_forward_pre_hook", lambda m, i: (i[0] / 2,)),
    "backward hook": lambda: hooked(
        "register_full_backward_hook", lambda m, i, o: tuple(each.clamp_min(0) for each in i)
    ),
    "backward pre-hook": lambda: hooked(
        "register_full_backward_pre_hook", lambda m, o: (o[0].clamp_min(0),)
    ),
    "parametrization": parametrized,
    "subclass": lambda: nn.Sequential(Louder(3, 4, 3), nn.ReLU()).eval(),
    "subclass of a part": lambda: nn.Sequential(Softer(3, 4, 3), nn.ReLU()).eval(),
    "subclass that is called": lambda: nn.Sequential(net()[0], Called()).eval(),
    "guided": lambda: Doing(Guided.apply),
    "hook of a tensor": lambda: Doing(reversed_gradient),
}

BRANCHING: dict[str, Callable[[Tensor], Tensor]] = {
    "a tensor": lambda x: 2 * x if isinstance(x, Tensor) else x,
    "its class": lambda x: 2 * x if type(x) is Tensor else x,
    "a shape": lambda x: 2 * x if x.shape[-1] == 10 else x,
    "axes": lambda x: 2 * x if x.dim() == 4 else x,
    "a value": lambda x: 2 * x if float(x.detach().mean()) < 100 else x,
    "grad mode": lambda x: 2 * x if not torch.is_grad_enabled() else 2 * x.clone(),
    "autograd": lambda x: x + (x.round() - x).detach(),
    "numpy": lambda x: x + torch.from_numpy(np.ones(1, np.float32)),
}


class TestValues:
    @pytest.mark.parametrize("name", OVERRIDDEN)
    def test_what_is_overridden_is_followed(self, name: str) -> None:
        module = OVERRIDDEN[name]()
        assert_faithful(NetworkEncoder(module), module)

    @pytest.mark.parametrize("name", BRANCHING)
    def test_code_that_looks_at_what_it_is_given(self, name: str) -> None:
        module = Doing(BRANCHING[name])
        assert_faithful(NetworkEncoder(module), module)

    @pytest.mark.parametrize(
        "register",
        [
            nn.modules.module.register_module_forward_hook,
            nn.modules.module.register_module_full_backward_hook,
        ],
    )
    def test_hooks_of_all_modules(
        self, register: Callable[..., torch.utils.hooks.RemovableHandle]
    ) -> None:
        def half(module: nn.Module, given: object, made: object) -> object:
            if not isinstance(module, nn.ReLU):
                return None
            return tuple(each / 2 for each in given) if isinstance(made, tuple) else made / 2  # type: ignore[operator]

        module = net()
        encoder = NetworkEncoder(module)
        encoder.encode(IMAGES)
        handle = register(half)
        try:
            assert_faithful(encoder, module)
        finally:
            handle.remove()
        assert_faithful(encoder, module)

    def test_a_gradient_of_its_own_is_followed_from_then_on(self) -> None:
        module = Doing(lambda x: x + x.detach() if isinstance(x, Tensor) else x + x)
        encoder = NetworkEncoder(module)
        for _ in range(2):
            assert_faithful(encoder, module)
        assert encoder.path != COMPILED

    def test_a_class_that_is_patched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = nn.Conv2d.forward
        monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: 2 * plain(self, x))
        module = net()
        assert_faithful(NetworkEncoder(module), module)

    def test_a_plan_is_compared_at_the_start_too(self) -> None:
        class Switching(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                if isinstance(inputs, Tensor) and float(inputs.detach().mean()) > 0.6:
                    return inputs * inputs
                return inputs * 2.0

        found = harness.invert(
            nn.Sequential(Switching(), net()).eval(),
            IMAGES,
            start=torch.full_like(IMAGES, 0.9),
            decoder=harness.Adam(),
            steps=3,
        )
        assert found.path != COMPILED
        module = nn.Sequential(Switching(), net())
        outputs = [module(each).detach() for each in (found.images, IMAGES)]
        truth = (outputs[0] - outputs[1]).flatten(1).norm(dim=1)
        torch.testing.assert_close(found.m_g, truth, rtol=1e-4, atol=1e-5)

    def test_what_a_plan_ends_at_is_measured_by_the_module(self) -> None:
        class Late(nn.Module):
            """Does something else once the image has been left far behind."""

            def forward(self, inputs: Tensor) -> Tensor:
                if isinstance(inputs, Tensor) and float(inputs.detach().amax()) > 3:
                    return inputs * 5
                return inputs * 1.0

        module = nn.Sequential(Late(), nn.Conv2d(3, 4, 3)).eval()
        far = harness.Descent(step=200.0, factor=1.0, loss="l2")
        found = harness.invert(module, IMAGES, decoder=far, steps=2)
        assert float(found.images.amax()) > 3
        assert found.path != COMPILED
        outputs = [module(each[None]).detach() for each in found.images]
        truth = [
            (output - module(image[None]).detach()).norm()
            for output, image in zip(outputs, IMAGES, strict=True)
        ]
        torch.testing.assert_close(found.m_g, torch.stack(truth), rtol=1e-4, atol=1e-4)

    def test_a_run_that_overflows_is_no_difference(self) -> None:
        far = harness.Descent(step=1e30, factor=1.0, loss="l2")
        found = harness.invert(net(), IMAGES, decoder=far, steps=8)
        assert {outcome.value for outcome in found.outcomes} == {"non-finite"}
        assert found.path == COMPILED

    def test_a_gradient_that_is_not_finite_is_no_difference(self) -> None:
        class Root(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return inputs.sqrt()

        images = IMAGES.clone()
        images[0, 0, 0, 0] = 0
        encoder = NetworkEncoder(Root().eval())
        output, vjp = encoder.vjp(images)
        assert vjp(output)[0, 0, 0, 0].isnan()
        assert encoder.path == COMPILED


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "in place": lambda module: module[0].weight.mul_(2),
    "through .data": lambda module: module[0].weight.data.mul_(2),
    "new .data": lambda module: setattr(module[0].weight, "data", 2 * module[0].weight.data),
    "a parameter": lambda module: setattr(
        module[0], "weight", nn.Parameter(2 * module[0].weight.detach())
    ),
    "a state dict": lambda module: module.load_state_dict(
        {name: 2 * weight for name, weight in module.state_dict().items()}
    ),
    "a layer": lambda module: module.__setitem__(1, nn.Tanh()),
    "a setting": lambda module: setattr(module[0], "stride", (2, 2)),
    "a hook": lambda module: module[1].register_forward_hook(lambda m, i, o: o / 2),
    "a backward hook": lambda module: module[1].register_full_backward_hook(
        lambda m, i, o: (i[0] / 2,)
    ),
    "forward": lambda module: setattr(module[1], "forward", lambda x: x * 3),
    "a dtype and back": lambda module: module.double().float(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_module_that_is_changed_after_its_first_use_is_looked_at_anew(name: str) -> None:
    module = net()
    encoder = NetworkEncoder(module)
    assert_faithful(encoder, module)
    with torch.no_grad():
        CHANGES[name](module)
    assert_faithful(encoder, module)


class Scaled(nn.Module):
    """With a weight of one number, an empty buffer, and a weight that ends with nan."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("nothing", torch.empty(0))
        self.unused = nn.Parameter(torch.tensor([1.0, float("nan")]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


def test_weights_of_any_size_are_looked_at() -> None:
    module = Scaled().eval()
    encoder = NetworkEncoder(module)
    assert encoder.path == COMPILED
    _, jvp, _ = encoder.linearize(IMAGES)
    torch.testing.assert_close(jvp(IMAGES), 2 * IMAGES)
    module.scale.data.mul_(2)
    torch.testing.assert_close(encoder.encode(IMAGES), 4 * IMAGES)


def test_a_module_that_changes_itself_is_no_slower_for_it() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.calls = net()[0], 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            return self.conv(inputs)

    module = Counting().eval()
    encoder = NetworkEncoder(module)
    for _ in range(3):
        encoder.vjp(IMAGES)
    before = module.calls
    for _ in range(5):
        encoder.vjp(IMAGES)
    assert module.calls - before <= 5


class Branch(nn.Module):
    def __init__(self, chance: Callable[[], float]) -> None:
        super().__init__()
        self._chance = chance

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * inputs if self._chance() < 0.5 else inputs


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: Doing(F.dropout),
    "noise": lambda: Doing(lambda x: x + 1e-6 * torch.randn_like(x)),
    "torch": lambda: nn.Sequential(net(), Branch(lambda: float(torch.rand(())))).eval(),
    "random": lambda: nn.Sequential(net(), Branch(random.random)).eval(),
    "numpy": lambda: nn.Sequential(net(), Branch(lambda: float(np.random.rand()))).eval(),  # noqa: NPY002
    "rarely": lambda: nn.Sequential(
        net(), Branch(lambda: 1.0 if random.random() > 1e-12 else 0.0)
    ).eval(),
}

MIXING: dict[str, Callable[[], nn.Module]] = {
    "batch statistics": lambda: nn.Sequential(
        net(), nn.BatchNorm2d(4, track_running_stats=False)
    ).eval(),
    "a mean": lambda: Doing(lambda x: x - x.mean(0, keepdim=True)),
    "a maximum": lambda: Doing(lambda x: x / x.abs().max()),
    "an order": lambda: Doing(lambda x: x.flip(0)),
}


@contextlib.contextmanager
def draws() -> Iterator[None]:
    """With the global generators of numpy and Python as they were afterwards."""
    python, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python)
    np.random.set_state(numpys)  # noqa: NPY002


def halved_in_place(outputs: Tensor) -> Tensor:
    part = outputs[:, :3]
    part *= 0.5
    return outputs


class Layered(Doing):
    """A layer behind what is done to the outputs of another one."""

    def __init__(self, do: Callable[[Tensor], Tensor]) -> None:
        super().__init__(do)
        self.last = net()[2].eval()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(super().forward(inputs)).relu_()


class TestLayers:
    """A module up to a layer is run as it is, too."""

    @pytest.mark.parametrize("name", [*BRANCHING, "in place"])
    def test_code_on_the_way_to_a_layer(self, name: str) -> None:
        module, moving = Layered(BRANCHING.get(name, halved_in_place)), harness.Adam(returns="last")
        found = harness.invert(module, IMAGES, layer="last", decoder=moving, steps=3)
        outputs = [
            module.last(Doing.forward(module, each)).detach() for each in (found.images, IMAGES)
        ]
        truth = (outputs[0] - outputs[1]).flatten(1).norm(dim=1)
        torch.testing.assert_close(found.m_g, truth, rtol=1e-4, atol=1e-5)

    def test_a_hook_of_a_tensor_on_the_way_to_a_layer(self) -> None:
        module = Layered(reversed_gradient)
        encoder = NetworkEncoder(truncated(module, layer="last"))
        leaf = IMAGES.clone().requires_grad_()
        output = module.last(Doing.forward(module, leaf))
        (gradient,) = torch.autograd.grad(output, leaf, output.detach())
        torch.testing.assert_close(encoder.vjp(IMAGES)[1](output.detach()), gradient)

    def test_what_is_random_on_the_way_to_a_layer(self) -> None:
        module = Layered(lambda x: x * float(torch.rand(())))
        before = torch.get_rng_state()
        with pytest.raises(harness.ModuleError, match="random"):
            harness.invert(module, IMAGES, layer="last", steps=2)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_network_that_handles_every_error(self) -> None:
        class Handling(Layered):
            def forward(self, inputs: Tensor) -> Tensor:
                try:
                    return super().forward(inputs) if float(inputs.detach().sum()) else inputs
                except Exception:  # as code does that has a second way
                    return inputs * 0

        found = harness.invert(Handling(torch.tanh), IMAGES, layer="last", steps=2)
        plain = harness.invert(Layered(torch.tanh), IMAGES, layer="last", steps=2)
        torch.testing.assert_close(found.m_r, plain.m_r)

    def test_a_message_names_the_network(self) -> None:
        module = Layered(lambda x: x.to(torch.complex64).abs())
        module.last.forward = lambda x: [x]  # type: ignore[assignment, method-assign]
        with pytest.raises(harness.ModuleError) as error:
            harness.invert(module, IMAGES, layer="last", steps=1)
        assert error.value.value == "Layered"


class Keeping(nn.Module):
    """Counts its calls and keeps what it computed, in every way in which a module can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = net()[0], nn.ReLU()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("again", torch.zeros(()))
        self.number = torch.zeros(())
        self.last: Tensor | None = None
        self.seen: dict[str, list[object]] = {"shapes": []}

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.again = self.again + 1
        self.number.add_(1)
        self.last = self.conv(inputs)
        self.seen["shapes"].append(inputs.shape)
        self.seen["outputs"] = [self.last]
        return self.relu(self.last)


class TestState:
    """A module is left as it is, and so is what it keeps."""

    @pytest.mark.parametrize("layer", [None, "relu"])
    def test_nothing_is_changed_by_an_inversion(self, layer: str | None) -> None:
        module = Keeping().eval()
        found = harness.invert(module, IMAGES, layer=layer, steps=2)
        assert found.path == COMPILED
        assert [float(each) for each in (module.calls, module.again, module.number)] == [0, 0, 0]
        assert (module.last, module.seen) == (None, {"shapes": []})
        assert type(module.calls) is Tensor

    def test_a_trace_leaves_no_symbols_behind(self) -> None:
        module = Keeping().eval()
        NetworkEncoder(module)
        assert (module.last, module.seen) == (None, {"shapes": []})
        assert_faithful(NetworkEncoder(module), module)

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    @pytest.mark.parametrize(
        "change",
        [
            lambda module: nn.utils.weight_norm(module[0]),
            lambda module: nn.utils.spectral_norm(module[0]),
            lambda module: prune.l1_unstructured(module[0], "weight", 0.5),
            lambda module: module.register_forward_hook(
                lambda m, i, o: setattr(m, "kept", {"all": (o,)})
            ),
        ],
        ids=["weight norm", "spectral norm", "pruned", "kept by a hook"],
    )
    @pytest.mark.parametrize("layer", [None, "1"])
    def test_results_with_a_graph_are_no_obstacle(
        self, change: Callable[[nn.Module], object], layer: str | None
    ) -> None:
        module = net()
        change(module)
        with torch.random.fork_rng(devices=[]):
            module.eval()(IMAGES)
        found = harness.invert(module, IMAGES, layer=layer, decoder=harness.Adam(), steps=3)
        part = module if layer is None else module[:2]
        outputs = [part(each).detach() for each in (found.images, IMAGES)]
        truth = (outputs[0] - outputs[1]).flatten(1).norm(dim=1)
        torch.testing.assert_close(found.m_g, truth, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(1)])
    def test_random_states_are_restored(self, draw: Callable[[], object]) -> None:
        def states() -> list[object]:
            return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]  # noqa: NPY002

        before = states()
        with pytest.raises(harness.ModuleError, match="random"):
            harness.invert(Doing(lambda x: x * float(draw())), IMAGES, steps=1)
        assert states() == before


class TestRefused:
    @pytest.mark.parametrize("name", RANDOM)
    @pytest.mark.parametrize("batch", [1, 2])
    def test_a_network_that_is_random(self, name: str, batch: int) -> None:
        with draws(), pytest.raises(harness.ModuleError, match="random"):
            harness.invert(RANDOM[name](), IMAGES[:batch], steps=2)

    @pytest.mark.parametrize("name", MIXING)
    @pytest.mark.parametrize("batch", [1, 2])
    def test_a_network_that_mixes_its_batch(self, name: str, batch: int) -> None:
        with pytest.raises(harness.ModuleError, match="batch"):
            harness.invert(MIXING[name](), IMAGES[:batch], steps=2)

    def test_the_layer_is_named(self) -> None:
        module = nn.Sequential(net(), nn.Sequential(nn.ReLU(), Doing(F.dropout).eval())).eval()
        module[1][1].conv = nn.Conv2d(4, 4, 1).eval()
        with draws(), pytest.raises(harness.ModuleError) as error:
            harness.invert(module, IMAGES, steps=2)
        assert str(error.value.value).startswith("1.1, Doing")
        mixing = nn.Sequential(net(), nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)))
        with pytest.raises(harness.ModuleError) as error:
            harness.invert(mixing.eval(), IMAGES, steps=2)
        assert str(error.value.value).startswith("1.0, BatchNorm2d")

    @pytest.mark.parametrize(
        "module",
        [
            Doing(lambda x: x.detach()),
            Doing(lambda x: x.detach() if isinstance(x, Tensor) else x),
            Doing(lambda x: torch.zeros(len(x), 4)),
            Doing(lambda x: torch.zeros_like(x) + 1),
            Doing(lambda x: x * 0 + 1),
            Doing(lambda x: (x - 1e3).relu()),
        ],
        ids=["detached", "detached behind a plan", "constant", "filled", "times zero", "dead"],
    )
    def test_an_output_that_does_not_depend_on_the_input(self, module: nn.Module) -> None:
        with pytest.raises(harness.ModuleError):
            harness.invert(module, IMAGES, steps=2)

    def test_no_grad_inside(self) -> None:
        def blind(x: Tensor) -> Tensor:
            with torch.no_grad():
                return x * 2

        for module in (Doing(blind), Doing(blind, first=True)):
            with pytest.raises(harness.ModuleError):
                harness.invert(module, IMAGES, steps=2)


class TestWorks:
    """Where torch works, the engine does."""

    @pytest.mark.parametrize(
        "module",
        [
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, bias=False)),
            nn.Sequential(nn.MaxPool2d([2, 2]), nn.Conv2d(3, 4, [3, 3], stride=[1, 1])),
            nn.Sequential(nn.AvgPool2d([3, 2]), nn.Flatten(1, -1)),
            nn.Sequential(nn.Flatten(), nn.Linear(432, 1), nn.Flatten(0)),
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1)),
        ],
        ids=["bias=False", "lists", "more lists", "a number each", "softmax"],
    )
    def test_settings_as_torch_takes_them(self, module: nn.Module) -> None:
        found = harness.invert(module.eval(), IMAGES, steps=20)
        assert bool((found.m_g < found.traces["m_g"][0]).all())

    def test_a_number_set_afterwards(self) -> None:
        module = net()
        module[0].stride = 2  # type: ignore[assignment]
        assert_faithful(NetworkEncoder(module), module)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("freeze", [False, True])
    def test_scripted_and_frozen_modules(self, *, freeze: bool) -> None:
        module = torch.jit.script(net())
        module = torch.jit.freeze(module) if freeze else module
        assert NetworkEncoder(module).path == "autograd: code is scripted"
        found = harness.invert(module, IMAGES, steps=5)
        plain = harness.invert(net(), IMAGES, steps=5)
        torch.testing.assert_close(found.m_g, plain.m_g, rtol=1e-2, atol=1e-3)
        with pytest.raises(harness.DepthClaimsError):
            harness.invert(module, IMAGES, layer="0", steps=2)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_scripted_layer(self) -> None:
        module = nn.Sequential(torch.jit.script(net()), nn.Tanh()).eval()
        found = harness.invert(module, IMAGES, layer="0", steps=3)
        plain = harness.invert(net(), IMAGES, steps=3)
        torch.testing.assert_close(found.m_r, plain.m_r)
        assert not nn.modules.module._global_forward_hooks
        with pytest.raises(harness.ModuleError):
            harness.invert(module, IMAGES, layer="0.0", steps=3)

    @pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch about itself
    def test_an_exported_module(self) -> None:
        batch = torch.export.Dim("batch")
        exported = torch.export.export(net(), (IMAGES,), dynamic_shapes=({0: batch},))
        found = harness.invert(exported.module(), IMAGES, steps=3)
        plain = harness.invert(net(), IMAGES, steps=3)
        torch.testing.assert_close(found.m_r, plain.m_r)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("layer", ["2", "module.2", "_orig_mod.2"])
    @pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["parallel", "compiled"])
    def test_wrappers(self, wrap: Callable[[nn.Module], nn.Module], layer: str) -> None:
        plain = harness.invert(net(), IMAGES, layer="2", steps=3)
        found = harness.invert(wrap(net()), IMAGES, layer=layer, steps=3)
        assert torch.equal(found.images, plain.images)
        assert found.path == COMPILED

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_compiled_part(self) -> None:
        module = nn.Sequential(torch.compile(net()), nn.ReLU()).eval()
        found = harness.invert(module, IMAGES, layer="0.2", steps=3)
        plain = harness.invert(net(), IMAGES, layer="2", steps=3)
        assert torch.equal(found.images, plain.images)
        assert isinstance(module[0], type(torch.compile(nn.ReLU())))

    @pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
    def test_modes_around(
        self, mode: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        plain = harness.invert(net(), IMAGES, steps=3)
        with mode():
            found = harness.invert(net(), IMAGES.clone(), steps=3)
        assert torch.equal(found.images, plain.images)

    def test_another_default_device(self) -> None:
        plain = harness.invert(net(), IMAGES, steps=3, normalize="imagenet")
        module = net()
        with torch.device("meta"):
            found = harness.invert(module, IMAGES, steps=3, normalize="imagenet")
        assert torch.equal(found.images, plain.images)

    def test_outputs_of_another_dtype(self) -> None:
        found = harness.invert(Doing(Tensor.double), IMAGES, steps=10)
        assert found.m_g.dtype == torch.float32
        assert bool((found.m_g < found.traces["m_g"][0]).all())

    @pytest.mark.parametrize(
        "decoder", [harness.Adam(), harness.Descent(loss="l2"), harness.LBFGS()], ids=repr
    )
    def test_bfloat16(self, decoder: harness.Adam | harness.Descent | harness.LBFGS) -> None:
        module, images = net().bfloat16(), IMAGES.bfloat16()
        found = harness.invert(module, images, decoder=decoder, steps=20)
        assert bool((found.m_g < found.traces["m_g"][0]).all())

    def test_half_precision_is_refused(self) -> None:
        with pytest.raises(harness.ModuleError, match="float16"):
            harness.invert(net().half(), IMAGES.half(), steps=20)


class Recurrent(nn.Module):
    """Layers that return tuples, dicts and named tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(36, 5, batch_first=True)
        self.heads = Heads()

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        tokens, _ = self.rnn(inputs.flatten(1).unflatten(1, (-1, 36)))
        found: dict[str, Tensor] = self.heads(tokens)
        return found


@dataclasses.dataclass
class Found:
    mean: Tensor
    last: Tensor


class Data(nn.Module):
    """Returns a dataclass."""

    def forward(self, inputs: Tensor) -> Found:
        return Found(inputs.mean((2, 3)), inputs[:, -1])


class Heads(nn.Module):
    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"mean": tokens.mean(1), "last": tokens[:, -1]}


class TestEntries:
    @pytest.mark.parametrize(
        ("layer", "shape"),
        [("rnn[0]", (12, 5)), ("heads[last]", (5,)), ("heads[0]", (5,)), ("[mean]", (5,))],
    )
    def test_one_of_several_outputs(self, layer: str, shape: tuple[int, ...]) -> None:
        torch.manual_seed(1)
        module = Recurrent().eval()
        found = harness.invert(module, IMAGES, layer=layer, steps=10, decoder=harness.Adam())
        assert bool((found.m_g < found.traces["m_g"][0]).all())

    @pytest.mark.parametrize(
        ("layer", "names"), [("rnn", ["0", "1"]), ("heads", ["mean", "last"]), (None, ["mean"])]
    )
    def test_several_outputs_are_named(self, layer: str | None, names: list[str]) -> None:
        with pytest.raises(harness.ModuleError) as error:
            harness.invert(Recurrent().eval(), IMAGES, layer=layer, steps=1)
        assert all(name in error.value.remedy for name in names)

    def test_a_field_of_a_dataclass(self) -> None:
        module = nn.Sequential(net(), Data()).eval()
        found = harness.invert(module, IMAGES, layer="[last]", steps=2)
        outputs = [module(each).last.detach() for each in (found.images, IMAGES)]
        truth = (outputs[0] - outputs[1]).flatten(1).norm(dim=1)
        torch.testing.assert_close(found.m_g, truth, rtol=1e-4, atol=1e-5)

    def test_an_entry_that_is_not_there(self) -> None:
        with pytest.raises(harness.UnknownNameError, match="last"):
            harness.invert(Recurrent().eval(), IMAGES, layer="heads[lust]", steps=1)

    def test_a_second_name_is_the_second_call(self) -> None:
        relu = nn.ReLU()
        module = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 5, 3), relu).eval()
        found = harness.invert(module, IMAGES, layer="3", steps=0)
        assert torch.equal(found.m_r, harness.invert(module, IMAGES, steps=0).m_r)


def test_a_plan_whose_gradient_fails_is_told_so() -> None:
    def failing(_: Tensor) -> Tensor:
        raise IndexError("out of range")

    output, own = ModuleEncoder(net()).vjp(IMAGES)
    gradient, reason = compared_gradient(failing, own, output, name="net")
    assert "out of range" in reason
    assert torch.equal(gradient, own(output))
    assert not compared_gradient(own, own, output, name="net")[1]


class TestTransforms:
    def test_torchvisions_normalize_is_a_mean_and_a_standard_deviation(self) -> None:
        from torchvision.transforms import Normalize

        from harness.subjects.vision import models  # noqa: F401  (makes torchvision importable)

        mean, sd = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
        plain = harness.invert(net(), IMAGES, normalize=(mean, sd), steps=4)
        found = harness.invert(net(), IMAGES, normalize=Normalize(mean, sd), steps=4)
        assert torch.equal(found.images, plain.images)
        whole = nn.Sequential(Normalize(mean, sd), net()).eval()
        for layer, inner in ((None, None), ("1.0", "0")):
            first = harness.invert(whole, IMAGES, layer=layer, steps=4)
            plain = harness.invert(net(), IMAGES, layer=inner, normalize=(mean, sd), steps=4)
            torch.testing.assert_close(first.m_r, plain.m_r)
            assert first.path == COMPILED

    def test_any_other_transform_is_differentiated(self) -> None:
        def smaller(images: Tensor) -> Tensor:
            return F.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True) - 0.5

        found = harness.invert(net(), IMAGES, normalize=smaller, steps=10)
        whole = nn.Sequential(Doing(lambda x: x), net())
        whole[0].forward = smaller  # type: ignore[method-assign]
        plain = harness.invert(whole.eval(), IMAGES, steps=10)
        torch.testing.assert_close(found.m_r, plain.m_r)
        assert bool((found.m_g < found.traces["m_g"][0]).all())

    def test_a_transform_is_in_eval_mode_and_left_as_it_is(self) -> None:
        transform = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).double()
        found = harness.invert(net(), IMAGES, normalize=transform, steps=2)
        assert transform.training
        assert transform[0].weight.dtype == torch.float64
        whole = nn.Sequential(copy.deepcopy(transform).float(), net()).eval()
        torch.testing.assert_close(
            found.m_r, harness.invert(whole, IMAGES, steps=2).m_r, rtol=1e-4, atol=0
        )

    def test_a_random_transform_is_refused(self) -> None:
        with draws(), pytest.raises(harness.ModuleError, match="random"):
            harness.invert(net(), IMAGES, normalize=F.dropout, steps=2)

    def test_a_transform_that_fails_is_named(self) -> None:
        def pictures(images: Tensor) -> Tensor:
            raise TypeError("pic should be PIL Image")

        with pytest.raises(harness.ModuleError, match=r"^normalize="):
            harness.invert(net(), IMAGES, normalize=pictures, steps=2)

    def test_what_is_no_transform_is_refused(self) -> None:
        with pytest.raises(harness.SettingError):
            harness.invert(net(), IMAGES, normalize=0.5, steps=2)  # type: ignore[arg-type]
