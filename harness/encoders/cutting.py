"""Cut a module right after one of its layers, known by its dotted name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.hooks import RemovableHandle

from harness.encoders.encoder import entries_of
from harness.encoders.held import copied, unchanged
from harness.encoders.part import Part
from harness.encoders.tracer import Tracer
from harness.encoders.transforms import is_normalize
from harness.errors import ModuleError, UnknownNameError
from harness.plan.fields import check


def truncated(module: nn.Module, *, layer: str) -> nn.Module:
    """The part of a module that computes the output of a layer, and nothing after it.

    The module itself is run, and left as soon as the layer has returned, so that its output is the
    layer's own, whatever follows it in place.

    Parameters
    ----------
    module : nn.Module
        Its layers are shared with the result.
    layer : str
        A name as in `module.named_modules()`. A layer that is called more than once stands for
        its first call; "relu_1" is the second call of "relu", as in torchvision's feature
        extraction. Of a layer that has several names, the second name is the second call. Where a
        layer returns several tensors, "rnn[0]" or "head[logits]" is one of them; "[0]" is one of
        what the whole module returns.

    Raises
    ------
    SettingError
        If the name is none.
    UnknownNameError
        If the module has no such layer; once the result is called, if it returns no such entry.
    ModuleError
        If the layer is inside a scripted module; once the result is called, if the forward pass
        does not call the layer, or not that often.
    """
    check(
        isinstance(layer, str),
        f"layer={layer!r}".partition("\n")[0],
        rule="a layer is known by its name in module.named_modules()",
        remedy='Give the name, such as "layer3" or "2"',
    )
    name, entries = _parted(layer)
    part = _cut(module, name) if name else module
    return Entry(part, entries) if entries else part


def traceable(module: nn.Module) -> nn.Module:
    """What a tracer sees of a module: of one that is cut, the graph up to the layer."""
    match module:
        case Cut() if module.graph is not None:
            return module.graph
        case Entry():
            return Entry(traceable(module.inside), module.entries)
    return module


def unwrapped(module: nn.Module) -> nn.Module:
    """A module without the wrappers that parallelise or compile it, or parts of it."""
    while (inner := wrapped_module(module)) is not None:
        module = inner
    if any(wrapped_module(part) is not None for part in module.modules()):
        module = copied(module)
        for part in [*module.modules()]:
            for name, child in part.named_children():
                if wrapped_module(child) is not None:
                    setattr(part, name, unwrapped(child))
    return module


def wrapped_module(module: nn.Module) -> nn.Module | None:
    """The module in a wrapper; None for any other module."""
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner: nn.Module = module.module
        return inner
    # Its class is not imported for a comparison, since that takes seconds.
    compiled = type(module).__name__ == "OptimizedModule"
    return module.get_submodule("_orig_mod") if compiled else None


def _parted(layer: str) -> tuple[str, tuple[str, ...]]:
    """The name of a layer, and entries of what it returns: "rnn[1][0]" is "rnn", ("1", "0")."""
    found = re.fullmatch(r"([^\[\]]*)((?:\[[^\[\]]+\])*)", layer)
    if found is None or not layer:
        return layer, ()
    return found[1], tuple(re.findall(r"\[([^\[\]]+)\]", found[2]))


def _cut(module: nn.Module, layer: str) -> nn.Module:
    name, call = _resolve(module, layer)
    around = [module, *(module.get_submodule(outer) for outer in _around(name))]
    if any(isinstance(part, torch.jit.ScriptModule) for part in around):
        raise ModuleError(
            f"{layer} of {type(module).__name__}",
            rule="layers inside a scripted, traced or frozen module cannot be reached",
            remedy="Give the module that it was made of, or leave the layer out",
        )
    if "forward" in vars(module) or module._forward_pre_hooks:
        return Cut(module, name, call)  # a tracer would call the forward pass of its class
    tracer = _Tracer(module.get_submodule(name), call)
    with unchanged(module), torch.enable_grad():
        try:
            tracer.trace(module)
        except _ReachedError as reached:
            graph = tracer.graph
            graph.output(reached.value.node)
            traced = _Graph(module, graph, class_name=type(module).__name__)
            return Cut(module, name, call, graph=traced)
        except Exception:  # the module's own code can fail on a symbol in any way, ...
            return Cut(module, name, call)
    return Cut(module, name, call)  # ... or not call the layer because of it


def _around(name: str) -> list[str]:
    """The names of the modules that a layer is in."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _resolve(module: nn.Module, layer: str) -> tuple[str, int]:
    """The name of a submodule, and which of its calls is meant, from 0."""
    every = {name: part for name, part in module.named_modules(remove_duplicate=False) if name}
    # Wrappers have a place in names, which they have lost.
    plain = ".".join(each for each in layer.split(".") if each not in ("_orig_mod", "module"))
    for wanted in (layer, plain):
        if wanted in every:
            same = [name for name, part in every.items() if part is every[wanted]]
            return same[0], same.index(wanted)
        numbered = re.fullmatch(r"(.+)_(\d+)", wanted)
        if numbered and numbered[1] in every:
            return numbered[1], int(numbered[2])
    if not every:
        raise UnknownNameError(
            repr(layer),
            rule=f"{type(module).__name__} has no layers inside",
            remedy="Leave the layer out to take the output of the whole module",
        )
    near = difflib.get_close_matches(layer, every, n=5, cutoff=0.3)
    children = [name for name, _ in module.named_children()]
    raise UnknownNameError.nearest(
        layer, near or children, what=f"layer in {type(module).__name__}"
    )


class _ReachedError(BaseException):
    """The layer has been called; carries what it returned, past a network's own handlers."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class _Tracer(Tracer):
    """Traces a module up to a call of one of its layers, then raises `_ReachedError`."""

    def __init__(self, target: nn.Module, call: int) -> None:
        super().__init__()
        self._target, self._left = target, call

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Torch's layers are, and torchvision's `Normalize`."""
        return is_normalize(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Stop at the layer; otherwise as usual."""
        if m is self._target:
            if not self._left:
                path = self.path_of_module(m)
                raise _ReachedError(self.create_proxy("call_module", path, args, kwargs))
            self._left -= 1
        return super().call_module(m, forward, args, kwargs)


class _Graph(fx.GraphModule):
    """A graph as a module; torch's own class also prints the errors that it raises."""

    def recompile(self) -> Any:
        """Generate the code of the graph."""
        code = super().recompile()
        del type(self).__call__
        return code


class Entry(Part):
    """One of several things that a module returns.

    Parameters
    ----------
    inside : nn.Module
        The module.
    entries : sequence of str
        Its name or number, that of the entry in it, and so on.
    """

    def __init__(self, inside: nn.Module, entries: Sequence[str]) -> None:
        super().__init__(inside)
        self.entries = tuple(entries)

    def forward(self, inputs: Tensor) -> Any:
        """What the entry holds."""
        output = self.inside(inputs)
        for entry in self.entries:
            held = entries_of(output)
            numbered = dict(enumerate(held.values()))
            if entry in held:
                output = held[entry]
            elif entry.isdecimal() and int(entry) in numbered:
                output = numbered[int(entry)]
            else:
                raise UnknownNameError.nearest(
                    entry, held, what=f"entry in a {type(output).__name__}"
                )
        return output


class Cut(Part):
    """What one of the layers of a module returns; the module is left as soon as it does.

    Parameters
    ----------
    inside : nn.Module
        The module.
    name : str
        The layer's.
    call : int
        Which of its calls is meant, from 0.
    graph : fx.GraphModule or None
        What a tracer saw on the way to the layer: the same, but for code that looks at what it is
        given. Its layers are shared.
    """

    def __init__(
        self, inside: nn.Module, name: str, call: int, *, graph: fx.GraphModule | None = None
    ) -> None:
        super().__init__(inside)
        self.name, self.call, self.graph = name, call, graph

    def forward(self, inputs: Tensor) -> Any:
        """What the layer returns."""
        left = self.call

        def stop(_: nn.Module, __: Any, output: Any) -> None:
            nonlocal left
            if not left:
                raise _ReachedError(output)
            left -= 1

        hook = _hooked(self.inside.get_submodule(self.name), stop)
        try:
            self.inside(inputs)
        except _ReachedError as reached:
            return reached.value
        finally:
            hook.remove()
        raise ModuleError(
            f"{self.name}{f'_{self.call}' if self.call else ''} of {type(self.inside).__name__}",
            rule="the forward pass does not call this layer, or not that often",
            remedy="Choose a layer that it calls",
        )


def _hooked(layer: nn.Module, hook: Callable[[nn.Module, Any, Any], None]) -> RemovableHandle:
    """Call a hook with what a layer returns, after its own hooks."""
    if not isinstance(layer, torch.jit.ScriptModule):
        return layer.register_forward_hook(hook)

    # Scripted modules take no hooks but those that hold for all modules.
    def of_all(part: nn.Module, inputs: Any, output: Any) -> None:
        if part is layer:
            hook(part, inputs, output)

    return nn.modules.module.register_module_forward_hook(of_all)
