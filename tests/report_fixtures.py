"""A made-up run with everything that a report has to show, judged by the real rules."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.claim import (
    LN_11,
    LOOKS,
    Claim,
    Criterion,
    Estimand,
    Scale,
    conjunction,
    equivalence,
    event,
    exact,
    freeze,
    trend,
)
from harness.plan.seeds import seeding
from harness.statistics.clusters import beyond
from harness.statistics.components import Components, components
from harness.statistics.multiverse import Choice, Multiverse, multiverse
from harness.store import Record, Store
from harness.verdict.evidence import Effect, Part, Replicate
from harness.verdict.results import NOT_SELECTED, ConditionResult, Run
from harness.verdict.verdict import Decision, Verdict, decide

Parameters = Mapping[str, str | int | float]
Draw = Callable[[np.random.Generator], Mapping[str, float]]

ITERATIONS = sorted({0, *(round(10 ** (k / 12)) for k in range(33)), 500})
RATIOS = {"conv1": 0.11, "stem": 0.19, "layer1": 0.33, "layer2": 0.62, "layer4": 0.99}


def png(seed: int, *, blur: float = 0.0, pixels: int = 64) -> str:
    """A made-up photograph, or a copy that lost a share of it, as a PNG in base64."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:pixels, 0:pixels] / pixels
    waves = [np.sin(9 * x * rng.random() + 7 * y * rng.random() + k) for k in range(3)]
    picture = 0.5 + 0.3 * np.stack(waves, axis=-1)
    spot = (x - 0.45) ** 2 + (y - 0.5) ** 2 < 0.06
    picture[spot] = [0.85, 0.55, 0.3]
    noise = rng.normal(0.7, 0.05, picture.shape)
    mixed = (1 - blur) * picture + blur * noise
    buffer = io.BytesIO()
    Image.fromarray((255 * mixed.clip(0, 1)).astype(np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def record(
    name: str, *, ratio: float, m_r: float = 12.0, pictured: bool = True, seed: int = 1
) -> Record:
    """A record of a descent that ends at a ratio of the input distance."""
    falls = [120 * math.exp(-3.2 * math.log10(1 + k)) + 0.4 for k in ITERATIONS]
    inputs = [40 * (ratio + (1 - ratio) * math.exp(-k / 60)) for k in ITERATIONS]
    thumbnails = {
        "target": png(seed),
        "start": png(seed, blur=1.0),
        "noised": png(seed, blur=0.12),
        "reconstruction": png(seed, blur=min(1.0, ratio)),
    }
    return Record(
        id=hashlib.sha256(name.encode()).hexdigest(),
        cell={"layer": name.split("/")[-1], "images": {"pixels": 64}},
        values={"m_g": falls[-1], "m_i": inputs[-1], "m_r": m_r, "m_n": 2.0, "odd": math.nan},
        traces={
            "iteration": tuple(float(k) for k in ITERATIONS),
            "m_g": tuple(falls),
            "m_i": tuple(inputs),
            "gradient_norm": tuple(1 / (1 + k) for k in ITERATIONS),
            "rho": (math.nan,) * len(ITERATIONS),
        },
        outcome="not converged" if ratio > 0.5 else "plateau",
        labels={"image": "astronaut"},
        thumbnails=thumbnails if pictured else {},
        seconds=1.5,
    )


def normal(name: str, mean: float, sd: float) -> Draw:
    """Effects of a replicate: one, normal."""
    return lambda rng: {name: float(rng.normal(mean, sd))}


def condition(
    claim: Claim,
    parameters: Parameters,
    draw: Draw,
    *,
    n: int = 24,
    estimand: str = "main",
    confirmatory: bool = True,
    records: Mapping[str, tuple[str, ...]] | None = None,
    descended: Callable[[int], bool | None] = lambda _: None,
    decision: Decision | None = None,
) -> ConditionResult:
    """A condition decided on made-up replicates."""
    text = repr((claim.id, estimand, sorted(parameters.items())))
    rng = np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))
    replicates = [Replicate(index=k, effects=draw(rng), descended=descended(k)) for k in range(n)]
    options = "-".join(str(value).replace("'", "") for value in parameters.values())
    return ConditionResult(
        claim=claim,
        estimand=estimand,
        parameters=parameters,
        confirmatory=confirmatory,
        decision=decision
        or decide(claim.estimands[estimand], replicates, alpha=claim.alpha, looks=LOOKS),
        records=records or {},
        command=f"pytest 'claims/test_z.py::test_{claim.id.lower()}[{options}]' --profile quick",
    )


def make_claim(
    name: str,
    statement: str,
    estimand: Estimand | Mapping[str, Estimand],
    *,
    section: str = "Trivial autoencoding ability decreases with model depth",
    method: str = "Untrained ResNets cut at a layer; the article's descent, L1 loss, with blur.",
    headline: str | None = None,
    related: str | None = None,
) -> Claim:
    """A claim."""
    return Claim(
        id=name,
        statement=statement,
        section=section,
        method=method,
        estimands={"main": estimand} if isinstance(estimand, Estimand) else estimand,
        headline=headline,
        related_headline=related,
    )


def make_run(conditions: Sequence[ConditionResult], **changes: object) -> Run:
    """A run with these conditions."""
    claims = {item.claim.id: item.claim for item in conditions}
    settings: dict[str, object] = {
        "profile": "quick",
        "device": "cpu",
        "claims_digest": freeze(claims.values()),
        "claims": tuple(claims.values()),
        "conditions": tuple(conditions),
        "provenance": {
            "commit": "3f1c2ab94d0e5b7788aa0011223344556677aabb",
            "dirty": True,
            "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
            "precision": "IEEE float32 (no TF32)",
            "seeds": seeding(),
        },
        "measured": 812,
        "reused": 204,
        "seconds": 391.2,
        "ended": "2025-11-23T06:40:12+00:00",
    }
    return Run(**{**settings, **changes})  # type: ignore[arg-type]


def full_run(store: Store) -> Run:
    """A run of ten claims, its first replicates' records written to the store."""
    found: list[ConditionResult] = []

    def add(claim: Claim, parameters: Parameters, draw: Draw, **options: Any) -> None:
        found.append(condition(claim, parameters, draw, **options))

    def written(*made: Record) -> dict[str, tuple[str, ...]]:
        for item in made:
            store.write(item)
        return {str(item.cell["layer"]): (item.id,) for item in made}

    def criterion(effect: str, label: str, **margin: Any) -> Criterion:
        return Criterion(effect=effect, label=label, **margin)

    log = {"scale": Scale.LOG}
    rise = criterion("rise", "m_i / m_i(0)", above=math.log(1.001), **log)

    below = criterion("r", "m_i / m_i(0)", below=0.25)
    a1 = make_claim(
        "A1",
        "Early layers nearly copy the input",
        event("The distance to the target falls to a quarter of the start's", below),
        headline="autoencoding",
    )
    for network, layer in itertools.product(("resnet18", "resnet50"), ("conv1", "stem", "layer1")):
        add(
            a1,
            {"network": network, "layer": layer},
            normal("r", RATIOS[layer] * (0.8 if network == "resnet18" else 1), 0.03),
            records=written(record(f"{network}/{layer}", ratio=RATIOS[layer])),
        )
    for decoder in ("adam", "l-bfgs"):
        parameters = {"network": "resnet50", "layer": "layer1", "decoder": decoder}
        add(a1, parameters, normal("r", 0.17, 0.05), confirmatory=False, n=12)

    a2 = make_claim(
        "A2",
        "Reconstructions get worse with depth",
        trend(
            "The distance to the target grows from stage to stage",
            criterion("slope", "slope of m_i / m_i(0) a stage", above=0.05),
        ),
        headline="autoencoding",
    )
    stages = [record(f"resnet50/{layer}", ratio=ratio) for layer, ratio in RATIOS.items()]
    for network, slope in (("resnet50", 0.21), ("resnet18", 0.18)):
        add(
            a2,
            {"network": network, "decoder": "adam"},
            normal("slope", slope, 0.04),
            n=12,
            records=written(*stages) if network == "resnet50" else None,
        )

    b3 = make_claim(
        "B3",
        "For an early layer the reconstruction is worse than a slightly noised target, for a late "
        "one better",
        conjunction(
            "m_g lies above m_r at layer1 and below it at layer4",
            criterion("early", "m_g / m_r at layer1", above=LN_11, **log),
            criterion("late", "m_g / m_r at layer4", below=-LN_11, **log),
        ),
        section="Imperfect representations are due to nonunique approximation",
        headline="disconnect",
    )
    for step, late in ((0.1, 0.5), (0.01, -2.65)):
        add(
            b3,
            {"network": "resnet50", "step": step},
            lambda rng, late=late: {"early": rng.normal(0.9, 0.3), "late": rng.normal(late, 0.4)},
            records=written(
                record(f"b3/{step}/layer1", ratio=0.31, seed=2),
                record(f"b3/{step}/layer4", ratio=1.0, seed=2),
            ),
        )

    b8 = make_claim(
        "B8",
        "At the last stage of ResNet-50 the reconstruction commonly moves away from the target "
        "while its output approaches the target's",
        event("m_g falls to half or less and m_i rises", rise, presupposes_descent=True),
        section="Imperfect representations are due to nonunique approximation",
        headline="disconnect",
    )
    add(
        b8,
        {"network": "resnet50", "step": "largest that falls"},
        normal("rise", 0.002, 0.004),
        n=48,
        records=written(record("b8/layer4", ratio=1.03, seed=2)),
    )
    add(
        b8,
        {"network": "resnet50", "step": "nominal"},
        normal("rise", 0.4, 0.1),
        confirmatory=False,
        descended=lambda k: k % 2 == 0,
    )

    c6 = make_claim(
        "C6",
        "A layer narrower than the input has no unique reconstruction",
        {
            "witness": exact(
                "A vector in the null space changes the input and not the output",
                criterion("residual", "|A v| in machine epsilons", below=100.0),
            ),
            "floor": event(
                "The reconstruction stays away from the target",
                criterion("r", "m_i / m_i(0)", above=0.1),
            ),
            "law": equivalence(
                "What is lost agrees with the floor sqrt(1 - b/n)",
                effect="excess",
                label="m_i / m_i(0) less the floor",
                centre=0.0,
                margin=0.05,
            ),
        },
        section="Why depth leads to nonunique trivial representations",
        headline="width",
    )
    for depth in (2, 4):
        shared = written(record(f"c6/{depth}/mlp", ratio=0.46, pictured=False))
        for estimand, draw in (
            ("witness", normal("residual", 2.1, 0.2)),
            ("floor", normal("r", 0.46, 0.02)),
            ("law", normal("excess", 0.004, 0.01)),
        ):
            add(c6, {"depth": depth}, draw, estimand=estimand, records=shared)

    e1 = make_claim(
        "E1",
        "ReLU needs about twice the width of its input",
        equivalence(
            "Units until n of them are active, over n",
            effect="width",
            label="width / n",
            centre=2.0,
            margin=0.05,
        ),
        headline="relu",
    )
    for n in (768, 1536):
        add(e1, {"n": n}, normal("width", 1.999, 0.01))

    e2 = make_claim(
        "E2",
        "And so at every later layer",
        event(
            "At constant width 3n the rank falls below n", criterion("rank", "rank / n", below=1.0)
        ),
        related="relu",
    )
    add(e2, {"depth": 6}, normal("rank", 1.0, 0.0), n=12)

    d1 = make_claim(
        "D1",
        "Square linear stacks invert exactly in float64, not in float32",
        conjunction(
            "Relative error of the inverse",
            criterion("single", "error in float32", above=math.log(1e-2), **log),
            criterion("double", "error in float64", below=math.log(1e-6), **log),
        ),
        headline="precision",
    )
    for n, single in ((64, 3e-3), (1536, 0.4)):
        add(
            d1,
            {"n": n},
            lambda rng, single=single: {
                "single": rng.normal(math.log(single), 0.8),
                "double": rng.normal(math.log(1.2e-11), 0.8),
            },
            confirmatory=n == 1536,
            n=12,
        )

    c13 = make_claim(
        "C13",
        "The condition number grows with depth <b>for most</b> initialisations",
        trend("Growth of log kappa a layer", criterion("growth", "log kappa a layer", above=0.2)),
    )
    for activation, initialisation in itertools.product(
        ("none", "relu", "leaky-relu", "tanh"), ("default", "gaussian", "orthogonal")
    ):
        add(
            c13,
            {"activation": activation, "initialisation": initialisation, "width": 64},
            normal("growth", 0.0 if initialisation == "orthogonal" else 0.9, 0.2),
        )

    x9 = make_claim(
        "X9",
        "Training rearranges what a late layer keeps",
        event("Not measured in this profile", criterion("x", "x", above=0.0)),
    )
    add(
        x9,
        {"network": "resnet50"},
        normal("x", 0, 1),
        decision=Decision(
            verdict=Verdict.NOT_RUN, reason="not part of profile quick", n=0, final=False
        ),
    )
    counted = beyond(below, [0.1, 0.2, 0.3, 0.1], photographs=["cat", "cat", "rocket", "chelsea"])
    found[0] = dataclasses.replace(found[0], beyond=counted)
    return make_run(
        found,
        multiverses={"B8": {"main": many_choices()}},
        components={"disconnect": crossed()},
    )


def many_choices() -> Multiverse:
    """Twelve cells in which the decoder matters most."""
    return multiverse(
        [
            Choice(
                factors={"decoder": decoder, "pixels": pixels, "<b>blur": blur},
                verdict="refuted" if decoder == "adam" else "supported",
                effect=0.1 * pixels / 64 + (-0.3 if decoder == "adam" else 0.2),
            )
            for decoder in ("adam", "descent", "l-bfgs")
            for pixels in (32, 64)
            for blur in ("yes", "no")
        ]
    )


def crossed() -> Components:
    """A block in which the image matters most."""
    rng = np.random.default_rng(3)
    block = rng.normal(0, 1, (1, 8, 1)) + rng.normal(0, 0.2, (4, 8, 3))
    found = components(block, factors=("network", "image", "start"), rng=rng)
    assert found is not None
    return found


PLAIN = Criterion(effect="x", label="x", above=0.25)


def simple(values: Sequence[float], *, name: str = "Z1", **parameters: str) -> ConditionResult:
    """A condition of a claim that x exceeds a quarter, with these values of x."""
    return judged(event("x exceeds a quarter.", PLAIN), values, name=name, **parameters)


def judged(
    estimand: Estimand, values: Sequence[float], *, name: str = "Z", **parameters: str | float
) -> ConditionResult:
    """A condition of a claim on x, with these values of it."""
    given = iter(values)
    claim = make_claim(name, "It is so.", estimand)
    return condition(claim, parameters, lambda _: {"x": next(given)}, n=len(values))


def part(*selected: ConditionResult, others: Sequence[Claim] = (), **changes: Any) -> Run:
    """A run of some conditions; no test of the other claims was collected."""
    claims = {item.claim.id: item.claim for item in selected} | {item.id: item for item in others}
    return make_run(selected, claims=tuple(claims.values()), **changes)


def left_out(item: ConditionResult, reason: str = NOT_SELECTED) -> ConditionResult:
    """A condition that was not run."""
    decision = Decision(verdict=Verdict.NOT_RUN, reason=reason, n=0)
    return dataclasses.replace(item, decision=decision)


def make_store(folder: Path) -> Store:
    """An empty store."""
    return Store(folder / "store")


NASTY = "<script>alert('x')</script> & \"co\" {{ 7 * 7 }}"
"""A text that has to be shown, and neither run nor filled in."""


def effect(
    value: float, low: float | None, high: float | None, *, label: str = "x", scale: str = "linear"
) -> Effect:
    """An effect x."""
    return Effect(
        name="x", label=label, value=value, low=low, high=high, level=0.95, scale=Scale(scale)
    )


def measured_part(criterion: Criterion, effect: Effect | None, *, p: float = 1.0) -> Part:
    """A part of a decision on one replicate."""
    return Part(criterion=criterion, events=0, n=1, p_supported=p, p_refuted=1.0, effect=effect)


def odd_runs() -> Iterator[Any]:
    """Runs at the edge of what a report can be asked to show."""
    nan, inf = math.nan, math.inf
    claim = make_claim("<i>1", NASTY, event(NASTY, PLAIN), section=NASTY, method=NASTY)
    parameters = {NASTY: NASTY}
    for name, found in {
        "no effect": None,
        "nan effect": effect(nan, None, None),
        "unbounded": effect(1.0, None, None),
        "infinite interval": effect(1.0, -inf, inf),
        "no width, at the margin": effect(0.25, 0.25, 0.25),
        "enormous": effect(1e300, -1e300, 1e300),
    }.items():
        decision = Decision(
            verdict=Verdict.INVALID,
            reason=NASTY,
            n=1,
            parts=(measured_part(PLAIN, found),),
            invalid={NASTY: 1},
            values={"x": (nan, inf)},
        )
        item = condition(claim, parameters, normal("x", 0, 1), decision=decision)
        yield pytest.param(make_run([item], device=NASTY), id=name)
    measured = condition(claim, {"a": "b"}, normal("x", 0, 1), records={"run": ("0" * 64,)})
    yield pytest.param(make_run([]), id="no claims")
    yield pytest.param(make_run([left_out(measured)]), id="not run")
    yield pytest.param(make_run([measured]), id="record missing")
    both = conjunction(
        "Both",
        Criterion(effect="x", label=NASTY, above=0.0, scale=Scale.LOG),
        Criterion(effect="y", label="y", below=0.0),
    )
    long = condition(
        make_claim("Z2", "x" * 4000, both, headline="relu"),
        {"b": "y" * 900},
        lambda rng: {"x": 1e6 * rng.normal(), "y": nan},
    )
    provenance = {"commit": None, "odd": {"path": Path("/x"), "nan": nan, "set": {1}}}
    yield pytest.param(
        make_run(
            [long],
            provenance=provenance,
            seconds=nan,
            custom={"images": NASTY},
        ),
        id="long names",
    )
