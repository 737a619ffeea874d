"""Which form of a convolution is the fastest."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness.encoders.convolutions.im2col_cpu import Columns, little
from harness.encoders.convolutions.im2col_gpu import Gathered, GatheredBack
from harness.encoders.convolutions.maps import (
    Back,
    Direct,
    Map,
    Pair,
    PlainConvolution,
    Product,
    Sampled,
    Turned,
    TwoWay,
    Unfolded,
)
from harness.encoders.convolutions.onednn import PackedConvolution, packs
from harness.encoders.convolutions.pixel_shuffle import Blocks, best_block
from harness.encoders.convolutions.winograd import Winograd, best_tile
from harness.encoders.runtime import as_products, by_tensor_cores

_FEW_ROWS = 256
"""Rows below which a product is faster than oneDNN's convolution of single pixels."""

_NARROW = 4
"""Columns below which oneDNN's convolution leaves most registers empty, and unfolding is faster."""

_WINDOWS, _FEW_WINDOWS = 2**25, 2**22
"""Elements of all windows up to which a GPU gathers them, where products are exact; and where they
are not, or where most elements are zeros. Chosen by single convolutions on an H200: what a product
saves is spent on moving the windows from about there on."""

_FEW_CHANNELS = 16
"""Below so many, a GPU's convolutions compute far more than is wanted."""


def fastest(plain: PlainConvolution) -> Map:
    """The fastest form of a convolution for inputs of its shape.

    The choice depends on shapes, dtype, device and the digits that a GPU's libraries keep now, and
    never on a timing, since the forms differ in rounding.
    """
    batch, onto, where = plain.shape[0], plain.outside, plain.weight.device.type
    if not plain.simple:
        return plain
    if plain.pointwise and plain.stride != (1, 1):
        return Sampled(fastest(plain.sampled()), plain.stride, plain.inside)
    if plain.pointwise:
        # Where there are many rows, it counts that bias and summand take no pass of their own.
        few = batch * math.prod(onto) < _FEW_ROWS
        return Product.pointwise(plain) if few or not packs(plain) else PackedConvolution.of(plain)
    if where == "cuda" and not plain.small:
        return on_gpu(plain) if as_products(plain.weight) else plain
    if little(plain) and not plain.small:
        return Columns(plain)
    if where == "cpu" and (tile := best_tile(plain)):
        return Winograd.of(plain, tile)
    if plain.small:
        return Product.dense(plain)
    if where == "cpu" and batch > 1 and onto[1] < _NARROW:
        return Unfolded.of(plain)
    return PackedConvolution.of(plain) if packs(plain) else plain


def on_gpu(plain: PlainConvolution) -> Map:
    """The fastest form of a simple convolution on a GPU, there and back.

    cuDNN is at its best where it multiplies in few digits. In float32, of single images it takes
    Fourier transforms, and of many its way back is faster than its way there.
    """
    return TwoWay(_direct(plain), _back(plain))


def _direct(plain: PlainConvolution) -> Direct:
    coarse = by_tensor_cores(plain.weight)
    elements = plain.shape[0] * math.prod(plain.outside) * plain.weight[0].numel()
    if elements <= (_FEW_WINDOWS if coarse else _WINDOWS):
        return Gathered.of(plain)
    turns = plain.simple and plain.stride == (1, 1)
    return Turned.of(plain) if turns and not coarse else plain


def _back(plain: PlainConvolution) -> Back:
    coarse, one = by_tensor_cores(plain.weight), plain.stride == (1, 1)
    if plain.shape[1] < _FEW_CHANNELS and (block := best_block(plain, together=2 * _FEW_CHANNELS)):
        return Blocks.of(plain, block, laid_out_by=_convolution)
    elements = plain.shape[0] * math.prod(plain.inside) * plain.weight[:, 0].numel()
    if elements <= (_WINDOWS if one and not coarse else _FEW_WINDOWS):
        return GatheredBack.of(plain, parted=False)
    if one:
        return Turned.of(plain).apply_vjp if coarse else plain.apply_vjp
    return plain.apply_vjp if coarse else GatheredBack.of(plain, parted=True)


def _convolution(
    weight: Tensor, stride: Pair, padding: Pair, shape: torch.Size
) -> Callable[[Tensor], Tensor]:
    flat = weight.contiguous(memory_format=torch.channels_last)
    return _direct(PlainConvolution(flat, None, stride, padding, (1, 1), 1, shape)).apply_jvp
