"""The encoder of any module: a compiled plan where its graph can be traced, autograd elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.encoders.compiled import CompiledPlan
from harness.encoders.encoder import JVP, VJP, Encoder, ModuleEncoder
from harness.encoders.runtime import digits
from harness.encoders.tracing import TracedGraph, UntraceableError, trace
from harness.errors import ModuleError

MODELESS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity, nn.Flatten)
"""What a cut makes anew, in train mode, of a network in eval mode; they know no difference."""


def check_eval_mode(module: nn.Module) -> None:
    """Refuse a module of which any part is in train mode.

    Raises
    ------
    ModuleError
        If one is.
    """
    for name, part in module.named_modules():
        if part.training and type(part) not in MODELESS:
            raise ModuleError(
                f"{type(module).__name__}{name and f', {name}'}",
                rule="in train mode a layer may be random, or mix the samples of a batch",
                remedy="Call .eval() on the network first",
            )


class NetworkEncoder:
    """A module in eval mode as an encoder, by the fastest way that it allows.

    torchvision's networks are best imported as `from harness.subjects.vision import models`: this
    also works where torchvision lacks its compiled operators and `import torchvision` fails.

    Parameters
    ----------
    module : nn.Module
        It maps a batch to one tensor with a row a sample, each of which depends on its own sample
        alone; a module that mixes samples cannot be told, and its results mean nothing. Its
        parameters are those at the first call with inputs of a shape; leave them as they are.

    Raises
    ------
    ModuleError
        Where any part of it is in train mode; at a use of it, where its parameters are of another
        dtype or on another device than the images, or where it returns anything but one tensor of
        real numbers with a row a sample.
    """

    def __init__(self, module: nn.Module) -> None:
        check_eval_mode(module)
        self.module = module
        self._reason = ""
        self._graph: TracedGraph | None = None
        try:
            self._graph = trace(module)
        except UntraceableError as error:
            self._reason = str(error)
        # For good: a captured graph reads weights where they were. No cache around a method, which
        # would hold what holds it: a device's memory is to be free as soon as nobody needs it.
        self._prepared: dict[tuple[object, ...], Encoder] = {}

    @property
    def path(self) -> str:
        """How inputs are taken: "compiled plan", or "autograd" and why."""
        return f"autograd: {self._reason}" if self._reason else "compiled plan"

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        return self._for(inputs).encode(inputs)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        return self._for(inputs).vjp(inputs)

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        return self._for(inputs).linearize(inputs)

    def _for(self, inputs: Tensor) -> Encoder:
        place = inputs.shape, inputs.dtype, inputs.device
        # On a GPU the fastest form of a convolution depends on the digits of products, too.
        known = (*place, *digits()) if inputs.is_cuda else place
        if known not in self._prepared:
            self._prepared[known] = self._prepare(*place)
        return self._prepared[known]

    def _prepare(self, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Encoder:
        self._check(dtype, device)
        if self._graph is not None:
            try:
                return CompiledPlan(self._graph, torch.zeros(shape, dtype=dtype, device=device))
            except UntraceableError as error:
                self._graph, self._reason = None, str(error)
        return ModuleEncoder(self.module)

    def _check(self, dtype: torch.dtype, device: torch.device) -> None:
        """Refuse images that none of the parameters fits."""
        weights = [weight for weight in self.module.parameters() if weight.is_floating_point()]
        if weights and all((each.dtype, each.device) != (dtype, device) for each in weights):
            raise ModuleError(
                type(self.module).__name__,
                rule=f"its parameters are {_place(weights[0].dtype, weights[0].device)}, and the "
                f"images are {_place(dtype, device)}",
                remedy="Move one to the other by .to(...)",
            )


def _place(dtype: torch.dtype, device: torch.device) -> str:
    return f"{str(dtype).removeprefix('torch.')} on {device}"
