"""Cut a module right after one of its layers, known by its dotted name."""

from __future__ import annotations

import difflib
import re
from typing import Any, NoReturn

from torch import Tensor, fx, nn

from harness.errors import ModuleError, UnknownNameError


def truncated(module: nn.Module, *, layer: str) -> nn.Module:
    """The part of a module that computes the output of a layer, and nothing after it.

    In-place operations that follow the layer are gone, so its output is the layer's own. The cut
    is made in the module's graph where that can be traced up to the layer; otherwise the module
    itself is run, and left as soon as the layer has returned.

    Parameters
    ----------
    module : nn.Module
        Its layers are shared with the result.
    layer : str
        A name as in `module.named_modules()`. A layer that is called more than once stands for
        its first call; "relu_1" is the second call of "relu", as in torchvision's feature
        extraction.

    Raises
    ------
    UnknownNameError
        If the module has no such layer.
    ModuleError
        If the forward pass does not call the layer (or not that often); where the graph cannot
        be traced, only once the result is called.
    """
    name, call = _resolve(module, layer)
    if "forward" in vars(module) or module._forward_pre_hooks:
        return _Stopped(module, name, call)  # a tracer would call the forward pass of its class
    target = module.get_submodule(name)
    tracer = _Tracer(target, call)
    try:
        tracer.trace(module)
    except _ReachedError as reached:
        graph = tracer.graph
        graph.output(reached.value.node)
        return _Part(module, graph, class_name=type(module).__name__)
    except Exception:
        return _Stopped(module, name, call)
    _refuse(module, layer)


def _resolve(module: nn.Module, layer: str) -> tuple[str, int]:
    """The name of a submodule, and which of its calls is meant, from 0."""
    names = [name for name, _ in module.named_modules() if name]
    if layer in names:
        return layer, 0
    numbered = re.fullmatch(r"(.+)_(\d+)", layer)
    if numbered and numbered[1] in names:
        return numbered[1], int(numbered[2])
    if not names:
        raise UnknownNameError(
            repr(layer),
            rule=f"{type(module).__name__} has no layers inside",
            remedy="Leave the layer out to take the output of the whole module",
        )
    near = difflib.get_close_matches(layer, names, n=5, cutoff=0.3)
    children = [name for name, _ in module.named_children()]
    raise UnknownNameError.nearest(
        layer, near or children, what=f"layer in {type(module).__name__}"
    )


def _refuse(module: nn.Module, layer: str) -> NoReturn:
    raise ModuleError(
        f"{layer} of {type(module).__name__}",
        rule="the forward pass does not call this layer, or not that often",
        remedy="Choose a layer that it calls",
    )


class _ReachedError(Exception):
    """The layer has been called; carries what it returned."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class _Tracer(fx.Tracer):
    """Traces a module up to a call of one of its layers, then raises `_ReachedError`."""

    def __init__(self, target: nn.Module, call: int) -> None:
        super().__init__()
        self._target, self._left = target, call

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Stop at the layer; otherwise as usual."""
        if m is self._target:
            if not self._left:
                path = self.path_of_module(m)
                raise _ReachedError(self.create_proxy("call_module", path, args, kwargs))
            self._left -= 1
        return super().call_module(m, forward, args, kwargs)


class _Part(fx.GraphModule):
    """A graph as a module; torch's own class also prints the errors that it raises."""

    def recompile(self) -> Any:
        """Generate the code of the graph."""
        code = super().recompile()
        del type(self).__call__
        return code


class _Stopped(nn.Module):
    """A module that returns what one of its layers does, as soon as it does."""

    def __init__(self, module: nn.Module, name: str, call: int) -> None:
        super().__init__()
        self.module, self._name, self._call = module, name, call
        self.training = module.training

    def forward(self, inputs: Tensor) -> Any:
        left = self._call

        def stop(_: nn.Module, __: Any, output: Any) -> None:
            nonlocal left
            if not left:
                raise _ReachedError(output)
            left -= 1

        hook = self.module.get_submodule(self._name).register_forward_hook(stop)
        try:
            self.module(inputs)
        except _ReachedError as reached:
            return reached.value
        finally:
            hook.remove()
        _refuse(self.module, self._name)
