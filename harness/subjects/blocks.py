"""Freshly initialised blocks of transformers and MLP-mixers, which map tokens to tokens."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from harness.plan.networks import BLOCKS
from harness.subjects.generators import global_seed

_EXPANSION = 4
"""Hidden units over inputs, the same in both architectures."""


class SelfAttention(nn.Module):
    """Multi-head self-attention alone (Vaswani et al. 2017)."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, tokens: Float[Tensor, "batch t c"]) -> Float[Tensor, "batch t c"]:
        """Map tokens to as many tokens."""
        output: Tensor = self.attend(tokens, tokens, tokens, need_weights=False)[0]
        return output


class Residual(nn.Module):
    """x + f(norm(x))."""

    def __init__(self, branch: nn.Module, *, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.branch = branch

    def forward(self, tokens: Float[Tensor, "batch t c"]) -> Float[Tensor, "batch t c"]:
        """Map tokens to as many tokens."""
        output: Tensor = tokens + self.branch(self.norm(tokens))
        return output


class AcrossTokens(nn.Module):
    """A module of vectors, applied to each channel's values over all tokens."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, tokens: Float[Tensor, "batch t c"]) -> Float[Tensor, "batch t c"]:
        """Map tokens to as many tokens."""
        output: Tensor = self.module(tokens.mT).mT
        return output


def build_block(name: str, *, tokens: int, channels: int, heads: int, seed: int) -> nn.Module:
    """A block in float64 and eval mode, initialised as torch's layers are.

    Parameters
    ----------
    name : str
        "attention" (self-attention alone), "transformer" (with MLP, LayerNorm and residual
        connections, Dosovitskiy et al. 2021) or "mixer" (Tolstikhin et al. 2021).
    tokens, channels : int
        Of its inputs and outputs.
    heads : int
        Of attention; divides the channels.
    seed : int
        Of the weights.
    """
    assert name in BLOCKS
    with global_seed(seed):
        if name == "attention":
            block: nn.Module = SelfAttention(channels, heads=heads)
        else:
            mixing = (
                SelfAttention(channels, heads=heads)
                if name == "transformer"
                else AcrossTokens(_mlp(tokens))
            )
            block = nn.Sequential(
                Residual(mixing, channels=channels), Residual(_mlp(channels), channels=channels)
            )
    return block.double().eval().requires_grad_(False)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, _EXPANSION * width), nn.GELU(), nn.Linear(_EXPANSION * width, width)
    )
