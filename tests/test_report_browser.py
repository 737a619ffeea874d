"""The page in a real browser: opened from disk, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import full_run, make_run, make_store

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


def wait_for_charts(page: Any, within: str) -> int:
    """Scroll to every chart of an element and wait until it is drawn; how many there are."""
    plots = page.locator(f"{within} [data-chart]:visible")
    count = plots.count()
    for number in range(count):
        plots.nth(number).scroll_into_view_if_needed()
        plots.nth(number).locator("svg .mark-group").first.wait_for(state="attached")
    return int(count)


def test_it_opens_with_verdicts_and_intervals(visit: Open) -> None:
    page = visit()
    assert page.locator(".card").count() == 5
    assert page.locator(".counts li").all_inner_texts()[0].split() == ["5", "supported"]
    assert page.locator("svg.forest .bar").count() > 20
    assert page.locator("details.claim[open]").count() == 0


def test_a_link_opens_its_claim(visit: Open) -> None:
    page = visit(at="#C6")
    assert page.locator("#C6").evaluate("e => e.open")
    page.locator("table.claims a[href='#B3']").click()
    page.wait_for_function("document.getElementById('B3').open")
    page.locator("#B3 > summary").click()
    page.locator("table.claims a[href='#B3']").click()  # the same link once more
    page.wait_for_function("document.getElementById('B3').open")


def test_charts_are_drawn_when_a_claim_is_opened(visit: Open) -> None:
    page = visit()
    assert page.locator(".plot svg").count() == 0
    page.locator("#A1 > summary").click()
    page.locator("#A1 details.more > summary").last.click()
    assert wait_for_charts(page, "#A1") == 5
    lines = page.locator("#A1 .traces .mark-line path")
    assert lines.count() == 12  # three layers, m_g and m_i, two networks
    assert "NaN" not in "".join(str(lines.nth(k).get_attribute("d")) for k in range(12))
    box = page.locator("#A1 .traces .mark-line path").first.bounding_box()
    assert box["width"] > 200
    assert box["height"] > 20


def test_images_are_shown(visit: Open) -> None:
    page = visit(at="#A1")
    box = page.locator("#A1 .picture svg").first.bounding_box()
    assert box["width"] == box["height"] > 64
    assert page.locator("#A1 .copies .picture").count() == 6


def test_filters_and_search(visit: Open) -> None:
    page = visit()
    rows = page.locator("table.claims tr.row:visible")
    total = rows.count()
    page.locator("[data-filter='supported']").click()
    assert rows.count() == total - 5
    assert page.locator("details.claim:visible").count() == total - 5
    page.locator("[data-filter='supported']").click()
    page.locator("#search").fill("FLOAT64")
    assert rows.count() == 1
    assert "1 of 12" in page.locator("#found").inner_text()
    page.locator("#search").fill("")
    page.locator("#open-all").click()
    assert page.locator("details.claim[open]").count() == total


def test_keyboard_alone_opens_a_claim(visit: Open) -> None:
    page = visit()
    page.locator("#A1 > summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#A1").evaluate("e => e.open")


@pytest.mark.parametrize("width", [320, 390, 768, 900, 1280])
def test_nothing_overflows(visit: Open, width: int) -> None:
    page = visit(width=width)
    page.locator("#open-all").click()
    wait_for_charts(page, "#B3")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_differ_and_contrast(visit: Open) -> None:
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme, at="#A1")
        wait_for_charts(page, "#A1 .traces")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(paper) < 0.1) == (scheme == "dark")
        for selector in (
            ".badge.v-supported", ".badge.v-refuted", ".badge.v-mixed", ".badge.v-inconclusive",
            ".badge.v-invalid", ".badge.v-not-run", ".soft", ".lead", "a[href='#A1']",
        ):  # fmt: skip
            ink = page.locator(selector).first.evaluate("e => getComputedStyle(e).color")
            assert contrast(ink, paper) >= 4.5, (scheme, selector)
        label = page.locator("#A1 .traces .role-axis-label text").first
        assert contrast(label.evaluate("e => getComputedStyle(e).fill"), paper) >= 4.5


def test_without_scripts_the_tables_are_there(visit: Open) -> None:
    page = visit(java_script_enabled=False, at="#A1")
    assert page.locator("table.claims tr.row:visible").count() == 12
    assert page.locator(".tools:visible").count() == 0


def test_on_paper_claims_are_open(visit: Open) -> None:
    page = visit(color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.claim[open]").count() == 12
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9


def test_a_page_without_claims_opens(visit: Open, tmp_path: Path) -> None:
    page = visit(of=write_report(make_run([]), make_store(tmp_path), tmp_path / "out"))
    assert "No claim was selected" in page.locator(".counts").inner_text()


def luminance(colour: str) -> float:
    """Relative luminance of a CSS colour (WCAG 2.2)."""
    channels = [float(text) / 255 for text in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two CSS colours (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
