"""Modules that return a part of what another one computes."""

from __future__ import annotations

from torch import nn


class Part(nn.Module):
    """A part of what a module computes.

    Parameters
    ----------
    inside : nn.Module
        The module; its layers are shared.
    """

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.training = inside.training


def whole_of(module: nn.Module) -> nn.Module:
    """The module that a part was taken of; any other module itself."""
    while isinstance(module, Part):
        module = module.inside
    return module


def name_of(module: nn.Module) -> str:
    """The class of a module, or of the one that it is a part of."""
    return type(whole_of(module)).__name__
