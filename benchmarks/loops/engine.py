"""The engine itself, seen as a loop."""

from __future__ import annotations

import dataclasses
from unittest import mock

from torch import Tensor

from benchmarks.loops.loop import Seen
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
        What is recovered.
    decoder : Decoder
        How.
    """

    task: Task
    decoder: Decoder

    def run(self, steps: int, *, seen: Seen) -> Tensor:
        """Take steps from the start; a last evaluation follows them."""
        task = self.task
        # What is captured in a CUDA graph cannot tell the host anything.
        encoder = task.encoder if task.device.type == "cuda" else _Telling(task.encoder, seen)
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

    def run(self, steps: int, *, seen: Seen) -> Tensor:
        """Take steps from the start; a last evaluation follows them."""
        with mock.patch.object(loop, "drive", Eager):
            return super().run(steps, seen=seen)


@dataclasses.dataclass(frozen=True)
class _Telling:
    """An encoder that tells of the outputs on a decoder's way.

    Parameters
    ----------
    encoder : Encoder
        That computes.
    seen : callable
        Told.
    """

    encoder: Encoder
    seen: Seen

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs; of the target and of references, so that none is told."""
        return self.encoder.encode(inputs)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, vjp = self.encoder.vjp(inputs)
        self.seen(output)
        return output, vjp

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, J v and J^T u there."""
        output, jvp, vjp = self.encoder.linearize(inputs)
        self.seen(output)
        return output, jvp, vjp
