"""Networks of one's own: a function is imported from its file and called for each replicate."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import operator
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from harness.encoders.cutting import truncated
from harness.encoders.first_use import first_line
from harness.encoders.fit import check_weights
from harness.encoders.network import NetworkEncoder
from harness.errors import ModuleError, UnknownNameError
from harness.plan.networks import ModuleFactory
from harness.plan.sources import Source, check_call
from harness.subjects.generators import every_global_state, seed_globally
from harness.subjects.last import LAST_ENCODER
from harness.subjects.weights import load_file

_MADE: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""What was made and is still there."""


class FactoryEncoder(NetworkEncoder):
    """A network of one's own as an encoder.

    Parameters
    ----------
    module : nn.Module
        The network up to its layer.
    left_out : tuple of str
        What its weights file left as it was drawn: a head behind the layer.
    """

    def __init__(self, module: nn.Module, *, left_out: tuple[str, ...]) -> None:
        super().__init__(module, owned=True)
        self.left_out = left_out


def factory_encoder(
    network: ModuleFactory, *, seed: int, dtype: torch.dtype, device: torch.device
) -> FactoryEncoder:
    """Encoder of a network of one's own up to its layer, cached: do not change it.

    Raises
    ------
    DepthClaimsError
        As `build_module`; where there is no such layer; as `NetworkEncoder`.
    """

    def build() -> FactoryEncoder:
        made, left_out = build_module(network, seed=seed)
        part = made if network.layer is None else truncated(made, layer=network.layer)
        # A cut makes containers anew, in train mode.
        return FactoryEncoder(part.to(device, dtype).eval(), left_out=left_out)

    found = LAST_ENCODER.get((network, seed, dtype, device), build)
    assert isinstance(found, FactoryEncoder)  # by its key
    return found


def build_module(network: ModuleFactory, *, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
    """What the function returns, whole, in eval mode, its parameters without gradients.

    Its second part are the names that a weights file left out, as by `harness.load_weights`.

    Parameters
    ----------
    network : ModuleFactory
        Its layer matters for a head that its weights lack.
    seed : int
        Of torch's, numpy's and Python's global generators while it is called; they are restored.

    Raises
    ------
    ModuleError
        Where the file has changed or cannot be run, where the function fails, or where it returns
        anything but a new module.
    UnknownNameError
        Where there is no such function.
    SettingError
        Where it takes other arguments.
    WeightsError
        Where the weights file cannot be used.
    """
    name = network.text
    arguments = json.loads(network.arguments)
    with every_global_state(), _beside(network.source):
        factory = _attribute(_imported(network.source), network.name, name=name)
        with contextlib.suppress(ValueError):  # some functions do not show their signature
            check_call(inspect.signature(factory), arguments, name=name)
        # Now, since importing the file may have drawn or seeded as well.
        seed_globally(seed)
        made = _called(factory, arguments, name=name)
    if not isinstance(made, nn.Module):
        raise ModuleError(
            name,
            rule=f"it returns a {type(made).__name__}, and a network is a torch.nn.Module",
            remedy="Return the module",
        )
    if made in _MADE:
        raise ModuleError(
            name,
            rule="it returns the same module again",
            remedy="Make a new one at each call: each replicate draws its own weights",
        )
    _MADE.add(made)
    check_weights(made, name=name)
    left_out: tuple[str, ...] = ()
    if network.weights is not None:
        left_out = load_file(made, network.weights, name=name, layer=network.layer)
    return made.eval().requires_grad_(False), left_out


def _imported(source: Source) -> types.ModuleType:
    """The module of a file, run anew; that of a package as Python keeps it."""
    if Source.of(source.path, module=source.module) != source:
        raise ModuleError(
            source.path,
            rule="the file, or one that it imports, has changed since the run began, or is another "
            "one on this machine",
            remedy="Run again, and do not change it meanwhile",
        )
    try:
        if source.module is not None:
            return importlib.import_module(source.module)
        # Its name says what it is, so that it is never mistaken for another one.
        name = f"depth_claims_{source.sha256}"
        spec = importlib.util.spec_from_file_location(name, source.path)
        assert spec is not None  # of a file that was read
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        # Compiled here, from what the file holds now.
        code = compile(source.path.read_bytes(), source.path, "exec")
        exec(code, loaded.__dict__)
    except (Exception, SystemExit) as error:
        raise ModuleError(
            source.path,
            rule=f"the file cannot be run ({type(error).__name__}: {first_line(error)})",
            remedy="Mend it, so that it can be imported",
        ) from error
    return loaded


@contextlib.contextmanager
def _beside(source: Source) -> Iterator[None]:
    """Let a file import what lies beside it, whatever has been imported under the same names."""
    if source.module is not None:
        with _first_on_path(source):
            yield
        return
    names, writes = source.beside, sys.dont_write_bytecode
    # What Python keeps of a file is told from it by the second.
    sys.dont_write_bytecode = True
    aside = {key: sys.modules.pop(key) for key in [*sys.modules] if _top(key) in names}
    try:
        with _first_on_path(source):
            yield
    finally:
        sys.dont_write_bytecode = writes
        for key in [key for key in sys.modules if _top(key) in names]:
            del sys.modules[key]
        sys.modules.update(aside)


@contextlib.contextmanager
def _first_on_path(source: Source) -> Iterator[None]:
    folder = str(source.root)
    importlib.invalidate_caches()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file may have changed the path, too
            sys.path.remove(folder)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _attribute(loaded: types.ModuleType, attribute: str, *, name: str) -> Callable[..., Any]:
    try:
        found = operator.attrgetter(attribute)(loaded)
    except AttributeError as error:
        names = [each for each in vars(loaded) if not each.startswith("_")]
        raise UnknownNameError.nearest(attribute, names, what=f"name behind {name}") from error
    if not callable(found) or isinstance(found, nn.Module):
        raise ModuleError(
            name,
            rule=f"it is a {type(found).__name__}, and no function that makes one anew",
            remedy="Name a function, or a class, that makes the network",
        )
    return found  # type: ignore[no-any-return]


def _called(factory: Callable[..., Any], arguments: dict[str, Any], *, name: str) -> Any:
    try:
        return factory(**arguments)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise ModuleError(
            name,
            rule=f"it raises {type(error).__name__}: {first_line(error)}",
            remedy="Mend the function; it is called with the arguments that the claim gives",
        ) from error
