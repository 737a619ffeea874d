"""The article's figures: what is drawn in their place, and that it is there to be drawn."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
import itertools
import math
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import condition, full_run, make_claim, make_run, make_store, normal, record

import claims
from harness.assay import Assay
from harness.claim import Criterion, Scale, event
from harness.draw import Draw
from harness.lab import Custom, Lab
from harness.plan import Profile as Sizes
from harness.results import ConditionResult
from harness.store import Record, Store
from reports.article import STAR, Figure, Line, Profile, Some, figures
from reports.profiles import chosen, points_of, profile_chart, specifications
from reports.write import write_report

PLAIN = Criterion(effect="x", label="x", above=0.25)


# --- what the article's figures name ----------------------------------------------------------


def stated_tests() -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Tests of all claims, with each of their parameters."""
    for module in pkgutil.iter_modules(claims.__path__):
        if not module.name.startswith("test_"):
            continue
        for name, test in vars(importlib.import_module(f"claims.{module.name}")).items():
            if not name.startswith("test_") or not callable(test):
                continue
            marks = {mark.name: mark for mark in getattr(test, "pytestmark", ())}
            varied = {
                mark.args[0]: list(mark.args[1])
                for mark in getattr(test, "pytestmark", ())
                if mark.name == "parametrize"
            }
            if "networks" in marks:
                varied["network"] = list(marks["networks"].args)
            for values in itertools.product(*varied.values()):
                yield test, dict(zip(varied, values, strict=True))


@pytest.fixture(scope="module")
def assays() -> list[Assay]:
    stated: list[Assay] = []
    for test, parameters in stated_tests():
        lab = Lab(
            profile=Sizes("quick"),
            custom=Custom(),
            precision="float32",
            parameters=parameters,
            receive=stated.append,
            weights=Path("weights"),
            imagenet=None,
        )
        test(lab=lab, **parameters)
    return stated


def fitting(some: Some, assays: list[Assay]) -> list[Assay]:
    return [
        assay
        for assay in assays
        if assay.claim.id == some.claim
        and all(
            name in assay.parameters and value in (STAR, assay.parameters[name])
            for name, value in some.where.items()
        )
    ]


@pytest.mark.parametrize("figure", figures().values(), ids=lambda figure: figure.key)
def test_what_a_figure_is_drawn_from_is_measured(figure: Figure, assays: list[Assay]) -> None:
    assert figure.claims
    assert figure.pictures or figure.traces or figure.charts
    for some in (*figure.pictures, *figure.traces):
        assert fitting(some, assays), some
    for line in (line for profile in figure.charts for line in profile.lines):
        found = fitting(line, assays)
        assert found, line
        stars = [line.value, *map(str, line.where.values())].count(STAR) + line.value.count("_*")
        assert stars <= 1, line
        here = [assay for assay in found if assay.absent is None]
        roles = {role for assay in here for role in assay.cells(Draw(replicate=0))}
        assert not here or fnmatch.filter(roles, line.role), line


def test_every_figure_of_the_article_that_shows_a_measurement_is_here() -> None:
    files = {figure.file for figure in figures().values()}
    assert len(files) == 22
    assert {"layer_distances.png", "scaled_gaussian_noise.png", "tesla_representation.png"} <= files


# --- medians over replicates ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Records:
    """Records in memory."""

    kept: Mapping[str, Record]

    def read(self, identity: str) -> Record | None:
        return self.kept.get(identity)


def measured(**values: float) -> Record:
    return dataclasses.replace(record("z", ratio=0.5), values=values)


CLAIM = make_claim("Z", "z", event("z", PLAIN))
KEPT = Records(
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
        ({"value": "r"}, {"conv1": [0.1, 0.3], "of conv2": [0.5, 0.5]}),
        ({"value": "r", "role": "of *"}, {"conv2": [0.5, 0.5]}),
        ({"value": "m_g / m_r"}, {"conv1": [0.5, 1.0]}),  # over 0 there is none
        ({"value": "r", "where": {"cut": STAR}, "role": "conv1"}, {"4": [0.1, 0.3]}),
        ({"value": "at_*", "role": "stack"}, {"2": [2.0], "10": [1.0]}),
        ({"value": "r", "role": "conv1"}, {"name": [0.1, 0.3]}),
        ({"value": "r", "where": {"cut": 5}}, {}),
        ({"value": "unknown"}, {}),
    ],
)
def test_points_are_taken_along_the_star(
    line: dict[str, Any], expected: dict[str, list[float]]
) -> None:
    conditions = [
        of({"conv1": ("a0", "a1", "missing"), "of conv2": ("b0", "b0")}, cut=4),
        of({"stack": ("c0",)}, other=1),
    ]
    asked = Line(name="name", claim="Z", **line)
    found = points_of(asked, conditions, KEPT)
    known = {at: [v for v in values if not math.isnan(v)] for at, values in found.items()}
    assert {at: values for at, values in known.items() if values} == expected
    assert [at for at, values in known.items() if values] == list(expected)


def test_conditions_are_chosen_by_claim_and_parameters() -> None:
    one, other = of({}, cut=4, network="a"), of({}, cut=5, network="a")
    assert chosen(Some(claim="Z", where={"network": "a"}), [one, other]) == [one, other]
    assert chosen(Some(claim="Z", where={"cut": 5}), [one, other]) == [other]
    assert chosen(Some(claim="Z", where={"decoder": STAR}), [one, other]) == []
    assert chosen(Some(claim="Y"), [one, other]) == []


def test_a_profile_has_medians_and_the_middle_half() -> None:
    kept = Records({str(k): measured(r=float(k)) for k in range(5)})
    lines = (
        Line(name="measured", claim="Z", value="r"),
        Line(name="not measured", claim="Y", value="r"),
    )
    asked = Profile(title="r by layer", lines=lines, rule=2.5)
    chart = profile_chart(asked, [of({"conv1": tuple("01234")})], kept)
    assert chart is not None
    line, rule = chart.tables
    assert line == {
        "run": "measured", "series": 1, "at": ["conv1"],
        # A logarithmic axis has no place for 0.
        "value": [2.5], "low": [1.75], "high": [3.25], "n": [4],
    }  # fmt: skip
    assert rule == {"level": 2.5}
    assert chart.description == "r by layer: measured: conv1 2.50"
    linear = profile_chart(
        dataclasses.replace(asked, scale=Scale.LINEAR), [of({"conv1": tuple("01234")})], kept
    )
    assert linear is not None
    assert (linear.spec, linear.tables[0]["value"]) == ("profile-linear-rule", [2.0])
    assert profile_chart(asked, [], kept) is None


def test_the_specifications_of_profiles_are_valid_vega_lite() -> None:
    found = {name: make().to_dict(validate=True) for name, make in specifications().items()}
    assert set(found) == {
        "profile-log", "profile-log-rule", "profile-linear", "profile-linear-rule",
    }  # fmt: skip
    assert all(spec["data"] == {"name": "rows"} for spec in found.values())


# --- the page ---------------------------------------------------------------------------------


def test_figures_and_claims_lead_to_each_other(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    page = write_report(full_run(store), store, tmp_path / "out").read_text("utf-8")
    shown = re.findall(r'<details class="figure fold" id="figure-([\w-]+)"', page)
    assert shown == [key for key, figure in figures().items() if key in shown]  # in order
    assert {"layers-untrained", "distances-50", "iterations"} <= set(shown)
    assert "noise-blur" not in shown  # none of its claims is here
    assert page.count('href="#figure-distances-50"') == 2  # B3, and its own link
    figure = page[page.index('id="figure-distances-50"') : page.index('id="figure-conv5-50"')]
    assert 'href="#B3"' in figure
    assert "from <a" in figure  # m_g and m_r of A2
    assert 'class="picture"' not in figure  # B3 has no condition that names the decoder
    assert "Nothing of it was measured in this run" in page


def test_an_example_of_what_was_trained_on_is_a_picture(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = record("noise", ratio=0.5)
    made = dataclasses.replace(made, thumbnails={"example": made.thumbnails["copy"]})
    store.write(made)
    claim = make_claim("G1", "It is learnt.", event("z", PLAIN))
    item = condition(claim, {}, normal("x", 1, 0.1), records={"noise training": (made.id,)})
    page = write_report(make_run([item]), store, tmp_path / "out").read_text("utf-8")
    assert page.count("noise training: an image") == 4  # in the claim and in the figure


def test_a_figure_without_records_of_its_store_is_still_listed(tmp_path: Path) -> None:
    claim = make_claim("C7", "It decays.", event("z", PLAIN))
    item = condition(claim, {}, normal("x", 1, 0.1), records={"1000": ("a" * 64,)})
    empty: Store = make_store(tmp_path)
    page = write_report(make_run([item]), empty, tmp_path / "out").read_text("utf-8")
    assert 'id="figure-iterations"' in page
