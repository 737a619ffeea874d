"""The engine itself, as a loop."""

from __future__ import annotations

import dataclasses
from unittest import mock

from torch import Tensor

from benchmarks.loops.loop import Observer
from benchmarks.tasks import Task
from harness.encoders.encoder import JVP, VJP, Encoder
from harness.inversion import loop
from harness.inversion.recover import recover
from harness.inversion.steppers import Eager
from harness.plan.decoders import Decoder


@dataclasses.dataclass(frozen=True)
class Engine:
    """`recover`, as the claims call it, its trace included.

    Parameters
    ----------
    task : Task
        What is reconstructed.
    decoder : Decoder
        How.
    """

    task: Task
    decoder: Decoder

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start; a last evaluation follows them."""
        task = self.task
        # The host does not see what is captured in a CUDA graph.
        encoder = task.encoder if task.device.type == "cuda" else _Observed(task.encoder, observe)
        return recover(
            encoder,
            task.original,
            start=task.start,
            noised=task.noised,
            decoder=self.decoder,
            iterations=steps,
        ).images


@dataclasses.dataclass(frozen=True)
class EagerEngine(Engine):
    """The engine with every step launched anew, also where it would replay a CUDA graph."""

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start; a last evaluation follows them."""
        with mock.patch.object(loop, "drive", Eager):
            return super().run(steps, observe=observe)


@dataclasses.dataclass(frozen=True)
class _Observed:
    """An encoder whose outputs are observed where a decoder evaluates it.

    Parameters
    ----------
    encoder : Encoder
        Computes the outputs.
    observe : callable
        Called with them, those of the target and of references excepted.
    """

    encoder: Encoder
    observe: Observer

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs, not observed."""
        return self.encoder.encode(inputs)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, vjp = self.encoder.vjp(inputs)
        self.observe(output)
        return output, vjp

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, J v and J^T u there."""
        output, jvp, vjp = self.encoder.linearize(inputs)
        self.observe(output)
        return output, jvp, vjp
