"""A tracer that refuses what changes gradients, of which a graph knows nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from harness.encoders.operations.operation import UntraceableError


class Tracer(fx.Tracer):
    """Traces what autograd would differentiate as it is."""

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Refuse what is computed without a derivative."""
        if not torch.is_grad_enabled():
            raise UntraceableError("it computes without gradients")
        return super().create_node(*args, **kwargs)

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuse hooks of tensors."""
        if target == "register_hook":
            raise UntraceableError("there are hooks of tensors")
        return super().create_proxy(kind, target, *args, **kwargs)
