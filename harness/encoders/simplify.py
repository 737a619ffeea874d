"""Make a network in eval mode cheaper without changing what it computes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorm(module: nn.Module) -> None:
    """Fold each BatchNorm into the convolution registered right before it, as in ResNets.

    In place, in the dtype of the module.
    """
    before: tuple[str, nn.Module] = "", module
    for name, child in list(module.named_children()):
        fold_batchnorm(child)
        if isinstance(before[1], nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        before = name, child


def trim_kernels(module: nn.Module, *, shape: tuple[int, int, int]) -> None:
    """Drop the rows and columns of kernels that only ever meet padding, in place.

    Deep layers see small images: on one pixel, eight of the nine weights of a padded 3 x 3 kernel
    only ever multiply zeros, yet they are read at every step, and at batch 1 reading weights is
    what a step costs. Afterwards the module fits images of this shape alone.

    Parameters
    ----------
    module : nn.Module
        Convolutions are replaced, each used once.
    shape : tuple of int
        Channels, rows and columns of the images.
    """
    sizes: dict[nn.Conv2d, tuple[int, int]] = {}

    def note(convolution: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(convolution, nn.Conv2d)
        rows, columns = arguments[0].shape[-2:]
        sizes[convolution] = rows, columns

    convolutions = [child for child in module.modules() if isinstance(child, nn.Conv2d)]
    hooks = [child.register_forward_pre_hook(note) for child in convolutions]
    like = next(module.parameters())
    with torch.no_grad():
        module(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    for hook in hooks:
        hook.remove()
    for convolution, size in sizes.items():
        _trim(convolution, size)


def _trim(convolution: nn.Conv2d, size: tuple[int, int]) -> None:
    """Keep the part of one kernel that meets an image of a size."""
    trimmed = []
    for axis in range(2):
        kernel, stride = convolution.kernel_size[axis], convolution.stride[axis]
        padding, length = convolution.padding[axis], size[axis]
        if convolution.dilation[axis] != 1 or not isinstance(padding, int):
            return
        outputs = (length + 2 * padding - kernel) // stride + 1
        live = [
            place
            for place in range(kernel)
            if any(0 <= output * stride + place - padding < length for output in range(outputs))
        ]
        first, last = (live[0], live[-1]) if live else (0, kernel - 1)
        # Padding is the same on both sides; where that would change the output, the kernel stays.
        shorter = padding - first
        if shorter < 0 or (length + 2 * shorter - (last - first + 1)) // stride + 1 != outputs:
            first, last, shorter = 0, kernel - 1, padding
        trimmed.append((first, last, shorter))
    (top, bottom, rows), (left, right, columns) = trimmed
    weight = convolution.weight[..., top : bottom + 1, left : right + 1].clone()
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.kernel_size = (bottom - top + 1, right - left + 1)
    convolution.padding = (rows, columns)
    # nn.Conv2d derives this from its padding when it is made; padding by zeros does not use it.
    convolution._reversed_padding_repeated_twice = [columns, columns, rows, rows]
