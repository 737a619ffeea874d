"""The report: what is written holds what was found, whatever was found."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import pytest
from report_fixtures import (
    PLAIN,
    condition,
    effect,
    full_run,
    make_claim,
    make_run,
    make_store,
    measured_part,
    normal,
    odd_runs,
    record,
    simple,
)

from harness.claim import Criterion, Scale, conjunction, event, exact
from harness.errors import OptionError
from harness.store import Record, Store
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Decision, Verdict
from reports.documents.build import schema
from reports.figures.intervals import axis, bars_against_margin
from reports.figures.traces import trace_chart
from reports.page.template import slug, terms
from reports.summary import deciding_part, summarise
from reports.text.console import final_table
from reports.write import write_report


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    return full_run(store)


@pytest.fixture(scope="module")
def folder(run: Run, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run, store, tmp_path_factory.mktemp("out") / "deep" / "er").parent


@pytest.mark.parametrize("odd", tuple(odd_runs()))
def test_whatever_was_found_is_written(odd: Run, tmp_path: Path) -> None:
    path = write_report(odd, make_store(tmp_path), tmp_path / "out")
    page = path.read_text("utf-8")
    content = json.loads((path.parent / "claims.json").read_text("utf-8"))
    jsonschema.validate(content, schema())
    assert "<script>alert" not in page + (path.parent / "summary.md").read_text("utf-8")
    assert "nan" not in final_table(odd, width=90, color=False).lower()
    for item in odd.conditions:
        assert html.escape(item.claim.statement, quote=False)[:40] in page.replace("&#39;", "'")


def page_of(folder: Path, *conditions: ConditionResult, records: Sequence[Record] = ()) -> str:
    store = make_store(folder)
    for made in records:
        store.write(made)
    return write_report(make_run(conditions), store, folder / "out").read_text("utf-8")


def test_the_articles_words_are_shown(tmp_path: Path) -> None:
    claim = make_claim("Q1", "It does.", event("e", PLAIN))
    claim = dataclasses.replace(claim, source=r"a <b> of $\nabla_a O(a, \theta)$")
    page = page_of(tmp_path, condition(claim, {}, normal("x", 1, 0.1)))
    assert "<q>a &lt;b&gt; of ∇_a O(a, θ)</q>" in page


def test_the_deciding_part_is_the_weakest_and_the_first_of_equals() -> None:
    parts = tuple(
        measured_part(Criterion(effect=name, label=name, above=0.0), None, p=p)
        for name, p in (("a", 0.1), ("b", 0.7), ("c", 0.7))
    )
    decision = Decision(verdict=Verdict.INCONCLUSIVE, reason="", n=1, parts=parts)
    assert deciding_part(dataclasses.replace(simple([0.9]), decision=decision)) is parts[1]


def test_symbols_and_anchors() -> None:
    assert terms("m_g / m_i(0)") == [("", "m", "g"), (" / ", "m", "i"), ("(0)", "", "")]
    assert slug("C6") == "C6"
    assert slug("<b> x") == "b-x"


def test_bars_point_to_what_is_claimed() -> None:
    below = Criterion(effect="x", label="x", below=0.25)
    inside = measured_part(below, effect(0.1, 0.05, 0.2))
    (supported,) = bars_against_margin([(inside, Verdict.SUPPORTED, "a")])
    assert supported.low is not None
    assert supported.high is not None
    assert 50 < supported.low < supported.point < supported.high <= 100
    (refuted,) = bars_against_margin(
        [(measured_part(below, effect(0.3, 0.28, None)), Verdict.REFUTED, "a")]
    )
    assert refuted.high is not None
    assert refuted.point < refuted.high < 50
    assert refuted.low is None
    on = axis([inside])
    assert on is not None
    assert on.place(0.05) < on.place(0.1) < on.place(0.25)


@pytest.mark.parametrize("end", [1e300, 40.0, 3.0])
def test_a_ratio_has_a_few_ticks(end: float) -> None:
    criterion = Criterion(effect="x", label="a / b", above=0.0, scale=Scale.LOG)
    on = axis([measured_part(criterion, effect(1.0, -end, end, scale=Scale.LOG))])
    assert on is not None
    places = [place for place, _ in on.across()]
    assert 2 <= len(places) <= 6
    assert places == sorted(set(places))


def test_the_page_needs_nothing_else(folder: Path) -> None:
    page = (folder / "claims.html").read_text("utf-8")
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href|url\()\s*=?\s*["']?(https?:)?//""", markup)
    assert "default-src 'none'" in page
    assert len(page.encode()) < 2 * 2**20


def test_the_page_has_every_claim_with_its_figures(folder: Path, run: Run) -> None:
    page = (folder / "claims.html").read_text("utf-8")
    for item in summarise(run).claims:
        assert f'id="{item.claim.id}"' in page
        assert f'href="#{item.claim.id}"' in page
    assert page.count('<svg class="drawing forest"') == 9  # all but the one that was not run
    assert page.count('<svg class="drawing track"') >= len(run.conditions) - 1
    assert "<dt>Commit</dt>" in page
    assert "with uncommitted changes" in page


def test_the_weakest_condition_is_named_in_table_and_plot(tmp_path: Path) -> None:
    claim = make_claim("Z", "z", {"null space": event("z", PLAIN), "rest": event("z", PLAIN)})
    page = page_of(
        tmp_path,
        condition(claim, {}, normal("x", 1, 0.1), estimand="null space"),
        condition(claim, {}, normal("x", -1, 0.1), estimand="rest"),
    )
    assert "weakest of 2: rest<" in page
    assert page.count('<span class="soft where">rest</span>') == 1
    bars = re.findall(r'class="bar [^>]*><title>([^<]*): ', page)
    assert bars[:2] == ["null space", "weakest · rest"]
    assert "Supported: null space; refuted: rest." in page


@pytest.mark.parametrize("side", ["above", "below"])
def test_of_equal_conditions_the_one_least_beyond_its_margin_represents_the_claim(
    side: str,
) -> None:
    sign = 1 if side == "above" else -1
    claim = make_claim("Z", "z", event("z", Criterion(effect="x", label="x", **{side: 0.0})))
    far, near, between = (
        condition(claim, {"layer": mean}, normal("x", sign * mean, 0.1)) for mean in (9, 1, 3)
    )
    assert {item.decision.verdict for item in (far, near, between)} == {Verdict.SUPPORTED}
    (item,) = summarise(make_run([far, near, between])).claims
    assert item.weakest is near


def test_a_counterexample_is_shown_with_the_effect(tmp_path: Path) -> None:
    found = "kernel [0, 1] on pixels [0, 1] yields 1, on [1, 0] 0"
    made = dataclasses.replace(record("z", ratio=0.5), labels={"counterexample": found})
    claim = make_claim("Z", "z", exact("z", PLAIN))
    item = condition(claim, {}, normal("x", -1, 0.1), records={"search": (made.id,) * 24})
    assert f'<div class="stack soft">Counterexample: {found}</div>' in page_of(
        tmp_path, item, records=[made]
    )


def test_an_image_has_the_verdict_on_its_condition_and_what_it_rests_on(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    judged = dataclasses.replace(record("judged", ratio=0.5), cell={"images": {"pixels": 32}})
    shown = record("shown", ratio=0.9)
    beside = record("beside", ratio=0.8, seed=2)
    for made in (judged, shown, beside):
        store.write(made)
    claim = make_claim("Z", "z", event("z", PLAIN))
    ids = {"reconstruction": (judged.id,)}
    decides = condition(claim, {"decoder": "article"}, normal("x", -1, 0.1), records=ids)
    other = condition(
        claim, {"decoder": "adam"}, normal("x", 1, 0.1), records=ids, confirmatory=False
    )
    run = make_run(
        [
            dataclasses.replace(decides, gallery={"reconstruction": shown.id}),
            dataclasses.replace(other, gallery={"reconstruction": beside.id}),
        ]
    )
    page = write_report(run, store, tmp_path / "out").read_text("utf-8")
    captions = [
        " ".join(re.sub(r"<.*?>", "", text).split())
        for text in re.findall(r"<figcaption>(a.*?)</figcaption>", page, re.DOTALL)
    ]
    assert len(captions) == 2
    assert captions[0].startswith("articlethis replicate, 64 pixels")
    assert re.search(r"refuted Z at 32 pixels: x -\d\.\d+, n = 12$", captions[0].replace("−", "-"))
    assert re.search(r"plateau|not converged", captions[1])
    assert re.search(r"exploratory, Z at 32 pixels: x \d\.\d+, n = 12$", captions[1])
    assert "supported" not in captions[1]


def test_a_part_that_holds_is_not_marked_by_the_one_that_fails(tmp_path: Path) -> None:
    parts = (Criterion(effect=name, label=name, above=0.0) for name in ("holds", "fails"))
    item = condition(
        make_claim("Z", "z", conjunction("Both", *parts)),
        {},
        lambda rng: {"holds": 1 + rng.random(), "fails": -1 - rng.random()},
    )
    tracks = re.findall(
        r'<svg class="drawing track".*?class="bar (v-\w+)"', page_of(tmp_path, item), re.DOTALL
    )
    assert tracks == ["v-supported", "v-refuted"]


def test_an_image_is_embedded_once(folder: Path) -> None:
    page = (folder / "claims.html").read_text("utf-8")
    contents = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(contents) == len(set(contents)) > 5
    assert page.count('aria-label="target, 64 pixels') > 1


def test_images_and_charts_stay_within_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.page.claim.CHARTS_LIMIT", 100_000)
    store = make_store(tmp_path)
    claim = make_claim("Z", "z", event("z", PLAIN))
    conditions = []
    for k in range(120):
        made = record(f"z/{k}", ratio=0.5 + k / 1000, seed=k)  # equal charts are one
        store.write(made)
        ids = {"run": (made.id,), "again": (made.id,)}
        conditions.append(condition(claim, {"k": k, "m": k}, normal("x", 1, 0.1), records=ids))
    page = write_report(make_run(conditions), store, tmp_path / "out").read_text("utf-8")
    assert len(page.encode()) < 8 * 2**20
    assert "images were left out" in page
    assert "charts were left out" in page


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    item = dataclasses.replace(simple([0.9] * 12), records={"run": ("a" * 64,)})
    assert "Record aaaaaaaaaaaa: " in page_of(tmp_path, item)


def test_traces_are_thinned_and_positive() -> None:
    long = dataclasses.replace(
        record("z", ratio=0.5),
        traces={
            "iteration": tuple(float(k) for k in range(20_000)),
            "m_g": (math.nan, 0.0, *(1.0 / (k + 1) for k in range(19_998))),
        },
    )
    chart = trace_chart("m_g", {"run": long}, title="m_g", reference="m_r")
    assert chart is not None
    reference, line = chart.drawing.strokes
    assert "reference" in reference.css
    assert len(line.path.split()) <= 2 * 70
    first, *_, last = (mark.title for mark in chart.drawing.marks)
    assert (first, last) == ("run: 1.00 after 2", "run: 5e-5 after 19,999")
    assert trace_chart("m_i", {"run": long}, title="m_i") is None


def test_a_report_that_is_replaced_is_replaced_whole(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "claims.html").write_text("old")
    monkeypatch.setattr(
        "reports.page.render.render", lambda *_: (_ for _ in ()).throw(RuntimeError)
    )
    with pytest.raises(RuntimeError):
        write_report(run, store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["claims.html"]
    assert (tmp_path / "claims.html").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_one_message(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="--report DIR"):
        write_report(make_run([]), store, tmp_path / "file" / "out")


def test_reports_import_nothing_slow() -> None:
    code = (
        "import sys, reports.write, reports.text.console; "
        "sys.exit({'torch', 'scipy.stats', 'statsmodels', 'pandas'} & sys.modules.keys() or 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_a_claim_that_was_not_collected_is_not_run_and_keeps_its_headline_open() -> None:
    positive = event("It is positive.", Criterion(effect="x", label="x", above=0.0))
    left_out = make_claim("B8", "It rises.", positive, headline="disconnect")
    ran = make_claim("C11", "It is far.", positive, headline="disconnect")
    run = make_run([condition(ran, {}, normal("x", 1, 0.1))], claims=(left_out, ran))
    summary = summarise(run)
    assert [item.verdict for item in summary.claims] == [Verdict.NOT_RUN, Verdict.SUPPORTED]
    headline = next(item for item in summary.headlines if item.key == "disconnect")
    assert headline.verdict is Verdict.INCONCLUSIVE
