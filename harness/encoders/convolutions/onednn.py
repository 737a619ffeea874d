"""Convolutions by oneDNN in float32, with weights in oneDNN's own layout.

At every call torch converts the weights of a convolution to oneDNN's layout, which takes most of
the time where the batch or the image is small. The operators that torch.compile calls take weights
that were converted beforehand. They are private to torch: where they are absent, convolutions are
left to torch's public ones.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from harness.encoders.convolutions.convolution import Convolution, Pair

_OPERATORS = ("_convolution_pointwise", "_reorder_convolution_weight")


@functools.cache
def has_onednn() -> bool:
    """Whether this torch has the operators."""
    return torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in _OPERATORS
    )


def can_pack(convolution: Convolution) -> bool:
    """Whether oneDNN's operators compute a convolution, and correctly.

    Of images of one channel at unequal strides, oneDNN 3.12 leaves outputs unwritten.
    """
    weight, (rows, columns) = convolution.weight, convolution.stride
    here = weight.device.type == "cpu" and weight.dtype == torch.float32
    return (
        here and convolution.regular and (weight.shape[1] > 1 or rows == columns) and has_onednn()
    )


@dataclasses.dataclass(frozen=True)
class Packed:
    """A convolution with a weight in oneDNN's layout for inputs of one shape.

    Parameters
    ----------
    weight : tensor
        In oneDNN's own layout.
    stride, padding : pair of int
    """

    weight: Tensor
    stride: Pair
    padding: Pair

    @classmethod
    def of(cls, convolution: Convolution) -> Packed:
        """A convolution that `can_pack` allows."""
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight,
            convolution.padding,
            convolution.stride,
            (1, 1),
            1,
            list(convolution.shape),
        )
        return cls(weight, convolution.stride, convolution.padding)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """A x, plus a bias where one is given."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, bias, self.padding, self.stride, (1, 1), 1, "none", [], ""
        )
        return y
