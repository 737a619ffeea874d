"""The encoder of any module: a compiled plan where its graph can be traced, autograd elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from harness.encoders.adapters import Contiguous
from harness.encoders.compiled import CompiledPlan
from harness.encoders.cutting import traceable
from harness.encoders.encoder import JVP, VJP, Encoder, ModuleEncoder
from harness.encoders.first_use import (
    agree,
    check_samples,
    compared_gradient,
    first_line,
    random_states,
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
            output, vjp = self._first_vjp(inputs)
            vjp(output)
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
        """Outputs; a plan's are compared with the module's own."""
        encoder = self._encoder(inputs)
        outputs = encoder.encode(inputs)
        if encoder is self.own:
            self._check_samples(outputs, inputs)
        else:
            before = random_states(inputs.device)
            if self._differs(outputs, self.own.encode(inputs), inputs, before=before):
                return self._first_outputs(inputs)
        self._settle(encoder, inputs, use="outputs")
        return outputs

    def _first_vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs and their VJP; a plan's are compared with the module's own.

        The VJP is compared where it is first applied, since a decoder takes it there in any case.
        """
        encoder = self._encoder(inputs)
        outputs, vjp = encoder.vjp(inputs)
        if encoder is self.own:
            self._check_samples(outputs, inputs)
            self._settle(encoder, inputs, use="VJP")
            return outputs, vjp
        before = random_states(inputs.device)
        own, own_vjp = self.own.vjp(inputs)
        if self._differs(outputs, own, inputs, before=before):
            return self._first_vjp(inputs)

        def compared(cotangent: Tensor) -> Tensor:
            name = name_of(self.module)
            gradient, reason = compared_gradient(vjp, own_vjp, cotangent, name=name)
            if reason:
                self._give_up(reason)
            else:
                self._settle(encoder, inputs, use="VJP")
            return gradient

        return outputs, compared

    def _differs(
        self, outputs: Tensor, own: Tensor, inputs: Tensor, *, before: tuple[object, ...]
    ) -> bool:
        """Whether a plan is given up: its outputs are others, or the module's own are random."""
        is_random = random_states(inputs.device) != before
        if is_random or not agree(outputs, own, like=inputs):
            self._give_up("the outputs of a compiled plan differ from the module's own")
            return True
        return False

    def _check_samples(self, outputs: Tensor, inputs: Tensor) -> None:
        """Refuse, once, what is random or mixes its batch; a plan does neither."""
        if not self._sampled:
            check_samples(outputs, self.own.encode, self.module, inputs)
            self._sampled = True

    def _settle(self, encoder: Encoder, inputs: Tensor, *, use: str) -> None:
        """Let an encoder serve a use from now on."""
        self._prepared[*_place_of(inputs), use] = encoder
        if self._watch is not None:
            self._watch.has_changed()  # the module's own code, which has just been run, may do so

    def _give_up(self, reason: str) -> None:
        """Run the module itself from now on."""
        self._graph, self._reason = None, reason
        self._prepared.clear()

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
                self._give_up(first_line(error))
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
