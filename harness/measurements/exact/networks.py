"""Statements about networks: their outputs counted, and the ranks of their Jacobians."""

from __future__ import annotations

import dataclasses
import functools
import math

import torch
from hypothesis import strategies as st
from torch import nn

from harness.encoders.encoder import ModuleEncoder
from harness.encoders.spectrum import jacobian, spectra
from harness.measurements.exact.statement import Statement
from harness.plan.networks import MLP
from harness.subjects.blocks import build_block
from harness.subjects.mlp import mlp_encoder
from harness.subjects.resnet import truncated_resnet
from harness.subjects.vision import models

_SEEDS = st.integers(0, 999)
_CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Counted:
    """A square image in three channels as input of a ResNet up to Conv5 (layer4)."""

    network: str
    pixels: int

    @property
    def inputs(self) -> int:
        """Elements of the image."""
        return 3 * self.pixels**2

    def outputs(self) -> tuple[int, ...]:
        """Channels, rows and columns of the output of Conv5."""
        return _shape_after(self.network, self.pixels)

    def __str__(self) -> str:
        return (
            f"{self.network} at {self.pixels} x {self.pixels} x 3 = {self.inputs:,} elements "
            f"yields {' x '.join(map(str, self.outputs()))} = {math.prod(self.outputs()):,} "
            f"(the article counts {self.pixels} x {self.pixels} = {self.pixels**2:,} elements)"
        )


@functools.cache
def _shape_after(network: str, pixels: int) -> tuple[int, ...]:
    # The meta device has shapes only: nothing is drawn or computed.
    with torch.device("meta"):
        module: nn.Module = truncated_resnet(
            models.get_model(network, weights=None), layer="layer4"
        )
        return tuple(module(torch.empty(1, 3, pixels, pixels)).shape[1:])


def conv5_could_hold_the_input() -> Statement[Counted]:
    """Conv5 of ResNet-50 has as many outputs as the article's image has elements.

    The image has 299 x 299 pixels; the residual is the number of missing outputs.
    """
    return Statement(
        st.just(Counted("resnet50", 299)),
        lambda counted: float(max(0, counted.inputs - math.prod(counted.outputs()))),
    )


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A ReLU network whose last layer has fewer outputs than the input has elements."""

    inputs: int
    hidden: tuple[int, ...]
    classes: int
    seed: int

    def rank(self) -> int:
        """Of the Jacobian at an input drawn with the weights."""
        generator = torch.Generator().manual_seed(self.seed)
        network = MLP(inputs=self.inputs, widths=(*self.hidden, self.classes), activation="relu")
        encoder = mlp_encoder(network, generators=[generator], dtype=torch.float64, device=_CPU)
        point = torch.rand(1, self.inputs, dtype=torch.float64, generator=generator)
        (found,) = spectra(jacobian(encoder, point))
        return found.rank

    def __str__(self) -> str:
        return (
            f"{self.inputs} inputs, hidden layers of {self.hidden}, {self.classes} classes, "
            f"seed {self.seed}: rank {self.rank()}"
        )


@st.composite
def _classifiers(draw: st.DrawFn) -> Classifier:
    inputs = draw(st.integers(2, 24))
    hidden = draw(st.lists(st.integers(1, 48), min_size=1, max_size=3).map(tuple))
    return Classifier(inputs, hidden, draw(st.integers(1, inputs - 1)), draw(_SEEDS))


def classes_bound_the_rank() -> Statement[Classifier]:
    """The rank of a classifier's Jacobian is at most its number of classes."""
    return Statement(
        _classifiers(), lambda network: float(max(0, network.rank() - network.classes))
    )


@dataclasses.dataclass(frozen=True)
class BlockExample:
    """A block on tokens, its weights and its input drawn at random."""

    name: str
    tokens: int
    channels: int
    heads: int
    seed: int

    @property
    def elements(self) -> int:
        """Of its input, and of its output."""
        return self.tokens * self.channels

    def rank(self) -> int:
        """Of the Jacobian at an input of independent normal values."""
        block = build_block(
            self.name,
            tokens=self.tokens,
            channels=self.channels,
            heads=self.heads,
            seed=self.seed,
        )
        generator = torch.Generator().manual_seed(self.seed)
        point = torch.randn(1, self.tokens, self.channels, dtype=torch.float64, generator=generator)
        (found,) = spectra(jacobian(ModuleEncoder(block), point))
        return found.rank

    def __str__(self) -> str:
        return (
            f"{self.name} block, {self.tokens} tokens of {self.channels} channels, "
            f"{self.heads} head{'s' * (self.heads != 1)}, seed {self.seed}: "
            f"rank {self.rank()} of {self.elements}"
        )


@st.composite
def _blocks(draw: st.DrawFn, *, name: str) -> BlockExample:
    heads = draw(st.integers(1, 2))
    # A single token attends only to itself, and LayerNorm reduces two channels to a sign.
    channels = heads * draw(st.integers(3, 4))
    return BlockExample(name, draw(st.integers(2, 6)), channels, heads, draw(_SEEDS))


def block_is_not_invertible(name: str) -> Statement[BlockExample]:
    """The Jacobian of a block is not of full rank: the residual is 1 where it is."""
    return Statement(_blocks(name=name), lambda block: float(block.rank() == block.elements))
