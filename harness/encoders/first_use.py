"""Whether a network is what an encoder takes it for; found by running it at its first use."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from harness.encoders.encoder import VJP
from harness.encoders.part import name_of, whole_of
from harness.encoders.runtime import tf32_allowed
from harness.errors import DepthClaimsError, ModuleError

EXPONENT = 0.6
"""Two ways of computing the same agree within eps to this power, 7e-5 in float32."""

_GRADIENT = 0.05
"""Share by which norms of gradients may differ, since ties may be broken either way."""

_OVERWRITTEN = "has been modified by an inplace operation"

_MIXED = 1e-3
"""Share of an output by which it may depend on the size of its batch, by rounding."""


def compared_gradient(
    plan: VJP, module: VJP, cotangent: Tensor, *, name: str
) -> tuple[Tensor, str]:
    """A gradient by a compiled plan, unless it differs from the module's own; why, in words.

    Norms are compared, since ties may be broken either way, and then gradients differ while both
    are right. Samples whose own gradients are not finite are left out.

    Parameters
    ----------
    plan, module : callable
        The VJPs of both.
    cotangent : tensor, shape (batch, ...)
    name : str
        Of the network, for messages.

    Raises
    ------
    ModuleError
        If the module has no gradient.
    """
    try:
        own = module(cotangent)
    except RuntimeError as error:
        # Torch cannot differentiate what is overwritten; a plan has no need to.
        if _OVERWRITTEN in str(error):
            return plan(cotangent), ""
        raise without_gradient(name, error) from error
    try:
        gradient = plan(cotangent)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever an operation has not thought of
        return own, f"the gradient of a compiled plan fails: {first_line(error)}"
    norms = _norms(own)
    near = (_norms(gradient) - norms).abs() <= _GRADIENT * norms
    if not bool((near | ~norms.isfinite()).all()):
        return own, "the gradients of a compiled plan differ from the module's own"
    return gradient, ""


def without_gradient(name: str, error: Exception) -> ModuleError:
    """The error for a network that cannot be differentiated, from what torch says of it."""
    return ModuleError(
        name,
        rule=f"its output cannot be differentiated by its input ({first_line(error)})",
        remedy="Give a network without detach, no_grad, constants or quantised layers",
    )


def agree(ours: Tensor, theirs: Tensor, *, like: Tensor) -> bool:
    """Whether outputs for inputs like these are the same up to rounding, sample by sample.

    Samples whose own outputs are not finite are left out.
    """
    coarse = like.is_cuda and like.dtype == torch.float32 and any(tf32_allowed())
    eps = 2.0**-10 if coarse else torch.finfo(like.dtype).eps
    if ours.shape != theirs.shape:
        return False
    norms = _norms(theirs)
    return bool(((_norms(ours - theirs) <= eps**EXPONENT * norms) | ~norms.isfinite()).all())


def check_samples(
    outputs: Tensor, encode: Callable[[Tensor], Tensor], module: nn.Module, inputs: Tensor
) -> None:
    """Refuse a network that is random, or whose output for a sample depends on the others.

    It is run once, for a batch of another size.

    Parameters
    ----------
    outputs : tensor, shape (batch, ...)
        For these inputs.
    encode : callable
        From inputs to outputs.
    module : nn.Module
        The network.
    inputs : tensor, shape (batch, ...)

    Raises
    ------
    ModuleError
        If it is, or cannot take a batch of another size.
    """
    alone = inputs[:1]
    other = alone if len(inputs) > 1 else torch.cat([alone, 1 - alone.flip(-1)])
    before = random_states(inputs.device)
    try:
        found = encode(other)[:1]
    except (DepthClaimsError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        encode(inputs)  # an error of its own, where the images are at fault
        raise ModuleError(
            name_of(module),
            rule=f"it fails for another number of samples ({first_line(error)})",
            remedy="Give a network that takes batches of any size",
        ) from error
    is_random = random_states(inputs.device) != before
    if not is_random and agree(found, outputs[:1], like=inputs):
        return
    again = encode(other)[:1]
    if is_random or not torch.equal(again.nan_to_num(), found.nan_to_num()):
        raise ModuleError(
            _culprit(module, other, other) or name_of(module),
            rule="it is random: it returns something else for the same image",
            remedy="Remove what is random, such as F.dropout without training=self.training",
        )
    if not _near(found, outputs[:1]):
        raise ModuleError(
            _culprit(module, inputs, other) or name_of(module),
            rule="what it returns for an image depends on the others of the batch",
            remedy="Use layers that map each image by itself, such as BatchNorm with running "
            "statistics",
        )


def _near(one: Tensor, other: Tensor) -> bool:
    """Whether an output is the same in two batches but for rounding."""
    share = max(_MIXED, 16 * torch.finfo(one.dtype).eps)
    return one.shape == other.shape and float((one - other).norm()) <= share * float(one.norm())


def first_line(error: BaseException) -> str:
    """The first line of an error."""
    return str(error).partition("\n")[0] or type(error).__name__


def _norms(values: Tensor) -> Tensor:
    """L2 norm of each sample."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms


def random_states(device: torch.device) -> tuple[object, ...]:
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
    whole = whole_of(module)
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
        if not _near(first.double(), second.double()):
            return f"{name}, {type(whole.get_submodule(name)).__name__}"
    return ""
