"""What a run looks like as text.

Every output as a whole is in a file of `tests/golden`. To write these files again, after a change
that is meant: `UPDATE_GOLDEN=1 pytest tests/test_texts.py`, and look at the difference.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path

import pytest
from report_fixtures import (
    condition,
    effect,
    full_run,
    left_out,
    make_claim,
    make_run,
    make_store,
    normal,
)

from harness.claim import Criterion, Kind, event, exact, untestable
from harness.inversion.outcome import Outcome
from harness.verdict.evidence import Replicate
from harness.verdict.results import Run
from harness.verdict.verdict import Decision, Stop, Verdict, decide
from reports import words
from reports.comparison.compare import compare
from reports.comparison.history import history
from reports.documents.citation import citation
from reports.page.provenance import facts
from reports.summary import setting_text, summarise
from reports.text import console
from reports.text.badge import badge
from reports.text.markdown import MARKDOWN_LIMIT, to_markdown

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Criterion(effect="x", label="x", above=0.25)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = full_run(make_store(tmp_path_factory.mktemp("texts")))
    return dataclasses.replace(run, claims_digest="0123456789abcdef" * 4)


@pytest.fixture(scope="module")
def partial() -> Run:
    """A run of a few claims on the user's own subjects; one has a counterexample."""
    exactly = exact("The residual is 0.", Criterion(effect="residual", label="residual", below=0.5))
    replicates = [Replicate(index=0, effects={"residual": 3.0}, shown="x = (0, 1)")]
    refuted = condition(
        make_claim("C1", "It always holds.", exactly),
        {},
        normal("residual", 0, 1),
        decision=decide(exactly, replicates),
    )
    aside = condition(
        make_claim("B8", "It rises | falls.", event("x", PLAIN), headline="disconnect"),
        {},
        normal("x", 1, 0.1),
    )
    reason = "every outcome would agree"
    taste = condition(
        make_claim("H3", "It explains shapes.", untestable(reason)),
        {},
        normal("x", 0, 1),
        decision=Decision(verdict=Verdict.NOT_TESTABLE, reason=reason, n=0),
    )
    found = [refuted, left_out(aside), taste]
    return make_run(
        found, claims_digest="fedcba" * 11, custom={"images": "/a_b (12)", "network": "resnet34"}
    )


@pytest.fixture(scope="module")
def sequence(run: Run) -> list[Run]:
    """Three runs: the second repeats the first, the third differs in several ways."""
    first, *others = run.conditions
    refuted = condition(first.claim, first.parameters, normal("r", 0.9, 0.1))
    changed = [
        dataclasses.replace(item, claim=dataclasses.replace(item.claim, alpha=0.005))
        if item.claim.id == "A2"
        else item
        for item in others
    ]
    third = dataclasses.replace(
        run,
        conditions=(refuted, *map(left_out, changed[:3]), *changed[3:-2]),
        ended="2025-11-25T06:40:12+00:00",
    )
    return [run, dataclasses.replace(run, ended="2025-11-24T06:40:12+00:00"), third]


@pytest.mark.parametrize(
    "name", ["console", "summary", "badge", "citation", "comparison", "history", "provenance"]
)
def test_outputs_as_a_whole(name: str, run: Run, partial: Run, sequence: list[Run]) -> None:
    shown = [summarise(each).selected() for each in (run, partial)]
    texts = {
        "console": lambda: [
            *(console.final_table(each, width=100, color=False) for each in (run, partial)),
            console.final_line(partial, color=False),
        ],
        "summary": lambda: map(to_markdown, shown),
        "badge": lambda: map(badge, shown),
        "citation": lambda: map(citation, shown),
        "comparison": lambda: [console.comparison(compare(sequence[0], sequence[2]))],
        "provenance": lambda: ["\n".join(f"{name}: {value}" for name, value in facts(run))],
        "history": lambda: [console.history(history(sequence))],
    }
    text = f"\n{'=' * 100}\n".join(texts[name]()).strip() + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("width", [72, 80, 110, 160])
def test_the_console_has_every_claim_and_fits(run: Run, width: int) -> None:
    table = console.final_table(run, width=width, color=False)
    lines = table.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= console.LINES
    for item in summarise(run).claims:
        assert re.search(rf"^{item.claim.id} +[^·]*{item.verdict.value}", table, re.MULTILINE)
    assert ESCAPES.sub("", console.final_table(run, width=width, color=True)) == table


def test_markdown_fits_a_summary() -> None:
    claim = make_claim("Z", "long | " * 300, event("z", PLAIN))
    many = [
        left_out(condition(dataclasses.replace(claim, id=f"Z{k}"), {}, normal("x", 0, 1)))
        for k in range(500)
    ]
    text = to_markdown(summarise(make_run(many)))
    assert len(text.encode()) <= MARKDOWN_LIMIT
    row = next(line for line in text.splitlines() if line.startswith("| Z0"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 7


def test_another_precision_is_another_setting() -> None:
    run = make_run([])
    assert setting_text(run) == "quick on cpu"
    double = {**run.provenance, "precision": "IEEE float64"}
    assert setting_text(dataclasses.replace(run, provenance=double)) == "quick on cpu, IEEE float64"


# --- words ------------------------------------------------------------------------------------


def test_everything_has_its_words() -> None:
    assert set(words.KIND_WORDS) == set(Kind)
    assert set(words.STOP_WORDS) == set(Stop)
    assert set(words.OUTCOME_MEANINGS) == {outcome.value for outcome in Outcome}
    assert set(words.VERDICT_MARKS) == set(words.VERDICT_MEANINGS) == set(Verdict)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (0.0996, "0.0996"),
        (0.9996, "1.00"),
        (12.345, "12.3"),
        (12345.6, "12,300"),
        (999_999.0, "1e6"),
        (1.23e-11, "1.23e-11"),
        (-0.05, "-0.0500"),
        (math.nan, "not finite"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("ends", "label", "scale", "text"),
    [
        ((1 / 18.1, 1 / 14.2, 1 / 11), "m_g / m_r", "log", "0.0704× [0.0552, 0.0909]"),
        ((1.0004, 1.0027, 1.004), "m_g / m_r", "log", "1.0027× [1.00040, 1.0040]"),
        ((None, 2.01, None), "a / b", "log", "2.01× [0, ∞]"),
        ((None, 2.01, None), "error", "log", "2.01 [0, ∞]"),
        ((None, 0.7, None), "a / b", "linear", "0.700 [-∞, ∞]"),
    ],
)
def test_effects(ends: tuple[float | None, ...], label: str, scale: str, text: str) -> None:
    low, value, high = (math.log(end) if end and scale == "log" else end for end in ends)
    assert value is not None
    assert words.effect_text(effect(value, low, high, label=label, scale=scale)) == text


@pytest.mark.parametrize(
    ("label", "ends", "text"),
    [
        ("m_g / m_r at Conv5", (-2.895, -2.653, -2.398),
         "Conv5: m_g is 1/14.2 of m_r [1/18.1, 1/11.0]"),
        ("m_g / m_r", (0.70, 0.80, 0.90), "m_g is 2.23 times m_r [2.01, 2.46]"),
        ("m_g / m_r", (-0.2, 0.1, 0.3), "m_g is 1.11 times m_r [0.819, 1.35]"),
        ("m_i(T) / m_i(0) (at most 1 where m_g did not halve)", (-0.2, -0.15, -0.1),
         "m_i(T) is 0.861 times m_i(0) [0.819, 0.905] (at most 1 where m_g did not halve)"),
        ("m_g / |O(a)|, untrained over trained", (0.9, 1.01, 1.1),
         "m_g / |O(a)|, untrained over trained is 2.75× [2.46, 3.00]"),
        ("m_g / m_r, trained on noise", (0.70, 0.80, 0.90),
         "m_g is 2.23 times m_r [2.01, 2.46], trained on noise"),
        ("the smaller of m_r / m_g and m_i(T) / m_i(0)", (-0.2, 0.15, 0.2),
         "the smaller of m_r / m_g and m_i(T) / m_i(0) is 1.16× [0.819, 1.22]"),
        ("m_g / m_r", (None, -0.8, -0.7), "m_g is 1/2.23 of m_r [0, 1/2.01]"),
    ],
)  # fmt: skip
def test_an_effect_is_a_sentence(label: str, ends: tuple[float, ...], text: str) -> None:
    low, value, high = ends
    assert words.finding(effect(value, low, high, label=label, scale="log")) == text


@pytest.mark.parametrize(
    ("value", "scale", "label", "text"),
    [
        (math.log(1 / 14.2), "log", "m_g / m_r", "1/14.2"),
        (math.log(0.6), "log", "m_g / m_r", ""),
        (math.log(1 / 14.2), "log", "error", ""),
        (4.5036e15, "linear", "change, in machine epsilons", "1.00 of its scale, beyond rounding"),
        (0.891, "linear", "change, in machine epsilons", "rounding alone"),
        (0.0, "linear", "change, in machine epsilons", ""),
    ],
)
def test_what_is_hard_to_read_is_paraphrased(
    value: float, scale: str, label: str, text: str
) -> None:
    found = effect(value, value, value, label=label, scale=scale)
    assert words.paraphrase(found) == text
    if scale == "linear":
        assert words.finding(found) == f"change is {text or '0'}"


def test_parameters() -> None:
    parameters = {"network": "resnet50", "activation": "none", "late_step": 0.05}
    assert words.parameters_text(parameters) == "resnet50 · no activation · late step 0.05"


@pytest.mark.parametrize(
    ("text", "typeset"),
    [
        ("-1.2e-11 [-2, 3e5]", "−1.2·10⁻¹¹ [−2, 3·10⁵]"),
        ("one two-three", "one two-three"),
        ("R^2 of a line", "R² of a line"),
    ],
)
def test_typeset(text: str, typeset: str) -> None:
    assert words.typeset(text) == typeset
