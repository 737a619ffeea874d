"""The multiverse around a condition: its inversions with one choice changed at a time.

Only choices that the article leaves open or does not argue for are changed; what a claim contrasts
(the layer, the width, the depth) stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.errors import SettingError
from harness.plan.cells import Cell, Inversion
from harness.plan.decoders import LBFGS, Adam, Blur, Decoder, Descent, Prior, decoder_name
from harness.plan.images import ARTICLE_START, Start
from harness.plan.networks import MLP, ModuleFactory, Network, PrescribedSpectrum, ResNet

REPLICATES = 12
"""Replicates of every cell of a multiverse: the fewest that can decide."""

LOOKS = ((REPLICATES, 1.0),)
"""The one look of a multiverse's cell, which spends all of alpha: 11 of 12 decide."""

LEVELS: Mapping[str, tuple[str, ...]] = {
    "decoder": ("descent", "adam", "l-bfgs"),
    "step": ("1/3", "1", "3"),
    "loss": ("l1", "l2"),
    "blur": ("none", "2.4 to 0.4"),
    "start": ("N(0.7, 0.05)", "N(0.5, 0.2)"),
    "images": ("photographs", "dead-leaves"),
    "network": ("resnet18", "resnet50", "default", "gaussian"),
    "precision": ("float32", "float64"),
}
"""The levels of each factor. "network" is the architecture of a ResNet, and the initialisation
of a stack of fully connected layers; a step is relative to the condition's own."""

_OF_DECODER = ("decoder", "step", "loss", "blur")
_BLUR = Blur()
_WIDE_START = Start(mean=0.5, sd=0.2)
_STARTS = {"N(0.7, 0.05)": ARTICLE_START, "N(0.5, 0.2)": _WIDE_START}
_STEPS = {"1/3": 1 / 3, "3": 3.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variation:
    """One cell of a multiverse.

    Parameters
    ----------
    factors : mapping of str to str
        The level of every factor.
    cells : mapping of str to Cell
        What a replicate consists of, by role.
    """

    factors: Mapping[str, str]
    cells: Mapping[str, Cell]


def around(cells: Mapping[str, Cell]) -> tuple[Variation, ...]:
    """A replicate's cells as stated, then with one choice changed at a time in all inversions.

    Empty where the replicate inverts nothing. Levels that a decoder does not support are left out
    (L-BFGS with a blur).
    """
    first = next((cell for cell in cells.values() if isinstance(cell, Inversion)), None)
    if first is None:
        return ()
    own = levels(first)
    changed = [
        Variation(factors={**own, factor: level}, cells=varied)
        for factor, choices in LEVELS.items()
        for level in choices
        if level != own[factor]
        if (varied := _vary(cells, factor, level)) is not None
    ]
    return (Variation(factors=own, cells=cells), *changed)


def levels(cell: Inversion) -> dict[str, str]:
    """The level of every factor in an inversion."""
    blur = cell.decoder.prior(Blur)
    start = cell.start
    return {
        "decoder": decoder_name(cell.decoder),
        "step": "1",
        "loss": cell.decoder.loss,
        "blur": f"{blur.first:g} to {blur.last:g}" if blur else "none",
        "start": f"N({start.mean:g}, {start.sd:g})",
        "images": cell.images.source,
        "network": _network_name(cell.network),
        "precision": cell.precision,
    }


def _vary(cells: Mapping[str, Cell], factor: str, level: str) -> dict[str, Cell] | None:
    """The cells with one choice changed; None where a cell does not support it or stays the same.

    None, too, where the change would undo a contrast: between roles with different decoders, or
    between an inversion and another measurement of the same images or network.
    """
    inversions = [cell for cell in cells.values() if isinstance(cell, Inversion)]
    if factor in _OF_DECODER and len({cell.decoder for cell in inversions}) > 1:
        return None
    if any(hasattr(cell, factor) for cell in cells.values() if not isinstance(cell, Inversion)):
        return None
    varied: dict[str, Cell] = {}
    for role, cell in cells.items():
        if isinstance(cell, Inversion):
            try:
                changed = _changed(cell, factor, level)
            except SettingError:
                return None
            if changed is None or changed == cell:
                return None
            varied[role] = changed
        else:
            varied[role] = cell
    return varied


def _changed(cell: Inversion, factor: str, level: str) -> Inversion | None:
    match factor:
        case "start":
            return dataclasses.replace(cell, start=_STARTS[level])
        case "images":
            return _with_images(cell, level)
        case "network":
            return _with_network(cell, level)
        case "precision":
            return dataclasses.replace(cell, precision=level)
        case _:
            decoder = _with_decoder(cell.decoder, factor, level)
            return None if decoder is None else dataclasses.replace(cell, decoder=decoder)


def _with_images(cell: Inversion, source: str) -> Inversion | None:
    if cell.images.folder is not None:
        return None  # the user's images are what the run is about
    return dataclasses.replace(cell, images=dataclasses.replace(cell.images, source=source))


def _with_network(cell: Inversion, level: str) -> Inversion | None:
    match cell.network:
        case ResNet(weights=None, training=None) as network if level.startswith("resnet"):
            return dataclasses.replace(cell, network=dataclasses.replace(network, name=level))
        case MLP() as network if not level.startswith("resnet"):
            changed = dataclasses.replace(network, initialisation=level)
            return dataclasses.replace(cell, network=changed)
        case _:
            return None


def _with_decoder(decoder: Decoder, factor: str, level: str) -> Decoder | None:
    match factor, decoder:
        case "decoder", _:
            names = ("loss", "priors", "returns", "tolerance", "tolerance_of")
            kept = {name: getattr(decoder, name) for name in names}
            made: Mapping[str, type[Decoder]] = {"descent": Descent, "adam": Adam, "l-bfgs": LBFGS}
            return made[level](**kept)
        case "step", Descent(step=step):
            return dataclasses.replace(decoder, step=step * _STEPS[level])
        case "step", Adam(rate=rate):
            return dataclasses.replace(decoder, rate=rate * _STEPS[level])
        case "loss", _:
            return dataclasses.replace(decoder, loss=level)
        case "blur", _:
            others: tuple[Prior, ...] = tuple(
                prior for prior in decoder.priors if not isinstance(prior, Blur)
            )
            priors = others if level == "none" else (*others, _BLUR)
            return dataclasses.replace(decoder, priors=priors)
        case _:
            return None


def _network_name(network: Network) -> str:
    match network:
        case ResNet(name=name):
            return name
        case MLP(initialisation=initialisation):
            return initialisation
        case PrescribedSpectrum():
            return "of a given spectrum"
        case ModuleFactory(name=name):
            return name
