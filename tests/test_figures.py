"""The article's figures: what is drawn in their place, and that it is there to be drawn."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import condition, full_run, make_claim, make_run, make_store, normal, record
from small_cells import IMAGES, cell, rank
from stated_claims import stated_conditions

from harness.claim import Criterion, Scale, event
from harness.lab.condition import Condition
from harness.measurements.measure import measure
from harness.plan.cells import ActiveUnits, Cell, Conditioning, LinearProbe, Neighbours
from harness.plan.images import Images
from harness.plan.networks import MLP, ResNet
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record
from harness.verdict.results import ConditionResult
from reports.article import STAR, Figure, LineChart, LineSource, Selection, figures
from reports.figures.charts import Chart
from reports.figures.line_charts import in_order, line_chart, points_of, spread
from reports.write import write_report

PLAIN = Criterion(effect="x", label="x", above=0.25)


# --- what the article's figures name ----------------------------------------------------------


def fitting(some: Selection) -> list[Condition]:
    return [
        condition
        for condition in stated_conditions("quick")
        if condition.claim.id == some.claim
        and all(
            name in condition.parameters and value in (STAR, condition.parameters[name])
            for name, value in some.where.items()
        )
    ]


RESNET = ResNet(name="resnet18", layer="conv1")
SMALL: list[Cell] = [
    cell(0),
    dataclasses.replace(cell(0), network=RESNET, images=Images(pixels=32), iterations=1),
    ActiveUnits(seeds=ReplicateSeeds(replicate=0), images=IMAGES),
    rank(0),
    Conditioning(
        seeds=ReplicateSeeds(replicate=0), network=MLP(inputs=9, widths=(9, 9), activation="none")
    ),
    Neighbours(
        seeds=ReplicateSeeds(replicate=0),
        network=MLP(inputs=48, widths=(48, 48), activation="none"),
        images=IMAGES,
        points=2,
    ),
    LinearProbe(seeds=ReplicateSeeds(replicate=0), network=RESNET, pixels=32, examples=8),
]
"""One of each kind that figures draw numbers of."""


def kind(asked: Cell) -> tuple[str, bool]:
    """What decides the names of a record's numbers: its cell's type, and what is inverted."""
    return type(asked).__name__, isinstance(getattr(asked, "network", None), ResNet)


@pytest.fixture(scope="module")
def named() -> dict[tuple[str, bool], set[str]]:
    """Names of the numbers that records have, by kind."""
    return {kind(small): set(measure([small], device="cpu")[0].values) for small in SMALL}


@pytest.mark.parametrize("figure", figures().values(), ids=lambda figure: figure.key)
def test_what_a_figure_is_drawn_from_is_measured(
    figure: Figure, named: dict[tuple[str, bool], set[str]]
) -> None:
    assert figure.claims
    assert figure.images or figure.traces or figure.charts
    for some in (*figure.images, *figure.traces):
        assert fitting(some), some
    for line in (line for chart in figure.charts for line in chart.lines):
        check(line, fitting(line), named)


def check(
    line: LineSource, found: list[Condition], named: Mapping[tuple[str, bool], set[str]]
) -> None:
    """A line of a figure has numbers, and each of its points those of one role."""
    assert found
    assert all(condition.skip_reason is None for condition in found)
    cells = [
        {
            role: each
            for role, each in condition.cells(ReplicateSeeds(replicate=0)).items()
            if fnmatch.fnmatchcase(role, line.role)
        }
        for condition in found
    ]
    roles = {role for by_role in cells for role in by_role}
    known: set[str] = set().union(
        *(named.get(kind(each), set()) for by_role in cells for each in by_role.values())
    )
    assert all(fnmatch.filter(known, value) for value in line.value.split(" / "))
    stars = [name for name, value in line.where.items() if value == STAR]
    assert len(stars) + line.value.count(STAR) <= 1
    for name in stars:
        assert len({condition.parameters[name] for condition in found}) > 1
    # A point is of one condition.
    points = [(each.estimand, *(each.parameters[name] for name in stars)) for each in found]
    assert len(set(points)) == len(points)
    if stars or STAR in line.value:
        assert len(roles) == 1
    elif STAR in line.role:
        assert max(map(len, cells)) > 1


# --- medians over replicates ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Records:
    """Records in memory."""

    records: Mapping[str, Record]

    def read(self, identity: str) -> Record | None:
        return self.records.get(identity)


def measured(**values: float) -> Record:
    return dataclasses.replace(record("z", ratio=0.5), values=values)


CLAIM = make_claim("Z", "z", event("z", PLAIN))
STORED = Records(
    {
        "a0": measured(r=0.1, m_g=2.0, m_r=4.0),
        "a1": measured(r=0.3, m_g=4.0, m_r=4.0),
        "b0": measured(r=0.5, m_g=8.0, m_r=0.0),
        "c0": measured(at_10=1.0, at_2=2.0, r=math.nan),
    }
)


def of(records: Mapping[str, tuple[str, ...]], **parameters: str | int) -> ConditionResult:
    return condition(CLAIM, parameters, normal("x", 1, 0.1), records=records)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"value": "r"}, {"conv1": [0.1, 0.3], "of conv2": [0.5, 0.5], "stack": [math.nan]}),
        ({"value": "r", "role": "of *"}, {"conv2": [0.5, 0.5]}),
        ({"value": "m_g / m_r"}, {"conv1": [0.5, 1.0], "of conv2": [math.nan, math.nan]}),
        ({"value": "m_g / unknown"}, {}),
        ({"value": "r", "where": {"layer": STAR}, "role": "conv1"}, {"4": [0.1, 0.3]}),
        ({"value": "at_*", "role": "stack"}, {"10": [1.0], "2": [2.0]}),
        ({"value": "r", "role": "stack"}, {"name": [math.nan]}),
        ({"value": "r", "role": "conv1"}, {"name": [0.1, 0.3]}),
        ({"value": "r", "where": {"layer": 5}}, {}),
        ({"value": "unknown"}, {}),
    ],
)
def test_points_are_taken_along_the_star(
    line: dict[str, Any], expected: dict[str, list[float]]
) -> None:
    conditions = [
        of({"conv1": ("a0", "a1", "missing"), "of conv2": ("b0", "b0")}, layer=4),
        of({"stack": ("c0",)}, other=1),
    ]
    asked = LineSource(name="name", claim="Z", **line)
    found = points_of(asked, conditions, STORED)
    assert list(found) == list(expected)
    for at, values in expected.items():
        assert found[at] == pytest.approx(values, nan_ok=True)


def charted(chart: LineChart, *numbers: float) -> Chart:
    """A chart of one condition's only role with these numbers of its replicates."""
    value = chart.lines[0].value
    library = Records({str(k): measured(**{value: each}) for k, each in enumerate(numbers)})
    drawn = line_chart(chart, [of({"conv1": tuple(library.records)})], library)
    assert drawn is not None
    return drawn


def test_a_chart_has_medians_and_the_middle_half() -> None:
    lines = (
        LineSource(name="measured", claim="Z", value="r"),
        LineSource(name="not measured", claim="Y", value="r"),
    )
    asked = LineChart(title="r by layer", lines=lines, rule=2.5)
    for scale in Scale:
        # A logarithmic axis has no place for 0, which counts nevertheless.
        chart = charted(dataclasses.replace(asked, scale=scale), 0, 1, 2, 3, 4)
        assert chart.series == ((1, "measured"),)
        assert [mark.title for mark in chart.drawing.marks] == [
            "measured, conv1: 2.00 [1.00, 3.00], n = 5"
        ]
        assert [stroke.css for stroke in chart.drawing.strokes] == [
            "margin", "whisker s-1", "line s-1",
        ]  # fmt: skip
        assert chart.drawing.description == "r by layer: measured: conv1 2.00"
        assert chart.notes == ()
    assert line_chart(asked, [], Records({})) is None


@pytest.mark.parametrize("failed", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("failing", "quartiles"),
    [
        (2, (3.0, 5.0, 7.0)),
        (3, (3.0, 5.0, math.inf)),
        (5, (3.0, math.inf, math.inf)),
        (7, (math.inf, math.inf, math.inf)),
    ],
)
def test_a_failed_replicate_counts_as_the_worst(
    failed: float, failing: int, quartiles: tuple[float, ...]
) -> None:
    numbers = [failed] * failing + [float(k) for k in range(1, 10 - failing)]
    found = spread(numbers, math.inf)
    assert (found.low, found.median, found.high) == quartiles
    assert (found.n, found.lost) == (9, failing)
    asked = LineChart(title="r", lines=(LineSource(name="Adam", claim="Z", value="r"),))
    chart = charted(asked, *numbers)
    assert chart.notes == (f"Adam: {failing} of 9 replicates without a number",)
    assert f"({failing} of 9 without one)" in chart.drawing.description
    whiskers = [stroke.path for stroke in chart.drawing.strokes if "whisker" in stroke.css]
    assert len(whiskers) == math.isfinite(found.low)
    assert all(path.endswith("V0") == math.isinf(found.high) for path in whiskers)
    assert len(chart.drawing.marks) == math.isfinite(found.median)


def test_a_failed_replicate_lies_below_where_more_is_better() -> None:
    line = LineSource(name="Adam", claim="Z", value="ssim")
    asked = LineChart(title="SSIM", lines=(line,), scale=Scale.LINEAR, more_is_better=True)
    chart = charted(asked, math.nan, math.nan, math.inf, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    (whisker,) = (stroke for stroke in chart.drawing.strokes if "whisker" in stroke.css)
    assert re.fullmatch(r"M50.0 100V[1-9][\d.]*", whisker.path)  # from the lower edge
    assert [mark.title for mark in chart.drawing.marks] == ["Adam, conv1: 2.00 [-∞, 4.00], n = 9"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([["1,000", "10,000"], ["1,000", "3,000", "10,000"]], ["1,000", "3,000", "10,000"]),
        ([["10", "2"], ["1e6"]], ["2", "10", "1e6"]),
        ([["conv1", "layer4"], ["conv1", "layer1", "layer4"]], ["conv1", "layer1", "layer4"]),
        ([["layer4"], ["conv1", "layer4", "fc"]], ["conv1", "layer4", "fc"]),
        ([["conv1"], ["10", "conv1"]], ["10", "conv1"]),
        ([], []),
    ],
)
def test_places_have_one_order_in_all_lines(lines: list[list[str]], expected: list[str]) -> None:
    assert in_order(lines) == expected


@pytest.mark.parametrize("at", [("layer1", "layer2", "layer3"), (1_000, 3_000, 10_000)])
def test_a_gap_in_the_first_line_moves_no_place(at: tuple[str | int, ...]) -> None:
    library = Records({str(k): measured(r=1.0 + k) for k in range(4)})
    conditions = [
        of({"run": (str(k),)}, decoder=decoder, at=place)
        for decoder in ("article", "adam")
        for k, place in enumerate(at)
        if (decoder, k) != ("article", 1)
    ]
    lines = tuple(
        LineSource(name=name, claim="Z", where={"decoder": name, "at": STAR}, role="run", value="r")
        for name in ("article", "adam")
    )
    chart = line_chart(LineChart(title="r", lines=lines), conditions, library)
    assert chart is not None
    places = {
        series: [mark.x for mark in chart.drawing.marks if mark.symbol == f"series-{series}"]
        for series in (1, 2)
    }
    assert places[1] == places[2][::2] == sorted(places[1])
    assert chart.drawing.x_ticks == tuple(
        (x, place if isinstance(place, str) else f"{place:,}")
        for x, place in zip(places[2], at, strict=True)
    )


def test_a_line_breaks_where_a_median_is_no_number() -> None:
    numbers = (0.5, 0.4, math.nan, 0.2)
    library = Records({str(k): measured(r=number) for k, number in enumerate(numbers)})
    conditions = [of({f"layer{k}": (str(k),)}) for k in range(len(numbers))]
    asked = LineChart(title="r", lines=(LineSource(name="Adam", claim="Z", value="r"),))
    chart = line_chart(asked, conditions, library)
    assert chart is not None
    *_, line = chart.drawing.strokes
    assert [len(piece.split()) for piece in line.path.split("M")[1:]] == [4, 2]  # two points, one


def test_a_chart_of_nothing_but_failures_can_be_drawn() -> None:
    line = LineSource(name="Adam", claim="Z", value="r")
    for rule, scale in itertools.product((None, 1.0), Scale):
        asked = LineChart(title="r", lines=(line,), scale=scale, rule=rule)
        chart = charted(asked, math.nan, math.nan)
        assert [label for _, label in chart.drawing.x_ticks] == ["conv1"]
        assert chart.drawing.marks == ()


# --- the page ---------------------------------------------------------------------------------


def test_figures_and_claims_lead_to_each_other(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    page = write_report(full_run(store), store, tmp_path / "out").read_text("utf-8")
    shown = re.findall(r'<details class="figure fold" id="figure-([\w-]+)"', page)
    assert shown == [key for key, figure in figures().items() if key in shown]  # in order
    assert {"layers-untrained", "distances-50"} <= set(shown)
    assert "noise-blur" not in shown  # none of its claims is here
    assert page.count('href="#figure-distances-50"') == 2  # B3, and its own link
    figure = page[page.index('id="figure-distances-50"') : page.index('id="figure-conv5-50"')]
    assert 'href="#B3"' in figure
    assert "from <a" in figure  # m_g and m_r of A2
    assert 'class="picture"' not in figure  # B3 has no condition that names the decoder
    assert "None of it was measured in this run" in page


def test_an_example_of_what_was_trained_on_is_a_picture(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = record("noise", ratio=0.5)
    made = dataclasses.replace(made, thumbnails={"example": made.thumbnails["reconstruction"]})
    store.write(made)
    claim = make_claim("G1", "It is learnt.", event("z", PLAIN))
    item = condition(claim, {}, normal("x", 1, 0.1), records={"noise training": (made.id,)})
    page = write_report(make_run([item]), store, tmp_path / "out").read_text("utf-8")
    assert page.count("noise training: an image") == 4  # in the claim and in the figure
    assert page.count("<h3>Images</h3>") == 2  # it is no copy
    assert "Recovered images" not in page
    assert "distance of the copy from the target over" not in page
    copied = record("resnet50/conv1", ratio=0.5)
    store.write(copied)
    item = dataclasses.replace(item, records={**item.records, "reconstruction": (copied.id,)})
    page = write_report(make_run([item]), store, tmp_path / "out").read_text("utf-8")
    assert page.count("<h3>Recovered images</h3>") == 2
    assert "<h3>Images</h3>" not in page
