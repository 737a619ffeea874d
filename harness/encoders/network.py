"""The encoder of any module: a compiled plan where its graph can be traced, autograd elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from harness.encoders.adapters import Contiguous
from harness.encoders.compiled import CompiledPlan
from harness.encoders.cutting import traceable
from harness.encoders.encoder import JVP, VJP, Encoder, ModuleEncoder
from harness.encoders.first_use import (
    DIFFERENT,
    check_samples,
    first_line,
    outputs_differ,
    vjp_differs,
)
from harness.encoders.overrides import Watch
from harness.encoders.part import name_of
from harness.encoders.runtime import tf32_allowed
from harness.encoders.tracing import TracedGraph, UntraceableError, trace
from harness.errors import ModuleError

COMPILED = "compiled plan"
"""The path of modules that are computed without autograd."""

MODELESS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity, nn.Flatten)
"""Containers and layers that cutting and exporting create anew, in train mode, though they have no
modes."""


def check_eval_mode(module: nn.Module) -> None:
    """Refuse a module of which any part is in train mode.

    Raises
    ------
    ModuleError
        If one is.
    """
    for name, part in module.named_modules():
        # A frozen module has no modes, and graphs have the one in which they were made.
        graph = isinstance(part, fx.GraphModule) or type(part).__module__ == "torch.export._unlift"
        if getattr(part, "training", False) and not graph and type(part) not in MODELESS:
            raise ModuleError(
                f"{type(module).__name__}{name and f', {name}'}",
                rule="in train mode a layer may be random, or mix the samples of a batch",
                remedy="Call .eval() on the network first",
            )


class NetworkEncoder:
    """A module in eval mode as an encoder, computed in the fastest way that it allows.

    The first outputs and the first VJP for inputs of a shape are compared with the module's own;
    where they differ, the module itself is run by autograd from then on. A module that is changed
    after its first use is looked at anew.

    torchvision's networks are best imported as `from harness.subjects.vision import models`: this
    also works where torchvision lacks its compiled operators and `import torchvision` fails.

    Parameters
    ----------
    module : nn.Module
        It maps a batch to one tensor with a row a sample, which depends on that sample alone.
    owned : bool
        Whether nobody else has the module, so that it need not be looked at again.
    autograd : str
        Why the module itself is to be run by autograd; empty for a compiled plan where there can
        be one.

    Raises
    ------
    ModuleError
        If any part of it is in train mode; when it is called, if it is random, mixes the samples of
        a batch, if its parameters have another dtype or device than the images, or if it returns
        anything but one tensor of real numbers with a row a sample.
    """

    def __init__(self, module: nn.Module, *, owned: bool = False, autograd: str = "") -> None:
        check_eval_mode(module)
        self.module = module
        self.own: Encoder = Contiguous(ModuleEncoder(module))
        self._autograd = autograd
        self._watch = None if owned else Watch(module)
        # Never dropped while the module stays as it is, since a captured graph reads weights where
        # they were. functools.cache on a method would keep the encoder, and its memory on the
        # device, alive.
        self._prepared: dict[tuple[object, ...], Encoder] = {}
        self._graph: TracedGraph | None = None
        self._sampled = False
        self._trace()

    @property
    def path(self) -> str:
        """How it is computed: "compiled plan", or "autograd: " and why."""
        return f"autograd: {self._reason}" if self._reason else COMPILED

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        encoder = self._prepared_for(inputs, use="outputs")
        return self._first_outputs(inputs) if encoder is None else encoder.encode(inputs)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        encoder = self._prepared_for(inputs, use="VJP")
        return self._first_vjp(inputs) if encoder is None else encoder.vjp(inputs)

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        encoder = self._prepared_for(inputs, use="VJP")
        if encoder is None:
            self._first_vjp(inputs)
            encoder = self._encoder(inputs)
        return encoder.linearize(inputs)

    def _prepared_for(self, inputs: Tensor, *, use: str) -> Encoder | None:
        """The encoder of inputs of a shape; None at the first such use of it."""
        # By autograd a module is followed whatever becomes of it.
        compiled = self._graph is not None
        if compiled and self._watch is not None and self._watch.has_changed():
            self._trace()
        return self._prepared.get((*_place_of(inputs), use))

    def _first_outputs(self, inputs: Tensor) -> Tensor:
        encoder, reason, sampled = self._encoder(inputs), "", self._sampled
        outputs = encoder.encode(inputs)
        if not sampled:
            right = check_samples(outputs, self.own.encode, self.module, inputs)
            self._sampled, reason = True, "" if right else DIFFERENT
        # A single sample has been compared by then.
        if encoder is not self.own and not reason and (sampled or len(inputs) > 1):
            reason = outputs_differ(outputs, self.own, inputs)
        settled = self._settled(encoder, inputs, use="outputs", reason=reason)
        return outputs if settled is encoder else settled.encode(inputs)

    def _first_vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        encoder, reason = self._encoder(inputs), ""
        found = encoder.vjp(inputs)
        if not self._sampled:
            check_samples(found[0], self.own.encode, self.module, inputs)
            self._sampled = True
        if encoder is not self.own:
            reason = vjp_differs(found, self.own, inputs, name=name_of(self.module))
        settled = self._settled(encoder, inputs, use="VJP", reason=reason)
        return found if settled is encoder else settled.vjp(inputs)

    def _settled(self, encoder: Encoder, inputs: Tensor, *, use: str, reason: str) -> Encoder:
        """The encoder for a use from now on: the module's own if there is a reason against it."""
        if reason:
            self._graph, self._reason = None, reason
            self._prepared.clear()
            encoder = self.own
        self._prepared[*_place_of(inputs), use] = encoder
        if self._watch is not None:
            self._watch.has_changed()  # the module's own code, which has just been run, may do so
        return encoder

    def _trace(self) -> None:
        """Look at the module anew."""
        self._prepared.clear()
        self._graph, self._reason = None, self._autograd
        self._sampled = False
        if self._reason:
            return
        try:
            self._graph = trace(traceable(self.module))
        except UntraceableError as error:
            self._reason = str(error)

    def _encoder(self, inputs: Tensor) -> Encoder:
        """A compiled plan for inputs of a shape, or the module itself."""
        for use in ("outputs", "VJP"):
            if (known := self._prepared.get((*_place_of(inputs), use))) is not None:
                return known
        self._check(inputs.dtype, inputs.device)
        if self._graph is not None:
            try:
                return CompiledPlan(self._graph, torch.zeros_like(inputs))
            except (MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # whatever torch says of settings that it takes elsewhere
                self._graph, self._reason = None, first_line(error)
        return self.own

    def _check(self, dtype: torch.dtype, device: torch.device) -> None:
        """Refuse images that differ from all parameters in dtype or device."""
        weights = [weight for weight in self.module.parameters() if weight.is_floating_point()]
        if weights and all((each.dtype, each.device) != (dtype, device) for each in weights):
            theirs = _in_words(weights[0].dtype, weights[0].device)
            raise ModuleError(
                name_of(self.module),
                rule=f"its parameters are {theirs}, and the images are {_in_words(dtype, device)}",
                remedy="Move one to the other by .to(...)",
            )


def _place_of(inputs: Tensor) -> tuple[object, ...]:
    """What a compiled plan is made for."""
    place: tuple[object, ...] = (inputs.shape, inputs.dtype, inputs.device)
    # On a GPU the fastest way to convolve also depends on the precision of products.
    return (*place, *tf32_allowed()) if inputs.is_cuda else place


def _in_words(dtype: torch.dtype, device: torch.device) -> str:
    return f"{str(dtype).removeprefix('torch.')} on {device}"
