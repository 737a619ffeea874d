"""What was changed about a module from outside: hooks, replaced methods, weights, settings."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module has hooks; after "_global" where torch has those that hold for all modules."""


def overriding_reason(module: nn.Module) -> str:
    """What replaces or hooks into the module's own code, in words; empty if nothing does."""
    if any(_global_hooks()):
        return "torch has hooks for all modules"
    for name, part in module.named_modules():
        place = f" at {name}" if name else ""
        if isinstance(part, torch.jit.ScriptModule):
            return f"code is scripted{place}"
        if any(getattr(part, hooks) for hooks in _HOOKS):
            return f"there are hooks{place}"
        if parametrize.is_parametrized(part):
            return f"weights are parametrized{place}"
        for attribute in vars(part):
            if callable(getattr(type(part), attribute, None)):
                return f"{attribute} of the {type(part).__name__}{place} is replaced"
    return ""


class Watch:
    """Notices whether a module is changed.

    It sees attributes that are set, hooks, and weights that are replaced or written to; where they
    are written to through `.data` on a CPU, it sees it by one element of each.

    Parameters
    ----------
    module : nn.Module
    """

    def __init__(self, module: nn.Module) -> None:
        # What is scripted is left to autograd, which follows it anyway.
        plain = (part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule))
        self._attributes = [vars(part) for part in plain]
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Whether it was changed since this was last asked."""
        before, self._seen = self._seen, self._look()
        objects, numbers, elements = self._seen
        # As bytes, since nan is the same as before.
        return not (
            len(objects) == len(before[0])
            and all(map(operator.is_, objects, before[0]))
            and numbers == before[1]
            and torch.equal(elements.view(torch.uint8), before[2].view(torch.uint8))
        )

    def _look(self) -> tuple[list[object], list[int], Tensor]:
        """Objects to compare by identity, numbers, and elements of the weights."""
        objects: list[object] = []
        numbers = _global_hooks()
        elements = []
        for attributes in self._attributes:
            objects.extend(attributes.values())
            numbers.extend(len(attributes[hooks]) for hooks in _HOOKS)
            objects.extend(attributes["_modules"].values())
            for weights in (attributes["_parameters"], attributes["_buffers"]):
                objects.extend(weights.values())
                for weight in weights.values():
                    if weight is None:
                        continue
                    numbers.append(weight.data_ptr())
                    if not weight.is_inference():
                        numbers.append(weight._version)
                    if (
                        weight.device.type == "cpu"
                        and weight.is_floating_point()
                        and weight.numel()
                    ):
                        elements.append(weight.detach()[(-1,) * weight.dim()])
        return objects, numbers, torch.stack(elements) if elements else torch.empty(0)


def _global_hooks() -> list[int]:
    return [len(getattr(nn.modules.module, f"_global{hooks}")) for hooks in _HOOKS]
