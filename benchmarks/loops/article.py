"""The article's loop as its equations and its published code have it, and the plain loop.

Both take a <- N_c(a - step * grad |O(a) - y|_1) and reach the same images. The plain loop is what a
person who knows torch writes for speed: BatchNorm folded, channels last, no gradients of
parameters, blur kernels made once. The article's loop does none of that.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.loops.loop import Observer, observing
from benchmarks.tasks import Task
from harness.plan.decoders import Blur, Descent
from harness.subjects import vision  # noqa: F401  (torchvision needs it to be imported first)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # these two still script functions
    from torch.fx.experimental.optimization import fuse
    from torchvision.transforms.functional import gaussian_blur


@dataclasses.dataclass(frozen=True)
class ArticleLoop:
    """The article's loop, on a batch.

    Every step computes and accumulates the gradients of all parameters and makes the blur kernel
    again.

    Parameters
    ----------
    task : Task
        What is reconstructed.
    decoder : Descent
        The article's, with one blur or none.
    """

    task: Task
    decoder: Descent

    @functools.cached_property
    def _network(self) -> nn.Module:
        return self.task.truncated()

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start."""
        blur = self.decoder.prior(Blur)
        sigmas = np.linspace(blur.first, blur.last, steps) if blur else ()
        image, target = self.task.start, self.task.target
        with observing(self._network, observe):
            for number, size in enumerate(_sizes(self.decoder, steps)):
                image = image.detach().requires_grad_()
                loss = self.decoder.factor * (target - self._network(image)).abs().sum()
                loss.backward()
                image = image - size * image.grad
                if blur:
                    image = gaussian_blur(image, blur.kernel, sigma=float(sigmas[number]))
        return image.detach()


@dataclasses.dataclass(frozen=True)
class PlainLoop:
    """The same steps in a loop written for speed, with torch alone.

    Parameters
    ----------
    task : Task
        What is reconstructed.
    decoder : Descent
        The article's, with one blur or none.
    """

    task: Task
    decoder: Descent

    @functools.cached_property
    def _network(self) -> nn.Module:
        network = self.task.truncated().requires_grad_(False)
        return fuse(network).to(memory_format=torch.channels_last)

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start."""
        blur = self.decoder.prior(Blur)
        kernels = _kernels(blur, steps=steps, like=self.task.start) if blur else ()
        target = self.task.target
        layout = torch.channels_last if self.task.start.dim() == 4 else torch.contiguous_format
        image = self.task.start.clone(memory_format=layout)
        with observing(self._network, observe):
            for number, size in enumerate(_sizes(self.decoder, steps)):
                image = image.requires_grad_()
                loss = (self._network(image) - target).abs().sum()
                (gradient,) = torch.autograd.grad(loss, image)
                image = image.detach().sub_(gradient, alpha=self.decoder.factor * size)
                if blur:
                    padded = nn.functional.pad(image, [blur.kernel // 2] * 4, mode="reflect")
                    image = nn.functional.conv2d(padded, kernels[number], groups=image.shape[1])
        return image


def _sizes(decoder: Descent, steps: int) -> list[float]:
    """epsilon at each step: fixed, or falling linearly to its minimum."""
    if decoder.schedule == "fixed":
        return [decoder.step] * steps
    return [max(decoder.step * (1 - number / steps), decoder.minimum) for number in range(steps)]


def _kernels(blur: Blur, *, steps: int, like: Tensor) -> Tensor:
    """The Gaussian kernel of each step, shape (steps, channels, 1, size, size)."""
    offsets = np.arange(blur.kernel) - (blur.kernel - 1) / 2
    sigmas = np.linspace(blur.first, blur.last, steps)[:, None]
    lines = np.exp(-0.5 * (offsets / sigmas) ** 2)
    lines /= lines.sum(1, keepdims=True)
    squares = torch.from_numpy(lines[:, :, None] * lines[:, None, :]).to(like)
    return squares[:, None, None].expand(-1, like.shape[1], -1, -1, -1).contiguous()
