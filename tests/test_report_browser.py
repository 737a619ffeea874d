"""The page in a real browser: opened from disk, without a network."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import condition, full_run, make_claim, make_run, make_store, normal

from harness.claim import Criterion, Scale, event
from harness.verdict.evidence import Effect, Part
from harness.verdict.results import Run
from harness.verdict.verdict import Decision, Verdict
from reports.comparison import compare, history
from reports.write import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this system"),
]

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    store = make_store(folder)
    return write_report(full_run(store), store, folder / "out")


@pytest.fixture
def visit(browser: Any, file: Path) -> Iterator[Open]:
    """Open the page; at the end, nothing was asked of a network and the console is empty."""
    messages: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(*, at: str = "", width: int = 1280, of: Path = file, **settings: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, **settings
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(of.as_uri() + at)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_it_opens_with_verdicts_and_intervals(visit: Open) -> None:
    page = visit()
    assert page.locator(".card").count() == 5
    assert page.locator(".counts li").all_inner_texts()[0].split() == ["4", "supported"]
    assert page.locator(".drawing.forest .bar").count() > 20
    assert page.locator("details.claim[open]").count() == 0


def test_a_link_opens_its_claim(visit: Open) -> None:
    page = visit(at="#C6")
    assert page.locator("#C6").evaluate("e => e.open")
    page.locator("table.claims a[href='#B3']").click()
    page.locator("#B3[open]").wait_for(state="attached")
    page.locator("#B3 > summary").click()
    page.locator("table.claims a[href='#B3']").click()  # the same link once more
    page.locator("#B3[open]").wait_for(state="attached")


def test_charts_and_images_are_drawn(visit: Open) -> None:
    page = visit()
    page.locator("#A1 > summary").click()
    page.locator("#A1 details.more > summary").last.click()
    assert page.locator("#A1 .traces .drawing").count() == 4
    lines = page.locator("#A1 .traces path.line")
    assert lines.count() == 12  # three layers, m_g and m_i, two networks
    assert "nan" not in "".join(str(lines.nth(k).get_attribute("d")) for k in range(12))
    box = lines.first.bounding_box()
    assert box["width"] > 200
    assert box["height"] > 20
    image = page.locator("#A1 .picture svg").first.bounding_box()
    assert image["width"] == image["height"] > 64
    assert page.locator("#A1 .reconstructions .picture").count() == 6
    row = page.locator("#A1 .replicates .drawing").first
    assert row.bounding_box()["width"] > 200
    assert row.locator("path.median").count() == 1
    assert row.locator("path.dots title").first.text_content().startswith("replicate 0: ")


def rows_of(page: Any) -> list[str]:
    """Ids of the claims that the table shows, in its order."""
    return list(page.locator("table.claims tr.row:visible td.id").all_inner_texts())


def address_of(page: Any) -> str:
    """The address as the page has it; Playwright hears of changes without navigation later."""
    address: str = page.evaluate("location.href")
    return address


def test_filters_are_kept_in_the_address(visit: Open) -> None:
    page = visit()
    total = len(rows_of(page))
    section = page.locator("#section")
    for option in section.locator("option").all()[1:]:
        value = option.get_attribute("value")
        section.select_option(value)
        shown = rows_of(page)
        assert 0 < len(shown) < total, value
        assert shown == [
            item.get_attribute("data-claim") for item in page.locator("details.claim:visible").all()
        ]
        assert page.locator(".forest-row:visible").count() == len(shown)
    page.locator("[data-filter='refuted']").click()
    page.locator("#search").fill("copy")
    shared, expected = address_of(page), rows_of(page)
    other = visit(at=shared[shared.index("?") :])
    assert rows_of(other) == expected
    other.locator("#clear").click()
    assert len(rows_of(other)) == total
    assert "?" not in address_of(other)


def test_headings_sort_and_give_the_order_back(visit: Open) -> None:
    page = visit()
    before = rows_of(page)
    heading = page.locator("table.claims th", has_text="Claim").first
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert rows_of(page) == sorted(before, key=lambda name: (name[0], int(name[1:])))
    heading.locator("button").click()
    assert rows_of(page)[0] == "X9"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert rows_of(page) == before
    page.locator("table.claims th.number button").first.focus()
    page.keyboard.press("Enter")
    values = page.locator("table.claims tr.row td[data-sort]").evaluate_all(
        "cells => cells.map(cell => cell.dataset.sort)"
    )
    known = [float(value) for value in values if value]
    assert known == sorted(known)
    assert values.index("") == len(known)  # what has none comes last


def test_a_sorted_condition_keeps_its_reason(visit: Open) -> None:
    page = visit(at="#A1")
    table = page.locator("#A1 table.conditions").first
    first = table.locator(":scope > tbody > tr").nth(1).inner_text()
    table.locator("th button", has_text="Condition").click()
    table.locator("th button", has_text="Condition").click()
    rows = table.locator(":scope > tbody > tr")
    classes = [rows.nth(k).get_attribute("class") for k in range(rows.count())]
    assert classes == [None, "why"] * 6
    assert rows.nth(0).inner_text().startswith("resnet50 · stem")
    assert first in table.inner_text()


def test_every_link_leads_somewhere(visit: Open) -> None:
    page = visit()
    missing = page.evaluate(
        "Array.from(document.querySelectorAll('a[href], use[href]'), e => e.getAttribute('href'))"
        ".filter(h => !h.startsWith('#') || !document.getElementById(decodeURIComponent("
        "h.slice(1))))"
    )
    assert missing == []
    names = page.evaluate("Array.from(document.querySelectorAll('[id]'), e => e.id)")
    assert len(names) == len(set(names))


def test_a_link_to_a_figure_opens_it(visit: Open) -> None:
    page = visit(at="#figure-distances-50")
    assert page.locator("#figure-distances-50").evaluate("e => e.open")
    assert page.locator("#figure-distances-50 path.line").count() == 2  # m_g and m_r of A2
    page.locator("nav a[href='#figures']").click()
    assert page.evaluate("document.getElementById('figures').getBoundingClientRect().top") < 100


def test_evidence_and_panels_are_drawn(visit: Open) -> None:
    page = visit(at="#B8")
    page.locator("#B8 .rerun > summary").first.click()
    assert page.locator("#B8 .evidence table[aria-label='Looks that were taken'] tr").count() > 1
    assert page.locator("#B8 .curve use").count() == 12
    assert page.locator("#B8 .share-bar i").count() == 2
    assert page.locator("#spread ~ .components .share").count() == 7


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("dark", 390), ("light", 1280)])
def test_axe_finds_nothing(visit: Open, scheme: str, width: int) -> None:
    page = visit(color_scheme=scheme, width=width)
    assert violations(page) == []
    page.locator("#open-all").click()
    page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
    assert violations(page) == []


@pytest.mark.slow
def test_axe_finds_nothing_in_comparison_and_history(visit: Open, tmp_path: Path) -> None:
    run = full_run(make_store(tmp_path))
    other = dataclasses.replace(
        run, conditions=run.conditions[:-3], device="cuda", ended="2026-01-02T03:04:05+00:00"
    )
    pages = {
        "compare.html": compare.render(compare.compare(run, other), names=("a", "<b>")),
        "history.html": history.render(history.history([run, other, run])),
    }
    for name, content in pages.items():
        (tmp_path / name).write_text(content, "utf-8")
        for width in (390, 1280):
            page = visit(of=tmp_path / name, width=width)
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("th button.sort").first.click()
        assert page.locator("th[aria-sort]").count() == 1


def odd(value: float, low: float | None, high: float | None, *, verdict: Verdict) -> Run:
    """A run of one claim with an effect at the edge of what can be shown."""
    criterion = Criterion(effect="x", label="x / <i>y</i>", above=0.0, scale=Scale.LOG)
    claim = make_claim("<Z>", "<script>window.broken = 1</script>", event("<b>z", criterion))
    effect = Effect(
        name="x", label="x", value=value, low=low, high=high, level=0.95, scale=Scale.LOG
    )
    part = Part(criterion=criterion, events=0, n=3, p_supported=1, p_refuted=1, effect=effect)
    decision = Decision(
        verdict=verdict, reason="<b>", n=3, parts=(part,), values={"x": (value, math.inf, 1.0)}
    )
    return make_run(
        [condition(claim, {"<u>": "<img src=x>"}, normal("x", 0, 1), decision=decision)],
        device="<h1>",
        custom={"images": "/tmp/<b>&"},
    )


@pytest.mark.parametrize(
    "run",
    [
        make_run([]),
        odd(0.5, 0.4, 0.6, verdict=Verdict.SUPPORTED),
        odd(-0.5, -0.6, -0.4, verdict=Verdict.REFUTED),
        odd(math.nan, None, None, verdict=Verdict.INVALID),
        odd(0.5, -math.inf, math.inf, verdict=Verdict.INCONCLUSIVE),
        odd(1e300, -1e300, 1e300, verdict=Verdict.MIXED),
    ],
    ids=["none", "one", "only failures", "nan", "infinite", "enormous"],
)
def test_whatever_was_found_opens(visit: Open, tmp_path: Path, run: Run) -> None:
    page = visit(of=write_report(run, make_store(tmp_path), tmp_path / "out"))
    assert page.evaluate("window.broken") is None
    assert page.locator("body img, main u, main h1").count() == 0
    if run.conditions:
        page.locator("#open-all").click()
        for summary in page.locator("details.more > summary").all():
            summary.click()
        assert "<script>window.broken = 1</script>" in page.locator("#Z").inner_text()
        assert "<img src=x>" in page.locator("#Z").inner_text()
    else:
        assert page.locator(".counts li").count() == 1


def test_filters_and_search(visit: Open) -> None:
    page = visit()
    rows = page.locator("table.claims tr.row:visible")
    total = rows.count()
    page.locator("[data-filter='supported']").click()
    assert rows.count() == total - 4
    assert page.locator("details.claim:visible").count() == total - 4
    page.locator("[data-filter='supported']").click()
    page.locator("#search").fill("FLOAT64")
    assert rows.count() == 1
    assert "1 of 10" in page.locator("#found").inner_text()
    page.locator("#search").fill("")
    page.locator("#open-all").click()
    assert page.locator("details.claim[open]").count() == total


@pytest.mark.parametrize("width", [320, 900])
def test_nothing_overflows(visit: Open, width: int) -> None:
    page = visit(width=width)
    page.locator("#open-all").click()
    page.evaluate("document.querySelectorAll('details.figure').forEach(d => (d.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_tables_and_charts_are_there(visit: Open) -> None:
    page = visit(java_script_enabled=False)
    page.locator("#A1 > summary").click()
    assert page.locator("#A1 .traces path.line").first.bounding_box()["width"] > 200
    assert page.locator("table.claims tr.row:visible").count() == 10
    assert page.locator(".tools:visible").count() == 0


def test_on_paper_claims_are_open_and_tables_fit(visit: Open) -> None:
    page = visit(width=720, color_scheme="dark")  # about A4 between its margins
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.claim[open]").count() == 10
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9
    row = page.locator("table.claims tr.row").first
    assert row.evaluate("e => getComputedStyle(e).display") == "table-row"
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.locator(".tools:visible").count() == 0


def violations(page: Any) -> list[str]:
    """What axe has to say against a page: rule, and the first element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {len(item['nodes'])} x {item['nodes'][0]['html'][:200]} "
        f"{item['nodes'][0]['failureSummary']}"
        for item in found
    ]


def luminance(colour: str) -> float:
    """Relative luminance of a CSS colour (WCAG 2.2)."""
    channels = [float(text) / 255 for text in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
