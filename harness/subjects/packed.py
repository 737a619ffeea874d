"""Convolutions by oneDNN in float32, their weights laid out once.

torch lays out the weights of a convolution anew at every call, which is most of the time where the
batch or the image is small; the operators that torch.compile calls take weights that were laid out
beforehand, and add a tensor along the way. They are private to torch: where they are absent,
convolutions stay plain.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import torch
from torch import Tensor

from harness.subjects.maps import LAST, Pair, PlainConvolution, laid_out, pair, summed

_OPERATORS = (
    "_convolution_pointwise",
    "_convolution_pointwise_",
    "_convolution_transpose_pointwise",
    "_reorder_convolution_weight",
    "_reorder_convolution_transpose_weight",
)

_VECTOR = 16
"""Channels that oneDNN computes together."""


@functools.cache
def has_onednn() -> bool:
    """Whether this torch has the operators."""
    return torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in _OPERATORS
    )


def packs(plain: PlainConvolution) -> bool:
    """Whether a convolution can be laid out and then gives what torch's own does.

    Of images of one channel at unequal strides, oneDNN 3.12 leaves outputs unwritten.
    """
    place = plain.weight.device.type, plain.weight.dtype
    written = plain.weight.shape[1] > 1 or plain.stride[0] == plain.stride[1]
    return place == ("cpu", torch.float32) and plain.simple and written and has_onednn()


@dataclasses.dataclass(frozen=True)
class PackedConvolution:
    """A convolution by oneDNN, forward and back.

    Parameters
    ----------
    direct : Packed
        A.
    bias : tensor, shape (out,), or None
        b.
    back : Packed, Transposed or Blocks
        A^T.
    """

    direct: Packed
    bias: Tensor | None
    back: Packed | Transposed | Blocks

    @classmethod
    def of(cls, plain: PlainConvolution) -> PackedConvolution:
        """A simple convolution with its weights laid out for inputs of its shape."""
        direct = Packed.of(plain.weight, plain.stride, plain.padding, plain.shape)
        cotangents = torch.Size((plain.shape[0], len(plain.weight), *plain.outside))
        back: Packed | Transposed | Blocks
        if block := best_block(plain):
            back = Blocks.of(plain, block, cotangents)
        elif plain.stride == (1, 1):
            turned = plain.weight.flip(2, 3).transpose(0, 1)
            rows, columns = (k - 1 - p for k, p in zip(plain.kernel, plain.padding, strict=True))
            back = Packed.of(turned, (1, 1), (rows, columns), cotangents)
        else:
            back = Transposed.of(plain, cotangents)
        return cls(direct, plain.bias, back)

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return self.direct(x, self.bias, added=added)

    def push(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return self.direct(tangent, added=added)

    def pull(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        return self.back(cotangent, onto=onto)


@dataclasses.dataclass(frozen=True)
class Packed:
    """A convolution with a kernel that was laid out for inputs of one shape.

    Parameters
    ----------
    weight : tensor
        In oneDNN's own layout.
    stride, padding : pair of int
    tall : bool
        Whether the images of a batch are taken as one, one below the other: pixels that are mapped
        by themselves need not be taken image by image.
    """

    weight: Tensor
    stride: Pair
    padding: Pair
    tall: bool

    @classmethod
    def of(cls, weight: Tensor, stride: Pair, padding: Pair, shape: torch.Size) -> Packed:
        """Lay out a kernel for inputs of a shape."""
        batch, channels, rows, columns = shape
        tall = batch > 1 and weight.shape[2:] == stride == (1, 1) and padding == (0, 0)
        size = [1, channels, batch * rows, columns] if tall else list(shape)
        weight = weight.contiguous(memory_format=LAST)
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight, padding, stride, (1, 1), 1, size
        )
        return cls(packed, stride, padding, tall)

    def __call__(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        *,
        added: Tensor | None = None,
        onto: Tensor | None = None,
    ) -> Tensor:
        """The convolution, plus `added` or, in place, `onto`."""
        batch = len(x)
        if self.tall:
            x = _tall(x)
            added = None if added is None else _tall(added)
            onto = None if onto is None else _tall(onto)
        where = self.weight, bias, self.padding, self.stride, (1, 1), 1
        if onto is not None:
            y = torch.ops.mkldnn._convolution_pointwise_.binary(
                onto, x, *where, "add", 1.0, None, [], ""
            )
        elif added is not None:
            y = torch.ops.mkldnn._convolution_pointwise.binary(
                x, added, *where, "add", 1.0, None, [], ""
            )
        else:
            y = torch.ops.mkldnn._convolution_pointwise(x, *where, "none", [], "")
        return _parted(y, batch) if self.tall else y


@dataclasses.dataclass(frozen=True)
class Transposed:
    """A transposed convolution with a kernel that was laid out for cotangents of one shape.

    Parameters
    ----------
    weight : tensor
        In oneDNN's own layout.
    stride, padding : pair of int
        Of the convolution.
    rest : pair of int
        Rows and columns at the end of the image that no tap meets.
    """

    weight: Tensor
    stride: Pair
    padding: Pair
    rest: Pair

    @classmethod
    def of(cls, plain: PlainConvolution, shape: torch.Size) -> Transposed:
        """Lay out the kernel of a convolution for cotangents of a shape."""
        packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            plain.weight, plain.padding, plain.rest, plain.stride, (1, 1), 1, list(shape)
        )
        return cls(packed, plain.stride, plain.padding, plain.rest)

    def __call__(self, u: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        x = torch.ops.mkldnn._convolution_transpose_pointwise(
            u, self.weight, None, self.padding, self.rest, self.stride, (1, 1), 1, "none", [], ""
        )
        return summed(x, onto)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A transposed convolution onto few channels, which yields blocks of pixels.

    oneDNN computes 16 channels where 3 are wanted. Here a square block of the image is one pixel
    that has the channels of all pixels of the block, and one convolution yields the blocks: where
    row r of block a takes the cotangents of row (b / s) a + j, for blocks of b rows, stride s and
    padding p, their tap is r + p - s j.

    Parameters
    ----------
    direct : Packed
        From cotangents to blocks.
    block : int
        Rows and columns of a block, b.
    first : pair of int
        Blocks before the image, in vain: padding is the same on both sides.
    size : pair of int
        Size of the image.
    """

    direct: Packed
    block: int
    first: Pair
    size: Pair

    @classmethod
    def of(cls, plain: PlainConvolution, block: int, shape: torch.Size) -> Blocks:
        """Lay out the kernel of a convolution for blocks, and for cotangents of a shape."""
        reach = [_reach(plain, block, axis) for axis in (0, 1)]
        steps, paddings, first = [], [], []
        for axis, (lowest, highest) in enumerate(reach):
            step = block // plain.stride[axis]
            last = -(-plain.inside[axis] // block) - 1
            padding = max(-lowest, last * step + highest - plain.outside[axis] + 1)
            padding += -(padding + lowest) % step
            steps.append(step)
            paddings.append(padding)
            first.append((padding + lowest) // step)
        (top, bottom), (left, right) = reach
        out, channels, rows, columns = plain.weight.shape
        taps = bottom - top + 1, right - left + 1
        kernel = plain.weight.new_zeros(channels, block, block, out, *taps)
        for r, q, j, k in itertools.product(range(block), range(block), *map(range, taps)):
            row = r + plain.padding[0] - plain.stride[0] * (top + j)
            column = q + plain.padding[1] - plain.stride[1] * (left + k)
            if 0 <= row < rows and 0 <= column < columns:
                kernel[:, r, q, :, j, k] = plain.weight[:, :, row, column].t()
        direct = Packed.of(kernel.flatten(0, 2), pair((*steps,)), pair((*paddings,)), shape)
        return cls(direct, block, pair((*first,)), plain.inside)

    def __call__(self, u: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        (top, left), b = self.first, self.block
        rows, columns = (-(-length // b) for length in self.size)
        blocks = self.direct(u)[:, :, top : top + rows, left : left + columns]
        image = torch.nn.functional.pixel_shuffle(blocks, b)
        return summed(laid_out(image[:, :, : self.size[0], : self.size[1]]), onto)


def _reach(plain: PlainConvolution, block: int, axis: int) -> Pair:
    """The least and the greatest j of `Blocks` along an axis."""
    stride, padding, taps = plain.stride[axis], plain.padding[axis], plain.kernel[axis]
    return -((taps - 1 - padding) // stride), (block - 1 + padding) // stride


def best_block(plain: PlainConvolution) -> int:
    """Rows of the blocks that take the least arithmetic, or 0 where whole images do."""
    stride, channels = plain.stride[0], plain.weight.shape[1]
    if plain.stride[1] != stride:
        return 0

    def cost(block: int) -> float:
        """Multiplications a pixel and a cotangent's channel."""
        if not block:
            return _vectors(channels) * math.prod(plain.kernel) / stride**2
        taps = math.prod(high - low + 1 for low, high in (_reach(plain, block, a) for a in (0, 1)))
        return _vectors(channels * block**2) * taps / block**2

    return min((0, stride, 2 * stride) if stride > 1 else (0, 2), key=cost)


def _vectors(channels: int) -> int:
    """Channels that are computed where so many are wanted."""
    return -(-channels // _VECTOR) * _VECTOR


def _tall(images: Tensor) -> Tensor:
    """The images of a batch, one below the other."""
    batch, channels, rows, columns = images.shape
    pixels = images.permute(0, 2, 3, 1).reshape(1, batch * rows, columns, channels)
    return pixels.permute(0, 3, 1, 2)


def _parted(image: Tensor, batch: int) -> Tensor:
    """What `_tall` undoes."""
    _, channels, rows, columns = image.shape
    pixels = image.permute(0, 2, 3, 1).view(batch, rows // batch, columns, channels)
    return pixels.permute(0, 3, 1, 2)
