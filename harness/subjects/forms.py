"""Which form of a convolution is the fastest."""

from __future__ import annotations

import math

from harness.subjects.columns import Columns, little
from harness.subjects.maps import Map, PlainConvolution, Product, Sampled, Unfolded
from harness.subjects.packed import PackedConvolution, packs
from harness.subjects.winograd import Winograd, best_tile

_FEW_ROWS = 256
"""Rows below which a product is faster than oneDNN's convolution of single pixels."""

_NARROW = 4
"""Columns below which oneDNN's convolution leaves most registers empty, and unfolding is faster."""


def fastest(plain: PlainConvolution) -> Map:
    """The fastest form of a convolution for inputs of its shape.

    The choice depends on shapes, dtype and device and never on a timing, since the forms differ in
    rounding.
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
    if little(plain) and not plain.small:
        return Columns(plain)
    if where == "cpu" and (tile := best_tile(plain)):
        return Winograd.of(plain, tile)
    if plain.small:
        return Product.dense(plain)
    if where == "cpu" and batch > 1 and onto[1] < _NARROW:
        return Unfolded.of(plain)
    return PackedConvolution.of(plain) if packs(plain) else plain
