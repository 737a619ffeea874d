"""The figures that the engine is meant to reach, as ratios within one run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks.tables import PEERS, QUALITY, SPECTRUM, THROUGHPUT, Facts

Which = Callable[[Facts], bool]
"""Chooses among facts."""

_OTHERS = {"plenoptic": "plenoptic", "article": "the article's descent"}
"""Beginnings of the names of decoders that the engine's own are compared with, for people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure to reach.

    Parameters
    ----------
    what : str
        What is measured, for people.
    bound : float
        The figure.
    max_replicates : bool
        Whether the measured one may be that at most, or has to be that at least.
    measured : callable
        The measured one from what was found: None where it was not measured, infinite where what
        it is compared with never gets there.
    profiled : callable
        Chooses the benchmarks of throughput that show where the time goes.
    device : str
        "cpu" or "cuda": where it is to be reached.
    """

    what: str
    bound: float
    most: bool
    measured: Callable[[Sequence[Facts]], float | None]
    profiled: Which
    device: str = "cpu"

    def reached(self, value: float) -> bool:
        """Whether a measured figure is good enough."""
        return value <= self.bound if self.most else value >= self.bound


def _all(*, group: str, **wanted: object) -> Which:
    """Facts of a group in which some entries are as wanted."""
    return lambda facts: (
        facts["group"] == group and all(facts.get(key) == value for key, value in wanted.items())
    )


def _best(
    found: Iterable[Facts], which: Which, key: str, *, choose: Callable[..., float | None]
) -> float | None:
    return choose((facts[key] for facts in found if which(facts)), default=None)


def _limit(network: str, layer: str, size: int, *, bound: float) -> Goal:
    profiled, beside = (
        _all(
            group=group,
            network=network,
            layer=layer,
            size=size,
            weights="shared",
            dtype="float32",
            device="cpu",
            # What throughput is measured with; beside peers others run as well.
            decoder="article",
        )
        for group in (THROUGHPUT, PEERS)
    )
    return Goal(
        what=f"{network}, {size} pixels, {layer}, at its best batch: times the limit",
        bound=bound,
        most=True,
        measured=lambda found: _best(
            found, lambda facts: profiled(facts) or beside(facts), "times_limit", choose=min
        ),
        profiled=profiled,
    )


def _peer(
    peer: str,
    how: str,
    *,
    bound: float,
    weights: str = "shared",
    device: str = "cpu",
    **place: object,
) -> Goal:
    which = _all(group=PEERS, peer=peer, weights=weights, device=device, **place)
    where = {key: value for key, value in place.items() if key != "peer_batch"}
    alone = {"batch": 1} if weights == "own" else {}
    return Goal(
        what=f"{place['network']}, {place['size']} pixels, {place['layer']}, {how}: times as fast",
        bound=bound,
        most=False,
        measured=lambda found: _best(found, which, "times_peer", choose=max),
        # Alone, as in the comparison, where every image has a network of its own.
        profiled=_all(group=THROUGHPUT, weights=weights, device=device, **where, **alone),
        device=device,
    )


def _quality(layer: str, other: str, *, bound: float) -> Goal:
    place = {"network": "resnet18", "layer": layer, "size": 64}

    def measured(found: Sequence[Facts]) -> float | None:
        runs = [facts for facts in found if _all(group=QUALITY, **place)(facts)]

        def rate(which: Which, key: str) -> float | None:
            return _best(runs, which, f"reconstructions_per_second{key}", choose=max)

        ours = rate(lambda facts: not facts["decoder"].startswith(tuple(_OTHERS)), "")
        theirs = rate(lambda facts: facts["decoder"].startswith(other), "_at_most")
        if not ours or theirs is None:
            return None if theirs is None else ours
        return ours / theirs if theirs else math.inf

    return Goal(
        what=f"resnet18, 64 pixels, {layer}, the best decoder at fixed quality against "
        f"{_OTHERS[other]}: times as many reconstructions a second",
        bound=bound,
        most=False,
        measured=measured,
        profiled=_all(group=THROUGHPUT, weights="shared", **place),
    )


def _spectrum(network: str, layer: str, size: int, *, bound: float) -> Goal:
    which = _all(group=SPECTRUM, network=network, layer=layer, size=size, device="cpu")
    return Goal(
        what=f"{network}, {size} pixels, {layer}, Jacobian and decomposition in float64: seconds",
        bound=bound,
        most=True,
        measured=lambda found: _best(found, which, "seconds", choose=min),
        profiled=lambda _: False,
    )


def _microseconds(what: str, which: Which, *, bound: float) -> Goal:
    def measured(found: Sequence[Facts]) -> float | None:
        rate = _best(found, which, "image_steps_per_second", choose=max)
        return rate and 1e6 / rate

    return Goal(
        what=f"{what}, at its best batch: microseconds an image-step",
        bound=bound,
        most=True,
        measured=measured,
        profiled=which,
        device="cuda",
    )


def _worst_step(what: str, which: Which, batches: Sequence[int], *, bound: float) -> Goal:
    """The longest step on all images together, which is known once each batch is measured."""

    def measured(found: Sequence[Facts]) -> float | None:
        fastest = [
            _best(
                found,
                lambda facts, batch=batch: which(facts) and facts["batch"] == batch,
                "image_steps_per_second",
                choose=max,
            )
            for batch in batches
        ]
        steps = [1e6 * batch / rate for batch, rate in zip(batches, fastest, strict=True) if rate]
        return max(steps) if len(steps) == len(batches) else None

    listed = f"{', '.join(map(str, batches[:-1]))} and {batches[-1]}"
    return Goal(
        what=f"{what}, the slowest of batches {listed}: microseconds a step on all images",
        bound=bound,
        most=True,
        measured=measured,
        profiled=which,
        device="cuda",
    )


def _on_gpu(dtype: str, **place: object) -> Which:
    return _all(group=THROUGHPUT, device="cuda", dtype=dtype, **place)


_LAYER4 = {"network": "resnet18", "layer": "layer4", "size": 64}
_MLP = {"network": "mlp3000x4", "layer": "output", "size": 32}

CPU_GOALS = (
    *(
        _limit("resnet18", layer, 64, bound=bound)
        for layer, bound in (("layer1", 1.6), ("layer2", 1.35), ("layer3", 1.35), ("layer4", 1.25))
    ),
    *(_limit("resnet50", layer, 224, bound=1.4) for layer in ("layer2", "layer3", "layer4")),
    *(
        _peer(
            "plain loop",
            "every image with a network of its own, against the plain loop",
            bound=1.3,
            weights="own",
            **{**_LAYER4, "layer": layer},
        )
        for layer in ("layer1", "layer2", "layer3", "layer4")
    ),
    *(
        _peer(
            "plenoptic",
            "against plenoptic at its best batch",
            bound=1.5,
            **{**_LAYER4, "layer": layer},
        )
        for layer in ("layer1", "layer4")
    ),
    _peer(
        "article's loop",
        "against the article's loop, one image at a time",
        bound=6,
        peer_batch=1,
        **_LAYER4,
    ),
    _peer("article's loop", "against the article's loop", bound=7, weights="own", **_MLP),
    *(
        _quality(layer, other, bound=bound)
        for layer in ("layer3", "layer4")
        for other, bound in (("plenoptic", 3), ("article", 10))
    ),
    _spectrum("resnet18", "layer2", 32, bound=25),
)
"""On two cores."""

GPU_GOALS = (
    *(
        _microseconds(
            f"resnet50, 299 pixels, layer4, {dtype}",
            _on_gpu(dtype, network="resnet50", layer="layer4", size=299),
            bound=1.3 * least,
        )
        for dtype, least in (("float32", 593), ("tf32", 212))
    ),
    _worst_step(
        "mlp3000x4, float32, one network for all images",
        _on_gpu("float32", weights="shared", **_MLP),
        (1, 8, 31),
        bound=1.5 * 67,
    ),
    _peer(
        "eager steps",
        "steps replayed from a CUDA graph against the same steps launched one by one",
        bound=3,
        device="cuda",
        network="resnet50",
        layer="layer4",
        size=299,
    ),
)
"""On an H200."""
