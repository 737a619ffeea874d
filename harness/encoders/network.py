"""The encoder of any module: a compiled plan where its graph can be traced, autograd elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.encoders.adapters import Contiguous
from harness.encoders.compiled import CompiledPlan
from harness.encoders.encoder import JVP, VJP, Encoder, ModuleEncoder
from harness.encoders.runtime import tf32_allowed
from harness.encoders.tracing import TracedGraph, UntraceableError, trace
from harness.errors import ModuleError

COMPILED = "compiled plan"
"""The path of modules that are computed without autograd."""

MODELESS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity, nn.Flatten)
"""Containers and layers that cutting creates anew, in train mode; eval mode is the same to them."""


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
    """A module in eval mode as an encoder, computed in the fastest way that it allows.

    torchvision's networks are best imported as `from harness.subjects.vision import models`: this
    also works where torchvision lacks its compiled operators and `import torchvision` fails.

    Parameters
    ----------
    module : nn.Module
        It maps a batch to one tensor with a row a sample, which depends on that sample alone; of a
        module that mixes samples, which is not detected, results mean nothing. Its parameters are
        read at the first call with inputs of a shape, and must not be changed afterwards.

    Raises
    ------
    ModuleError
        If any part of it is in train mode; when it is called, if its parameters have another dtype
        or device than the images, or if it returns anything but one tensor of real numbers with a
        row a sample.
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
        # Never dropped, since a captured graph reads weights where they were. functools.cache on a
        # method would keep the encoder, and its memory on the device, alive.
        self._prepared: dict[tuple[object, ...], Encoder] = {}

    @property
    def path(self) -> str:
        """How it is computed: "compiled plan", or "autograd: " and why."""
        return f"autograd: {self._reason}" if self._reason else COMPILED

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
        # On a GPU the fastest way to convolve also depends on the precision of products.
        known = (*place, *tf32_allowed()) if inputs.is_cuda else place
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
        return Contiguous(ModuleEncoder(self.module))

    def _check(self, dtype: torch.dtype, device: torch.device) -> None:
        """Refuse images that differ from all parameters in dtype or device."""
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
