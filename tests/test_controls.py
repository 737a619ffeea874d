"""Controls with the real harness: networks whose answer is known, measured, stored and judged."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from small_cells import scheduler_of

from harness.claim import LN_11, Claim, Criterion, Estimand, Scale, equivalence, event, exact
from harness.lab.condition import Condition
from harness.lab.runner import Runner
from harness.plan.cells import BATCH, Cell, Inversion, LocalRank
from harness.plan.decoders import LBFGS, Adam, Decoder, Descent
from harness.plan.images import Images
from harness.plan.networks import MLP, ResNet, WeightsFile
from harness.plan.seeds import ReplicateSeeds, Source, Stream
from harness.store import Record, Store
from harness.subjects.resnet import build_resnet
from harness.verdict.evidence import NO_DESCENT, Refutation
from harness.verdict.verdict import Decision, Stop, Verdict

pytestmark = pytest.mark.slow

IMAGES = Images(pixels=4, source="dead-leaves")
N = IMAGES.elements


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherStart(ReplicateSeeds):
    """The same replicate from another start: weights, image and noise are what they were."""

    def seed(self, source: Source, number: int = 0) -> int:
        stream = Stream.CONFIRMATORY if source is Source.START else self.stream
        return ReplicateSeeds(replicate=self.replicate, stream=stream).seed(source, number)


def reconstruction_of(
    seeds: ReplicateSeeds,
    network: MLP,
    *,
    decoder: Decoder | None = None,
    iterations: int = 150,
) -> Inversion:
    return Inversion(
        seeds=seeds,
        network=network,
        images=IMAGES,
        decoder=decoder or LBFGS(),
        iterations=iterations,
        precision="float64",
        batch=BATCH,
    )


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., Decision]:
    """Measures a control on replicates of their own stream, and decides it look by look."""

    def judge(
        estimand: Estimand,
        cells: Callable[[ReplicateSeeds], Mapping[str, Cell]],
        effects: Callable[[Mapping[str, Record]], Mapping[str, float]],
    ) -> Decision:
        claim = Claim(
            id="Z1", statement="A control.", section="", method="", estimands={"it": estimand}
        )
        condition = Condition(
            claim=claim,
            estimand="it",
            parameters={},
            cells=lambda seeds: cells(dataclasses.replace(seeds, stream=Stream.CONTROL)),
            effects=effects,
            gallery={},
            tables=lambda _: (),
            confirmatory=True,
            max_replicates=48,
        )
        scheduler = scheduler_of(tmp_path)
        try:
            runner = Runner(store=Store(tmp_path), scheduler=scheduler, device="cpu")
            return runner.run(condition, label="control", command="").decision
        finally:
            scheduler.close()

    return judge


# --- A/A ------------------------------------------------------------------------------------


def two_starts(seeds: ReplicateSeeds) -> dict[str, Inversion]:
    """A narrow network, whose reconstructions keep something of where they started."""
    network = MLP(inputs=N, widths=(N, N // 2), activation="relu")
    one = reconstruction_of(seeds, network, decoder=Adam(rate=0.05), iterations=60)
    other = OtherStart(replicate=seeds.replicate, stream=seeds.stream)
    return {"one": one, "other": dataclasses.replace(one, seeds=other)}


def contrast(seen: Mapping[str, Record]) -> dict[str, float]:
    one, other = (seen[role].values["r"] for role in ("one", "other"))
    assert one != other  # two starts indeed
    return {"x": math.log(one / other)}


@pytest.mark.parametrize("sign", [1, -1])
def test_two_streams_of_starts_differ_by_no_margin(
    judged: Callable[..., Decision], sign: int
) -> None:
    claimed = Criterion(
        effect="x",
        label="r / r",
        above=LN_11 if sign > 0 else None,
        below=None if sign > 0 else -LN_11,
        scale=Scale.LOG,
    )
    found = judged(event("They differ.", claimed), two_starts, contrast)
    assert (found.verdict, found.refutation) == (Verdict.REFUTED, Refutation.NULL)


def test_two_streams_of_starts_show_no_direction(judged: Callable[..., Decision]) -> None:
    higher = Criterion(effect="x", label="r / r", above=0.0, scale=Scale.LOG)
    found = judged(event("One is higher.", higher), two_starts, contrast)
    assert (found.verdict, found.stop, found.n) == (Verdict.INCONCLUSIVE, Stop.EXHAUSTED, 48)
    assert found.parts[0].effect is not None
    assert found.parts[0].effect.low is not None
    assert found.parts[0].effect.high is not None
    assert found.parts[0].effect.low < 0 < found.parts[0].effect.high


# --- known answers --------------------------------------------------------------------------


def test_an_orthogonal_network_is_found_invertible(judged: Callable[..., Decision]) -> None:
    network = MLP(inputs=N, widths=(N, N), initialisation="orthogonal")
    exact_reconstruction = event("It is recovered.", Criterion(effect="r", label="r", below=1e-6))
    found = judged(
        exact_reconstruction,
        lambda seeds: {"reconstruction": reconstruction_of(seeds, network)},
        lambda seen: {"r": seen["reconstruction"].values["r"]},
    )
    assert (found.verdict, found.n) == (Verdict.SUPPORTED, 12)  # unanimous: the first look
    full = exact("Its rank is full.", Criterion(effect="rank", label="rank / n", above=1 - 1e-9))
    rank = judged(
        full,
        lambda seeds: {"rank": LocalRank(seeds=seeds, network=network, images=IMAGES)},
        lambda seen: {"rank": seen["rank"].values["rank_share"]},
    )
    assert rank.verdict is Verdict.SUPPORTED


KEPT = 30
"""Outputs of the network with a planted null space: N - KEPT directions are lost."""


def test_a_planted_null_space_is_found_lossy(judged: Callable[..., Decision]) -> None:
    """Rows that are orthonormal: what is left is what the null space holds of the way."""
    network = MLP(inputs=N, widths=(KEPT,), initialisation="orthogonal")
    lossy = event("A tenth is left.", Criterion(effect="r", label="r", above=0.1))
    found = judged(
        lossy,
        lambda seeds: {"reconstruction": reconstruction_of(seeds, network)},
        lambda seen: {"r": seen["reconstruction"].values["r"]},
    )
    assert (found.verdict, found.n) == (Verdict.SUPPORTED, 12)
    floor = equivalence(
        "What is left is the floor.", effect="excess", label="r - floor", centre=0.0, margin=1e-6
    )
    witness = exact(
        "A second input has the same output.",
        Criterion(effect="residual", label="difference in epsilons", below=100.0),
    )

    def cells(seeds: ReplicateSeeds) -> dict[str, Cell]:
        return {
            "reconstruction": reconstruction_of(seeds, network),
            "rank": LocalRank(seeds=seeds, network=network, images=IMAGES),
        }

    at_the_floor = judged(
        floor,
        cells,
        lambda seen: {"excess": seen["reconstruction"].values["r"] - seen["rank"].values["floor"]},
    )
    assert (at_the_floor.verdict, at_the_floor.n) == (Verdict.SUPPORTED, 12)
    found = judged(
        witness, cells, lambda seen: {"residual": seen["rank"].values["witness_residual"]}
    )
    assert found.verdict is Verdict.SUPPORTED


# --- a descent that does not descend --------------------------------------------------------


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, Verdict.REFUTED), (1e3, Verdict.INVALID)])
def test_a_batchnorm_blown_up_makes_a_claim_about_descents_invalid(
    tmp_path: Path, judged: Callable[..., Decision], scale: float, verdict: Verdict
) -> None:
    """The step is far too large for such gradients: m_g does not halve, so nothing is judged."""
    network = ResNet(name="resnet18", layer="layer1")
    state = build_resnet(network, seed=1).state_dict()
    for name, tensor in state.items():
        if name.startswith("bn1.") and name.endswith("weight"):
            tensor.mul_(scale)
    file = tmp_path / "weights.pt"
    torch.save(state, file)
    weights = WeightsFile(sha256=hashlib.sha256(file.read_bytes()).hexdigest(), path=file)
    blown_up = dataclasses.replace(network, weights=weights)

    def cells(seeds: ReplicateSeeds) -> dict[str, Cell]:
        return {
            "reconstruction": Inversion(
                seeds=seeds,
                network=blown_up,
                images=Images(pixels=16, source="dead-leaves"),
                decoder=Descent(step=0.1, factor=0.15),  # as the article
                iterations=60,
            )
        }

    rise = Criterion(effect="rise", label="m_i / m_i(0)", above=0.0, scale=Scale.LOG)
    found = judged(
        event("m_i rises while m_g falls.", rise, presupposes_descent=True),
        cells,
        lambda seen: {"rise": math.log(seen["reconstruction"].values["r"])},
    )
    assert found.verdict is verdict, found.reason
    if verdict is Verdict.INVALID:
        assert found.stop is Stop.INVALID
        assert set(found.invalid) <= {NO_DESCENT, "a value became infinite or not a number"}
        assert NO_DESCENT in found.invalid
