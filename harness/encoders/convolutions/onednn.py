"""Convolutions by oneDNN in float32, their weights laid out once.

torch lays out the weights of a convolution anew at every call, which is most of the time where the
batch or the image is small; the operators that torch.compile calls take weights that were laid out
beforehand, and add a tensor along the way. They are private to torch: where they are absent,
convolutions stay plain.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from harness.encoders.convolutions.maps import Pair, PlainConvolution
from harness.encoders.convolutions.pixel_shuffle import Blocks, best_block
from harness.encoders.layout import accumulate

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
        back: Packed | Transposed | Blocks
        if block := best_block(plain, together=_VECTOR):
            back = Blocks.of(plain, block, laid_out_by=Packed.of)
        elif plain.stride == (1, 1):
            turned = plain.turned()
            back = Packed.of(turned.weight, turned.stride, turned.padding, turned.shape)
        else:
            back = Transposed.of(plain)
        return cls(direct, plain.bias, back)

    def forward(self, x: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A x + b, plus `added`."""
        return self.direct(x, self.bias, added=added)

    def apply_jvp(self, tangent: Tensor, *, added: Tensor | None = None) -> Tensor:
        """A t, plus `added`."""
        return self.direct(tangent, added=added)

    def apply_vjp(self, cotangent: Tensor, *, onto: Tensor | None = None) -> Tensor:
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
        weight = weight.contiguous(memory_format=torch.channels_last)
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
    def of(cls, plain: PlainConvolution) -> Transposed:
        """Lay out the kernel of a convolution for cotangents of its outputs."""
        packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            plain.weight, plain.padding, plain.rest, plain.stride, (1, 1), 1, list(plain.cotangents)
        )
        return cls(packed, plain.stride, plain.padding, plain.rest)

    def __call__(self, u: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """A^T u, plus `onto`."""
        x = torch.ops.mkldnn._convolution_transpose_pointwise(
            u, self.weight, None, self.padding, self.rest, self.stride, (1, 1), 1, "none", [], ""
        )
        return accumulate(x, onto)


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
