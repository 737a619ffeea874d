"""Weights from a local file: safetensors, or a PyTorch file of tensors and plain values only.

The file may be a checkpoint around the state dict, and the state dict that of a network inside a
wrapper (DataParallel, torch.compile, Lightning's module): names are compared without it.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.encoders.cutting import Cut, truncated, wrapped_module
from harness.encoders.fit import check_weights
from harness.errors import ModuleError, WeightsError
from harness.plan.networks import WeightsFile

_HOLDERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "state_dict_ema",
    "model_ema",
    "ema",
)
"""Where checkpoints have their state dict, the first one that is there; averaged weights last."""

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of a name that torch's wrappers add, at any depth."""

_OUTER = ("", "model.", "network.", "net.")
"""Attributes in which a training's module holds its network, as Lightning's does."""

_AVERAGES = "n_averaged"
"""The count of torch's averaged model, which has no effect on its outputs."""

_NAMED = 4
"""Weights that are named where many are left out."""

_SCALAR = np.float64(0).__reduce__()[0]

_PLAIN: tuple[Any, ...] = (
    argparse.Namespace,
    type(Path()),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
)
"""What holds plain values next to the weights, such as arguments and accuracies; none runs code."""


def load_weights(
    module: nn.Module, path: str | Path, *, layer: str | None = None
) -> tuple[str, ...]:
    """Load the weights of a file into a network, in place.

    The file is one of safetensors or of ``torch.save``: a state dict, or a checkpoint that holds
    one beside other things. Names may have the prefixes of DataParallel, torch.compile or
    Lightning. Pickled code is never run.

    Parameters
    ----------
    module : nn.Module
        Left unchanged unless the file fits.
    path : str or Path
        A ``.safetensors`` file, or one written by ``torch.save``.
    layer : str or None
        The layer that is to be inverted. What lies behind it may be missing, and a head there may
        have another number of classes: it is left as it is, with a warning. None stands for the
        output of the whole module.

    Returns
    -------
    tuple of str
        The names of the module that were left out.

    Raises
    ------
    ModuleError
        If the module is none, or has no weights yet.
    UnknownNameError
        If there is no such layer.
    WeightsError
        If the file is missing, damaged, holds code, or does not fit, in names, shapes or kinds of
        numbers, or if a weight is infinite or not a number.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> torch.save({"state_dict": network.state_dict(), "epoch": 3}, "checkpoint.pt")
    >>> load_weights(network, "checkpoint.pt")
    ()
    """
    if not isinstance(module, nn.Module):
        raise ModuleError(
            type(module).__name__, rule="a network is a torch.nn.Module", remedy="Give a module"
        )
    while (inner := wrapped_module(module)) is not None:
        module = inner
    if layer is not None:
        truncated(module, layer=layer)  # refuses a wrong name
    name = type(module).__name__
    try:
        file = Path(path)
    except TypeError as error:
        raise WeightsError(
            repr(path), rule="this is no path", remedy="Give the path of a file of weights"
        ) from error
    left_out = load_state(module, path=file, name=name, layer=layer, finite=True)
    if left_out:
        warnings.warn(left_out_text(file, left_out), stacklevel=2)
    return left_out


def left_out_text(path: Path, left_out: Iterable[str]) -> str:
    """What is said of weights behind the layer that were left out."""
    names = [*left_out]
    said = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" * (len(names) > _NAMED))
    return (
        f"{path}: it has no weights for {said}, or of another shape, so that these stay as they "
        "were; the layer to be inverted lies before them"
    )


def load_state(
    module: nn.Module, *, path: Path, name: str, layer: str | None = None, finite: bool = False
) -> tuple[str, ...]:
    """As `load_weights`, without its warning.

    Parameters
    ----------
    module, path, layer
        As for `load_weights`.
    name : str
        The network's name, for the message.
    finite : bool
        Whether weights that are infinite or not a number are refused. In claims they are not: what
        they lead to is measured, and called invalid.
    """
    check_weights(module, name=name)
    expected = module.state_dict(keep_vars=True)
    state = _under_names(_read(path), expected)
    _check_tensors(state, path=path)
    # Files older than PyTorch 0.4.1 lack the batch counters, which have no effect in eval mode; nor
    # has the count of an averaged model.
    counters = {key for key in expected if key.endswith("num_batches_tracked") or key == _AVERAGES}
    # safetensors stores tensors of several names once.
    given = {id(expected[key]) for key in set(expected) & set(state)}
    missing = sorted(
        key for key in set(expected) - counters - set(state) if id(expected[key]) not in given
    )
    surplus = sorted(set(state) - set(expected))
    unlike = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    head = bool(unlike) and all(
        state[key].dim() > 0 and state[key].shape[1:] == expected[key].shape[1:] for key in unlike
    )
    if surplus and _takes_older_names(module, state, expected):
        return ()
    if missing or surplus or unlike:
        lacking = [*missing, *unlike]
        fits = not surplus and (head or not unlike)
        if not (layer and fits and _needed(module, layer=layer).isdisjoint(lacking)):
            misfit = [
                f"{key} ({_shape(state[key])} in place of {_shape(expected[key])})"
                for key in unlike
            ]
            raise WeightsError(
                path,
                rule=f"the weights do not fit {name} ({_differences(missing, surplus, misfit)})",
                remedy="Its head has another number of classes: give weights with the same "
                "number, or invert a layer before it"
                if head and not (missing or surplus)
                else f"Give weights of {name}, or the network that these belong to (of the claims: "
                "--network NAME)",
            )
    fitting = {key: value for key, value in state.items() if key not in unlike}
    _check_numbers(fitting, expected, path=path)
    if finite:
        _check_finite(fitting, path=path)
    module.load_state_dict(fitting, strict=False)
    return (*missing, *unlike)


def load_file(
    module: nn.Module, file: WeightsFile, *, name: str, layer: str | None = None
) -> tuple[str, ...]:
    """As `load_state`, from a file that has to be the one that was named.

    Raises
    ------
    WeightsError
        Also where the file has changed since: its digest is part of what is measured.
    """
    left_out = load_state(module, path=file.path, name=name, layer=layer)
    if WeightsFile.of(file.path) != file:
        raise WeightsError(
            file.path,
            rule="the weights file has changed since the run began",
            remedy="Run again, and do not change it meanwhile",
        )
    return left_out


def _read(path: Path) -> Mapping[str, Tensor]:
    """The state dict of a file."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([*_PLAIN]):
            # torch warns about unknown files before it refuses them.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError.unreadable(path, error) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            path,
            rule="the file is not a plain state dict: it is damaged or contains pickled code, "
            "which is never run",
            remedy="Save the weights alone: torch.save(network.state_dict(), FILE) or safetensors",
        ) from error
    except Exception as error:
        # A damaged file makes unpickling fail in any way: UnicodeDecodeError, IndexError, ...
        raise WeightsError(
            path,
            rule="the weights file is corrupt, or another kind of file",
            remedy="Save it again with torch.save(network.state_dict(), FILE) or safetensors",
        ) from error
    return _state_in(content, path=path)


def _state_in(content: Any, *, path: Path) -> Mapping[str, Tensor]:
    """The state dict that a file is, or that the checkpoint in it holds."""
    if _is_state(content):
        return content  # type: ignore[no-any-return]
    held = content if isinstance(content, Mapping) else {}
    for holder in _HOLDERS:
        if isinstance(held.get(holder), Mapping):
            return _state_in(held[holder], path=path)
    only = [value for value in held.values() if _is_state(value) and value]
    if len(only) == 1:
        return only[0]  # type: ignore[no-any-return]
    names = [key for key in held if isinstance(key, str)]
    has = f", but {', '.join(names[:5])}{', ...' * (len(names) > 5)}" if names else ""
    raise WeightsError(
        path,
        rule=f"the file does not hold a state dict of tensors{has}".replace("\n", " "),
        remedy='Save network.state_dict() itself, or a checkpoint with it as "state_dict"',
    )


def _is_state(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )


def _under_names(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """A state dict under the names of a module, where only wrappers around either differ."""
    own = {_unwrapped(key): key for key in expected}
    bare = {_unwrapped(key): value for key, value in state.items()}
    if len(own) < len(expected) or len(bare) < len(state):
        return state
    if _AVERAGES not in own:
        bare.pop(_AVERAGES, None)
    candidates = (
        {
            own.get(key.removeprefix(outer), key.removeprefix(outer)): value
            for key, value in bare.items()
        }
        for outer in _OUTER
        if all(key.startswith(outer) for key in bare)
    )
    return min(candidates, key=lambda found: len(found.keys() ^ expected.keys()))


def _unwrapped(key: str) -> str:
    """A name without what DataParallel, torch.compile and the like have added."""
    parts = [part for part in key.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == "module":
        del parts[0]
    return ".".join(parts)


def _check_tensors(state: Mapping[str, Tensor], *, path: Path) -> None:
    """Refuse tensors that are no plain tables of numbers."""
    for key, value in state.items():
        kinds = {
            "on the meta device": value.is_meta,
            "quantised": value.is_quantized,
            "nested": value.is_nested,
            "sparse": value.layout != torch.strided,
        }
        kind = next((kind for kind, holds in kinds.items() if holds), None)
        if kind is not None:
            raise WeightsError(
                path,
                rule=f"{key} is {kind}, and weights are dense tensors with values",
                remedy="Convert it before it is saved, as by to_dense() or dequantize()",
            )


def _check_numbers(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, path: Path
) -> None:
    """Refuse numbers that a parameter could not hold as they are."""
    for key, value in state.items():
        kind = expected[key].dtype
        if value.dtype == kind:
            continue
        alike = _kind(value.dtype) == _kind(kind)
        if alike:
            held = value.to(kind).to(torch.float64)
            alike = bool(((held == value.to(torch.float64)) | held.isnan()).all())
        if not alike:
            raise WeightsError(
                path,
                rule=f"{key} is {_dtype(value.dtype)}, which {_dtype(kind)} of the network cannot "
                "hold as it is",
                remedy="Convert one to the other first, as by module.double() or tensor.float()",
            )


def _check_finite(state: Mapping[str, Tensor], *, path: Path) -> None:
    for key, value in state.items():
        if not value.isfinite().all():
            raise WeightsError(
                path,
                rule=f"{key} has values that are infinite or not a number",
                remedy="Give weights of a network whose training has not diverged",
            )


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "truth values"
    if dtype.is_complex:
        return "complex numbers"
    return "numbers" if dtype.is_floating_point else "whole numbers"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _takes_older_names(
    module: nn.Module, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> bool:
    """Load a state dict of an earlier version, whose names the module itself translates.

    False, and nothing is changed, where it does not; or where numbers might be cast, since only
    torch knows which name is which.
    """
    kinds = {value.dtype for value in expected.values()}
    if any(value.dtype not in kinds for value in state.values()):
        return False
    before = {key: value.detach().clone() for key, value in expected.items()}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError:
        with torch.no_grad():
            for key, value in before.items():
                expected[key].copy_(value)
        return False
    return True


def _needed(module: nn.Module, *, layer: str) -> set[str]:
    """Names of the parameters and buffers on which a layer's output may depend.

    Where the way to the layer cannot be traced, those of all modules that are registered before
    it.
    """
    expected = module.state_dict(keep_vars=True)
    parts = truncated(module, layer=layer).modules()
    cut = next((part for part in parts if isinstance(part, Cut)), None)
    if cut is None:  # an entry of the whole output
        return {*expected}
    if cut.graph is not None:
        used = {id(each) for each in (*cut.graph.parameters(), *cut.graph.buffers())}
        return {key for key, value in expected.items() if id(value) in used}
    order = {name: number for number, (name, _) in enumerate(module.named_modules())}
    inner = f"{cut.name}."
    last = max(number for own, number in order.items() if f"{own}.".startswith(inner))
    return {key for key in expected if order.get(key.rpartition(".")[0], 0) <= last}


def _differences(missing: list[str], surplus: list[str], misfit: list[str]) -> str:
    kinds = (("missing", missing), ("not in the network", surplus), ("of another shape", misfit))
    return "; ".join(f"{len(keys)} {kind}, first {keys[0]}" for kind, keys in kinds if keys)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"
