"""torch-lucent's rendering loop, with half the squared distance at a layer as its objective.

Its random shifts and its upsampling are left out, since no other loop has them. The rest is the
default: every step runs the whole network with a hook on every module, and computes and accumulates
the gradients of parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.loops.loop import Observer, observing
from benchmarks.tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class LucentLoop:
    """`lucent.optvis.render.render_vis`.

    Parameters
    ----------
    render : module
        `lucent.optvis.render`.
    task : Task
        What is reconstructed, from a ResNet.
    optimizer : callable or None
        Makes the optimizer of some parameters; None takes the package's own, Adam.
    """

    render: Any
    task: Task
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None

    @functools.cached_property
    def _network(self) -> nn.Module:
        return self.task.whole()

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start."""
        image = self.task.start.clone().requires_grad_()
        layer, target = self.task.case.layer, self.task.target
        with observing(self._network.get_submodule(layer), observe):
            self.render.render_vis(
                self._network,
                lambda outputs: (outputs(layer) - target).square().sum() / 2,
                param_f=lambda: ([image], lambda: image),
                optimizer=self.optimizer,
                transforms=[],
                thresholds=(steps,),
                preprocess=False,
                progress=False,
                show_image=False,
                # Otherwise it enlarges small images to 224 pixels.
                fixed_image_size=tuple(image.shape[2:]),
            )
        # It leaves a hook on every module.
        for module in self._network.modules():
            module._forward_hooks.clear()
        return image.detach()
