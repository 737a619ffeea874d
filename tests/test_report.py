"""The report: what is written holds what was found, whatever was found."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest
from report_fixtures import condition, full_run, make_claim, make_run, make_store, normal, record

from harness.claim import Criterion, Scale, conjunction, event, exact, untestable
from harness.errors import OptionError
from harness.files import cache_file
from harness.store import Store
from harness.verdict.results import Run
from harness.verdict.verdict import Decision, Effect, Part, Verdict, decide_claim
from reports import words
from reports.documents.build import schema
from reports.documents.read import read_run
from reports.figures import charts
from reports.figures.intervals import axis, toward
from reports.figures.runtime import runtime
from reports.page.template import environment, slug, terms
from reports.summary import deciding_part, summarise
from reports.text.console import final_table
from reports.write import write_report

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
NASTY = "<script>alert('x')</script> & \"co\" {{ 7 * 7 }}"
PLAIN = Criterion(effect="x", label="x", above=0.25)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    return full_run(store)


@pytest.fixture(scope="module")
def folder(run: Run, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run, store, tmp_path_factory.mktemp("out") / "deep" / "er").parent


def odd_runs() -> Iterator[Any]:
    """Runs at the edge of what a report can be asked to show."""
    claim = make_claim("Z1", NASTY, event(NASTY, PLAIN), section=NASTY, method=NASTY)
    log = make_claim(
        "Z2",
        "x" * 4000,
        conjunction(
            "Both",
            Criterion(effect="x", label=NASTY, above=0.0, scale=Scale.LOG),
            Criterion(effect="y", label="y", below=0.0),
        ),
        headline="relu",
    )

    def decided(effect: Effect | None, *, values: tuple[float, ...] = (1.0,)) -> Decision:
        part = Part(criterion=PLAIN, events=0, n=1, p_supported=1.0, p_refuted=1.0, effect=effect)
        return Decision(
            verdict=Verdict.INVALID,
            reason=NASTY,
            n=1,
            parts=(part,),
            invalid={NASTY: 1},
            values={"x": values},
        )

    def effect(value: float, low: float | None, high: float | None) -> Effect:
        return Effect(
            name="x", label="x", value=value, low=low, high=high, level=0.95, scale=Scale.LINEAR
        )

    def one(decision: Decision) -> Run:
        return make_run(
            [condition(claim, {"network": NASTY}, normal("x", 0, 1), decision=decision)]
        )

    not_run = Decision(verdict=Verdict.NOT_RUN, reason="", n=0)
    nan, inf = math.nan, math.inf
    yield pytest.param(make_run([]), id="no claims")
    yield pytest.param(one(not_run), id="not run")
    yield pytest.param(one(decided(None)), id="no effect")
    yield pytest.param(one(decided(effect(nan, None, None), values=(nan, inf))), id="nan effect")
    yield pytest.param(one(decided(effect(1.0, None, None))), id="unbounded")
    yield pytest.param(one(decided(effect(1.0, -inf, inf))), id="infinite interval")
    yield pytest.param(one(decided(effect(0.25, 0.25, 0.25))), id="no width, at the margin")
    yield pytest.param(one(decided(effect(1e300, -1e300, 1e300))), id="enormous")
    yield pytest.param(
        make_run(
            [
                condition(
                    log, {"b": "y" * 900}, lambda rng: {"x": 1e6 * rng.normal(), "y": nan}, n=24
                )
            ],
            provenance={"commit": None, "odd": {"path": Path("/x"), "nan": nan, "set": {1}}},
            seconds=nan,
            ended="yesterday",
            custom={"images": NASTY},
        ),
        id="long names",
    )
    yield pytest.param(
        make_run(
            [condition(claim, {"network": "a"}, normal("x", 0, 1), records={"run": ("0" * 64,)})]
        ),
        id="record missing",
    )


@pytest.mark.parametrize("odd", tuple(odd_runs()))
def test_whatever_was_found_is_written(odd: Run, tmp_path: Path) -> None:
    path = write_report(odd, make_store(tmp_path), tmp_path / "out")
    page = path.read_text("utf-8")
    jsonschema.validate(_strict((path.parent / "claims.json").read_text("utf-8")), schema())
    assert "<script>alert" not in page
    assert "nan" not in ESCAPES.sub("", final_table(odd, width=90, color=True)).lower()
    rows = list(csv.DictReader(io.StringIO((path.parent / "claims.csv").read_text("utf-8"))))
    assert len(rows) == len(odd.conditions)
    for item in odd.conditions:
        assert html.escape(item.claim.statement, quote=False)[:40] in page.replace("&#39;", "'")


def test_names_with_html_are_text(tmp_path: Path) -> None:
    claim = make_claim("<i>1", NASTY, event(NASTY, PLAIN), section=NASTY)
    run = make_run([condition(claim, {NASTY: NASTY}, normal("x", 1, 0.1))], device=NASTY)
    path = write_report(run, make_store(tmp_path), tmp_path / "out")
    page = path.read_text("utf-8")
    assert "<script>alert" not in page
    assert "{{ 7 * 7 }}" in page
    assert "<script>" not in (path.parent / "summary.md").read_text("utf-8")


def test_the_articles_words_are_shown_and_kept(tmp_path: Path) -> None:
    claim = make_claim("Q1", "It does.", event("e", PLAIN))
    claim = dataclasses.replace(claim, source=r"a <b> of $\nabla_a O(a, \theta)$")
    run = make_run([condition(claim, {}, normal("x", 1, 0.1))])
    path = write_report(run, make_store(tmp_path), tmp_path / "out")
    assert "<q>a &lt;b&gt; of ∇_a O(a, θ)</q>" in path.read_text("utf-8")
    (kept,) = read_run(path.parent / "claims.json").conditions
    assert kept.claim == claim


def test_a_claim_is_judged_by_its_confirmatory_conditions_alone(run: Run) -> None:
    for item in summarise(run).claims:
        own = [c for c in run.conditions if c.claim.id == item.claim.id]
        expected = decide_claim([c.decision for c in own if c.confirmatory])
        assert (item.verdict, item.reason) == expected
        assert len(item.confirmatory) + len(item.exploratory) == len(own)


def test_the_deciding_part_is_the_weakest_and_the_first_of_equals() -> None:
    parts = tuple(
        Part(
            criterion=Criterion(effect=name, label=name, above=0.0),
            events=1,
            n=1,
            p_supported=p,
            p_refuted=1.0,
            effect=None,
        )
        for name, p in (("a", 0.1), ("b", 0.7), ("c", 0.7))
    )
    claim = make_claim("Z", "z", event("z", PLAIN))
    decision = Decision(verdict=Verdict.INCONCLUSIVE, reason="", n=1, parts=parts)
    found = deciding_part(condition(claim, {}, normal("x", 0, 1), decision=decision))
    assert found is parts[1]


def test_text_is_typeset_without_loss() -> None:
    assert words.typeset("-1.2e-11 [-2, 3e5]") == "−1.2·10⁻¹¹ [−2, 3·10⁵]"
    assert words.typeset("one two-three") == "one two-three"
    assert words.typeset("R^2 of a line") == "R² of a line"
    assert terms("m_g / m_i(0)") == [("", "m", "g"), (" / ", "m", "i"), ("(0)", "", "")]
    assert slug("C6") == "C6"
    assert slug("<b> x") == "-b-x".strip("-")


def test_bars_point_to_what_is_claimed() -> None:
    def part(criterion: Criterion, value: float, low: float | None, high: float | None) -> Part:
        effect = Effect(
            name="x", label="x", value=value, low=low, high=high, level=0.9, scale=Scale.LINEAR
        )
        return Part(criterion=criterion, events=0, n=1, p_supported=1, p_refuted=1, effect=effect)

    below = Criterion(effect="x", label="x", below=0.25)
    (supported,) = toward([(part(below, 0.1, 0.05, 0.2), Verdict.SUPPORTED, "a")])
    assert 50 < supported.low < supported.point < supported.high <= 100
    (refuted,) = toward([(part(below, 0.3, 0.28, None), Verdict.REFUTED, "a")])
    assert refuted.point < refuted.high < 50
    assert refuted.open_low
    assert refuted.low == 0
    on = axis([part(below, 0.1, 0.05, 0.2)])
    assert on is not None
    assert on.place(0.05) < on.place(0.1) < on.place(0.25)
    assert on.claimed_low == 0
    assert on.claimed_high == on.place(0.25) == on.margins[0]


def test_an_enormous_ratio_has_a_few_ticks() -> None:
    criterion = Criterion(effect="x", label="a / b", above=0.0, scale=Scale.LOG)
    for end, most in ((1e300, 6), (40.0, 6), (3.0, 6)):
        effect = Effect(
            name="x", label="x", value=1.0, low=-end, high=end, level=0.9, scale=Scale.LOG
        )
        on = axis(
            [Part(criterion=criterion, events=0, n=1, p_supported=1, p_refuted=1, effect=effect)]
        )
        assert on is not None
        assert 2 <= len(on.ticks) <= most
        assert [place for place, _ in on.ticks] == sorted({place for place, _ in on.ticks})


def test_what_is_not_testable_is_reported_with_its_reason(store: Store, tmp_path: Path) -> None:
    claim = make_claim("H3", "It explains shapes.", untestable("every outcome would agree"))
    decision = Decision(verdict=Verdict.NOT_TESTABLE, reason="every outcome would agree", n=0)
    listed = condition(claim, {}, normal("x", 0, 1), decision=decision)
    written = make_run([listed])
    page = write_report(written, store, tmp_path)
    assert "every outcome would agree" in page.read_text("utf-8").lower()
    found = json.loads((tmp_path / "claims.json").read_text("utf-8"))
    jsonschema.validate(found, schema())
    assert found["claims"][0]["verdict"] == "not testable"
    assert re.search(r"∅ not testable", final_table(written, width=90, color=False))


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
    assert page.count('<svg class="forest"') == 11  # all but the one that was not run
    assert page.count('<svg class="track"') >= len(run.conditions) - 1
    for text in ("<th>Commit", "<dt>Commit</dt>"):
        assert (text in page) == text.startswith("<dt>")
    assert "with uncommitted changes" in page


def test_the_weakest_condition_is_named_in_table_and_plot(tmp_path: Path) -> None:
    claim = make_claim("Z", "z", {"null space": event("z", PLAIN), "rest": event("z", PLAIN)})
    run = make_run(
        [
            condition(claim, {}, normal("x", 1, 0.1), estimand="null space"),
            condition(claim, {}, normal("x", -1, 0.1), estimand="rest"),
        ]
    )
    page = write_report(run, make_store(tmp_path), tmp_path / "out").read_text("utf-8")
    assert "weakest of 2: rest<" in page
    assert page.count('<span class="soft where">rest</span>') == 1
    bars = re.findall(r"<title>([^<]*): [^<]*</title>\n<line", page)
    assert bars[:2] == ["null space", "weakest · rest"]
    assert "Supported: null space; refuted: rest." in page


@pytest.mark.parametrize("side", ["above", "below"])
def test_of_conditions_that_support_equally_the_one_least_beyond_its_margin_stands_for_the_claim(
    side: str,
) -> None:
    sign = 1 if side == "above" else -1
    claim = make_claim("Z", "z", event("z", Criterion(effect="x", label="x", **{side: 0.0})))
    far, near, between = (
        condition(claim, {"layer": mean}, normal("x", sign * mean, 0.1)) for mean in (9, 1, 3)
    )
    assert {item.decision.verdict for item in (far, near, between)} == {Verdict.SUPPORTED}
    (item,) = summarise(make_run([far, near, between])).claims
    assert item.shown is near


def test_a_counterexample_stands_beside_the_effect(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    found = "kernel [0, 1] on pixels [0, 1] yields 1, on [1, 0] 0"
    made = dataclasses.replace(record("z", ratio=0.5), labels={"counterexample": found})
    store.write(made)
    claim = make_claim("Z", "z", exact("z", PLAIN))
    item = condition(claim, {}, normal("x", -1, 0.1), records={"search": (made.id,) * 24})
    page = write_report(make_run([item]), store, tmp_path / "out").read_text("utf-8")
    assert f'<div class="stack soft">Counterexample: {found}</div>' in page


def test_a_picture_tells_what_the_verdict_on_its_condition_rests_on(tmp_path: Path) -> None:
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
    assert captions[0].startswith("articlethis draw, 64 pixels")
    assert re.search(r"refuted Z at 32 pixels: x -\d\.\d+, n = 12$", captions[0].replace("−", "-"))
    assert re.search(r"plateau|not converged", captions[1])
    assert re.search(r"beside Z at 32 pixels: x \d\.\d+, n = 12$", captions[1])
    assert "supported" not in captions[1]


def test_a_part_that_holds_is_not_marked_by_the_one_that_fails(tmp_path: Path) -> None:
    claim = make_claim(
        "Z",
        "z",
        conjunction(
            "Both",
            Criterion(effect="holds", label="holds", above=0.0),
            Criterion(effect="fails", label="fails", above=0.0),
        ),
    )
    item = condition(claim, {}, lambda rng: {"holds": 1 + rng.random(), "fails": -1 - rng.random()})
    assert item.decision.verdict is Verdict.REFUTED
    page = write_report(make_run([item]), make_store(tmp_path), tmp_path / "out").read_text("utf-8")
    tracks = re.findall(r'<svg class="track".*?class="bar (v-\w+)"', page, re.DOTALL)
    assert tracks == ["v-supported", "v-refuted"]


def test_an_image_is_kept_once(folder: Path) -> None:
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
    store = make_store(tmp_path)
    made = record("z", ratio=0.5)
    store.write(made)
    (tmp_path / "store" / "records" / made.id[:2] / f"{made.id}.json").write_text("{")
    claim = make_claim("Z", "z", event("z", PLAIN))
    run = make_run([condition(claim, {}, normal("x", 1, 0.1), records={"run": (made.id,)})])
    page = write_report(run, store, tmp_path / "out").read_text("utf-8")
    assert f"Record {made.id[:12]}: the record is damaged" in page


def test_traces_are_thinned_and_positive() -> None:
    long = dataclasses.replace(
        record("z", ratio=0.5),
        traces={
            "iteration": tuple(float(k) for k in range(20_000)),
            "m_g": (math.nan, 0.0, *(1.0 / (k + 1) for k in range(19_998))),
        },
    )
    chart = charts.trace_chart("m_g", {"run": long}, title="m_g", reference="m_r")
    assert chart is not None
    line = chart.tables[0]
    iterations, values = line["iteration"], line["value"]
    assert isinstance(iterations, list)
    assert isinstance(values, list)
    assert len(iterations) == len(values) <= 70
    assert (iterations[0], iterations[-1]) == (2, 19_999)
    assert min(values) > 0
    assert chart.spec == "traces-reference"
    assert charts.trace_chart("m_i", {"run": long}, title="m_i") is None


def test_the_specifications_are_valid_vega_lite() -> None:
    found = {name: make().to_dict(validate=True) for name, make in charts.specifications().items()}
    assert set(found) == {
        "traces",
        "traces-reference",
        "replicates",
        "replicates-log",
    }
    assert all(spec["data"] == {"name": "rows"} for spec in found.values())


def test_tests_leave_the_cache_of_the_user_alone(cache: Path) -> None:
    assert cache_file("script.js") == cache / "depth-claims" / "script.js"
    assert not cache.is_relative_to(Path("~/.cache").expanduser())


def test_the_script_of_charts_is_bundled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def bundle(*_: str) -> str:
        calls.append("bundled")
        return "draw('</script>')"

    monkeypatch.setattr("vl_convert.javascript_bundle", bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = runtime.__wrapped__()
    assert made == runtime.__wrapped__() == "draw('<\\/script>')"
    assert len(calls) == 1
    (kept,) = (tmp_path / "depth-claims").iterdir()
    kept.write_text(kept.read_text() + "alert(1)")  # not what was written
    assert runtime.__wrapped__() == made
    assert len(calls) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # no folder
    assert runtime.__wrapped__() == made


def test_templates_are_compiled_once_where_that_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str | None] = []
    compiled = jinja2.Environment.compile

    def compile_(self: jinja2.Environment, source: str, name: str | None, file: str | None) -> Any:
        calls.append(name)
        return compiled(self, source, name, file)

    monkeypatch.setattr("jinja2.Environment.compile", compile_)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        assert environment.__wrapped__().get_template("icons.html").filename
        assert calls == ["icons.html"]
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # no folder
    assert environment.__wrapped__().get_template("icons.html").filename
    assert len(calls) == 2


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


@pytest.mark.parametrize("slow", ["torch", "scipy.stats", "statsmodels", "pandas"])
def test_reports_import_nothing_that_takes_long(slow: str) -> None:
    code = f"import sys, reports.write, reports.text.console; sys.exit({slow!r} in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def _strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_a_claim_that_was_not_collected_is_not_run_and_keeps_its_headline_open() -> None:
    positive = event("It is positive.", Criterion(effect="x", label="x", above=0.0))
    left_out = make_claim("B8", "It rises.", positive, headline="disconnect")
    ran = make_claim("C11", "It is far.", positive, headline="disconnect")
    run = make_run([condition(ran, {}, normal("x", 1, 0.1))], claims=(left_out, ran))
    summary = summarise(run)
    assert [item.verdict for item in summary.claims] == [Verdict.NOT_RUN, Verdict.SUPPORTED]
    headline = next(item for item in summary.headlines if item.key == "disconnect")
    assert headline.verdict is Verdict.INCONCLUSIVE
