"""Whether a network is what an encoder takes it for; found by running it at its first use."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from harness.encoders.encoder import Encoder
from harness.encoders.runtime import tf32_allowed
from harness.errors import DepthClaimsError, ModuleError

EXPONENT = 0.6
"""Two ways of computing the same agree within eps to this power, 7e-5 in float32."""

_GRADIENT = 0.05
"""Share by which norms of gradients may differ, since ties may be broken either way."""

_OVERWRITTEN = "has been modified by an inplace operation"

_MIXED = 1e-3
"""Share of an output by which it may depend on the size of its batch, by rounding."""


def difference(plan: Encoder, module: Encoder, inputs: Tensor) -> str:
    """What a compiled plan computes otherwise than the module itself, in words; empty if nothing.

    Parameters
    ----------
    plan, module : Encoder
        To be compared, by their outputs and by the norms of their VJPs.
    inputs : tensor, shape (batch, ...)
        At which they are.
    """
    theirs = module.encode(inputs)
    ours, our_vjp = plan.vjp(inputs)
    if not agree(ours, theirs, like=inputs):
        return "the outputs of a compiled plan differ from the module's own"
    try:
        _, their_vjp = module.vjp(inputs)
        own = _norms(their_vjp(theirs))
    except RuntimeError as error:
        # Torch cannot differentiate what is overwritten; a plan has no need to.
        return "" if _OVERWRITTEN in str(error) else f"it has no gradient: {first_line(error)}"
    if not bool(((_norms(our_vjp(theirs)) - own).abs() <= _GRADIENT * own).all()):
        return "the gradients of a compiled plan differ from the module's own"
    return ""


def agree(ours: Tensor, theirs: Tensor, *, like: Tensor) -> bool:
    """Whether outputs for inputs like these are the same up to rounding, sample by sample."""
    coarse = like.is_cuda and like.dtype == torch.float32 and any(tf32_allowed())
    eps = 2.0**-10 if coarse else torch.finfo(like.dtype).eps
    if ours.shape != theirs.shape:
        return False
    return bool((_norms(ours - theirs) <= eps**EXPONENT * _norms(theirs)).all())


def check_samples(encode: Callable[[Tensor], Tensor], module: nn.Module, inputs: Tensor) -> None:
    """Refuse a network that is random, or whose output for a sample depends on the others.

    Parameters
    ----------
    encode : callable
        Outputs of the network for a batch.
    module : nn.Module
        The network.
    inputs : tensor, shape (batch, ...)
        Of which the first sample is encoded again, by itself and beside another one.

    Raises
    ------
    ModuleError
        If it is, or cannot take a batch of another size.
    """
    name = type(module).__name__
    alone = inputs[:1]
    beside = torch.cat([alone, inputs[1:2] if len(inputs) > 1 else 1 - alone.flip(-1)])
    before = _random_states(inputs.device)
    try:
        one, two = encode(alone), encode(beside)[:1]
    except (DepthClaimsError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        encode(inputs)  # an error of its own, where the images are at fault
        raise ModuleError(
            name,
            rule=f"it fails for another number of samples ({first_line(error)})",
            remedy="Give a network that takes batches of any size",
        ) from error
    tolerance = max(_MIXED, 16 * torch.finfo(inputs.dtype).eps) * float(one.norm())
    differs = one.shape != two.shape or float((one - two).norm()) > tolerance
    random_numbers = _random_states(inputs.device) != before
    if random_numbers or (differs and not torch.equal(encode(alone), one)):
        raise ModuleError(
            _culprit(module, alone, alone) or name,
            rule="it is random: it returns something else for the same image",
            remedy="Remove what is random, such as F.dropout without training=self.training",
        )
    if differs:
        raise ModuleError(
            _culprit(module, alone, beside) or name,
            rule="what it returns for an image depends on the others of the batch",
            remedy="Use layers that map each image by itself, such as BatchNorm with running "
            "statistics",
        )


def first_line(error: BaseException) -> str:
    """The first line of an error."""
    return str(error).partition("\n")[0] or type(error).__name__


def _norms(values: Tensor) -> Tensor:
    """L2 norm of each sample."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms


def _random_states(device: torch.device) -> tuple[object, ...]:
    """Of all global generators that a network can draw from."""
    states = [torch.random.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    numpys = pickle.dumps(np.random.get_state())  # noqa: NPY002
    return random.getstate(), numpys, *(bytes(state.numpy()) for state in states)


def _culprit(module: nn.Module, one: Tensor, two: Tensor) -> str:
    """The first layer whose outputs differ between two batches that begin with the same sample."""
    outputs: list[list[tuple[str, Tensor]]] = []
    hooks = []
    whole = module
    while isinstance(inside := getattr(whole, "inside", None), nn.Module):
        whole = inside  # of a module that is cut at a layer
    for name, part in whole.named_modules():
        if not name or isinstance(part, torch.jit.ScriptModule):
            continue

        def note(_: nn.Module, __: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor):
                outputs[-1].append((name, output.detach()[:1].clone()))

        hooks.append(part.register_forward_hook(note))
    try:
        for batch in (one, two):
            outputs.append([])
            with torch.no_grad():
                module(batch.clone())
    finally:
        for hook in hooks:
            hook.remove()
    for (name, first), (_, second) in zip(*outputs, strict=False):
        near = first.shape == second.shape and torch.allclose(
            first.double(), second.double(), rtol=_MIXED, atol=_MIXED * float(first.double().norm())
        )
        if not near:
            return f"{name}, {type(whole.get_submodule(name)).__name__}"
    return ""
