"""plenoptic's model metamers, as its documentation asks for them.

The model is the network truncated by hand right after the layer, in eval mode and without gradients
of parameters. One loss, the mean square, is minimised for the whole batch by Adam with AMSGrad.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.loops.loop import Observer, observing
from benchmarks.tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlenopticLoop:
    """`plenoptic.Metamer`.

    Parameters
    ----------
    plenoptic : module
        The package.
    task : Task
        What is reconstructed.
    rate : float
        Of the optimizer.
    penalty : float
        Weight of its penalty on values outside [0, 1]; the default is plenoptic's own.
    optimizer : type or None
        None takes plenoptic's own.
    """

    plenoptic: Any
    task: Task
    rate: float = 0.01
    penalty: float = 0.1
    optimizer: type[torch.optim.Optimizer] | None = None

    @functools.cached_property
    def _network(self) -> nn.Module:
        network = self.task.truncated()
        self.plenoptic.remove_grad(network)
        return network

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start; a last evaluation without a gradient follows them."""
        metamer = self.plenoptic.Metamer(
            self.task.original, self._network, penalty_lambda=self.penalty
        )
        options: Mapping[str, float] = {"lr": self.rate}
        metamer.setup(
            initial_image=self.task.start, optimizer=self.optimizer, optimizer_kwargs=dict(options)
        )
        with observing(self._network, observe), contextlib.redirect_stderr(io.StringIO()):
            # Below any change of the loss, so that it does not stop by itself.
            metamer.synthesize(max_iter=steps, stop_criterion=-1.0)
        return metamer.metamer.detach()
