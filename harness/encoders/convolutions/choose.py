"""How a convolution and its transpose are computed.

The choice depends on shapes, dtype, device and the present precision of a GPU's libraries, never on
a timing, since algorithms differ in rounding. `benchmarks/convolution_forms.py` measures what each
gains; docs/throughput.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import Tensor

from harness.encoders.convolutions.convolution import AffineMap, Convolution, Linear, Transpose
from harness.encoders.convolutions.im2col_gpu import GatheredPatches
from harness.encoders.convolutions.onednn import Packed, can_pack
from harness.encoders.convolutions.pixel_shuffle import PixelShuffle, best_block
from harness.encoders.convolutions.products import Im2col, PointwiseProduct
from harness.encoders.convolutions.winograd import Winograd, fits_winograd
from harness.encoders.runtime import products_are_as_precise, uses_tensor_cores

FORMS = ("pointwise product", "Winograd", "im2col", "oneDNN", "pixel shuffle")
"""The algorithms that a CPU has a choice of, besides torch's own."""

_MANY_CHANNELS, _SMALL = 256, 4
"""Channels from which, and rows and columns to which, Winograd's filtering saves time."""

_NARROW = 4
"""Columns of outputs below which oneDNN leaves most of its registers empty."""

_FEW_OUTPUTS = 256
"""Pixels below which oneDNN takes longer to prepare a convolution of one image than to do it."""

_VECTOR = 16
"""Channels that oneDNN computes together."""

_PATCHES, _FEW_PATCHES = 2**25, 2**22
"""Elements of all patches up to which a GPU gathers them, where products are exact; and where they
are not, or where most elements are zeros. Chosen by single convolutions on an H200: what a product
saves is spent on moving the patches from about there on."""


def affine_map(
    convolution: Convolution, bias: Tensor | None, *, without: Collection[str] = ()
) -> AffineMap:
    """A convolution plus a bias, computed in the fastest way for inputs of its shape.

    Parameters
    ----------
    convolution : Convolution
    bias : tensor, shape (out,), or None
    without : collection of str
        Members of `FORMS` that are not to be taken.
    """
    ways: tuple[Linear, Transpose] = convolution, convolution.transpose
    match convolution.regular and convolution.weight.device.type:
        case "cpu":
            ways = ways_on_cpu(convolution, without=without)
        case "cuda":
            ways = ways_on_gpu(convolution)
    return AffineMap(*ways, bias)


def ways_on_cpu(convolution: Convolution, *, without: Collection[str]) -> tuple[Linear, Transpose]:
    """A and A^T of a regular convolution, as oneDNN or products of matrices are at their best."""
    batch, outputs = convolution.shape[0], convolution.output_size
    torchs = convolution, convolution.transpose
    single = batch * math.prod(outputs) == 1  # one row is no faster as a product
    if convolution.pointwise and not single and "pointwise product" not in without:
        product = PointwiseProduct.of(convolution)
        return product, product.transpose
    if batch > 1:
        small = max(outputs) <= _SMALL and min(convolution.weight.shape[:2]) >= _MANY_CHANNELS
        if small and fits_winograd(convolution) and "Winograd" not in without:
            winograd = Winograd.of(convolution)
            return winograd, winograd.transpose
        if outputs[1] < _NARROW and "im2col" not in without:
            im2col = Im2col.of(convolution)
            return im2col, im2col.transpose
    elif math.prod(outputs) < _FEW_OUTPUTS:
        return torchs
    if not can_pack(convolution) or "oneDNN" in without:
        return torchs
    block = best_block(convolution, together=_VECTOR)
    back: Transpose = convolution.transpose
    if block and "pixel shuffle" not in without:
        back = PixelShuffle.of(convolution, block, compute=Packed.of)
    elif convolution.stride == (1, 1):
        back = _without_bias(Packed.of(convolution.flipped()))
    return Packed.of(convolution), back


def _without_bias(linear: Linear) -> Transpose:
    return lambda cotangent: linear(cotangent, None)


def ways_on_gpu(convolution: Convolution) -> tuple[Linear, Transpose]:
    """A and A^T of a regular convolution: products where these are exact and patches few.

    cuDNN is at its best elsewhere, and where products would round in another way.
    """
    weight = convolution.weight
    if not products_are_as_precise(weight):
        return convolution, convolution.transpose
    if convolution.pointwise:
        product = PointwiseProduct.of(convolution)
        return product, product.transpose
    coarse, batch = uses_tensor_cores(weight), convolution.shape[0]
    exact_and_dense = not coarse and convolution.stride == (1, 1)
    most = _PATCHES if exact_and_dense else _FEW_PATCHES
    back: Transpose = convolution.transpose
    block = weight.shape[1] < _VECTOR and best_block(convolution, together=2 * _VECTOR)
    if block:
        back = PixelShuffle.of(convolution, block, compute=_forward_on_gpu)
    elif batch * math.prod(convolution.input_size) * weight[:, 0].numel() <= most:
        back = _without_bias(GatheredPatches.back(convolution))
    return _forward_on_gpu(convolution), back


def _forward_on_gpu(convolution: Convolution) -> Linear:
    weight = convolution.weight
    elements = convolution.shape[0] * math.prod(convolution.output_size) * weight[0].numel()
    most = _FEW_PATCHES if uses_tensor_cores(weight) else _PATCHES
    return GatheredPatches.forward(convolution) if elements <= most else convolution
