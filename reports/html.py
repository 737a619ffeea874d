"""The page of a run: views for the templates, and the templates rendered."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence

import jinja2

from harness.claim import Criterion, Kind
from harness.errors import StoreError
from harness.results import ConditionResult, Run, Table
from harness.store import Record, Store
from harness.verdict import Part, Verdict
from reports import charts, intervals, words
from reports.document import plain
from reports.intervals import Axis, Bar
from reports.pictures import Album, Gallery, galleries
from reports.summary import (
    ClaimSummary,
    HeadlineSummary,
    Summary,
    condition_name,
    deciding_part,
    effect_of,
)

PICTURES_LIMIT = 4 * 2**20
"""Characters of base64 that the images of a page may take, so that it stays below 8 MiB."""

_CHARTS_LIMIT = 150
_BARS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectView:
    """One effect of a condition in words and drawn."""

    label: str
    text: str
    fold: str
    claimed: str
    events: str
    axis: Axis | None
    bar: Bar | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableView:
    """A table beside a condition, its numbers as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionView:
    """A row of a table of conditions."""

    name: str
    verdict: Verdict
    reason: str
    n: int
    invalid: str
    effects: tuple[EffectView, ...]
    deciding: EffectView | None
    tables: tuple[TableView, ...]
    command: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimandView:
    """How one estimand of a claim was judged, and its conditions."""

    text: str
    kind: str
    claimed: str
    axes: tuple[tuple[str, Axis], ...]
    confirmatory: tuple[ConditionView, ...]
    beside: tuple[ConditionView, ...]
    replicates: tuple[str, ...]
    presupposes_descent: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceView:
    """The traces of one replicate, in charts with common lines."""

    name: str
    series: tuple[str, ...]
    charts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimView:
    """Everything that the page shows of a claim."""

    summary: ClaimSummary
    shown: ConditionView | None
    bars: tuple[Bar, ...]
    more_bars: int
    estimands: tuple[EstimandView, ...]
    traces: tuple[TraceView, ...]
    galleries: tuple[Gallery, ...]
    problems: tuple[str, ...]


def render(summary: Summary, store: Store) -> str:
    """The page as one document that needs nothing else."""
    pages = _Pages(store)
    claims = {item.claim.id: pages.claim(item) for item in summary.claims}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters.update(
        typeset=words.typeset, terms=terms, slug=slug, when=_when, sentence=words.sentence
    )
    return environment.get_template("report.html").render(
        run=summary.run,
        summary=summary,
        claims=claims,
        groups=_groups(summary),
        counts=words.counts(item.verdict for item in summary.claims),
        meanings=words.VERDICT_MEANINGS,
        facts=_facts(summary.run),
        album=pages.album,
        specifications=charts.specifications() if pages.charts else {},
        charts={
            key: {
                "spec": chart.spec,
                "description": chart.description,
                "height": chart.height,
                "tables": chart.tables,
            }
            for key, chart in pages.charts.items()
        },
        titles={key: chart.title for key, chart in pages.charts.items()},
        charts_left_out=pages.charts_left_out,
        runtime=charts.runtime() if pages.charts else "",
    )


_TERM = re.compile(r"\b([amO])_([a-z0])\b")


def terms(text: str) -> list[tuple[str, str, str]]:
    """A text split at the article's symbols: plain text, then a letter with its index.

    >>> terms("m_g falls")
    [('', 'm', 'g'), (' falls', '', '')]
    """
    found = []
    end = 0
    for match in _TERM.finditer(text):
        found.append((text[end : match.start()], match[1], match[2]))
        end = match.end()
    return [*found, (text[end:], "", "")]


def slug(text: str) -> str:
    """A text as the name of an anchor."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "claim"


class _Pages:
    """Views of claims, with the charts and images that they ask for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, Record | str] = {}
        self._problems: list[str] = []
        self.album = Album(limit=PICTURES_LIMIT)
        self.charts: dict[str, charts.Chart] = {}
        self.charts_left_out = 0

    def claim(self, summary: ClaimSummary) -> ClaimView:
        """The view of one claim."""
        self._problems = []
        weakest = intervals.weakest_parts(summary.confirmatory)
        shown = summary.shown
        by_estimand = _by_estimand(summary.conditions)
        axes = {name: _axes(conditions) for name, conditions in by_estimand.items()}
        drawn = intervals.toward(
            (part, condition.decision.verdict, condition_name(condition))
            for part, condition in weakest
        )
        cells = self._cells(summary)
        return ClaimView(
            summary=summary,
            shown=None if shown is None else _condition(shown, axes[shown.estimand]),
            bars=drawn[:_BARS],
            more_bars=max(0, len(drawn) - _BARS),
            estimands=tuple(
                self._estimand(conditions, axes[name]) for name, conditions in by_estimand.items()
            ),
            traces=self._traces(cells),
            galleries=galleries(_captions(cells), self.album),
            problems=tuple(self._problems),
        )

    def _estimand(
        self, conditions: Sequence[ConditionResult], axes: Mapping[str, Axis]
    ) -> EstimandView:
        judged_by = conditions[0].judged_by
        groups = _by_effect(judged_by.criteria)
        return EstimandView(
            text=judged_by.text,
            kind=words.KIND_WORDS[judged_by.kind],
            claimed=words.parts_text(judged_by),
            axes=tuple(
                (group[0].label, axes[name]) for name, group in groups.items() if name in axes
            ),
            confirmatory=tuple(_condition(c, axes) for c in conditions if c.confirmatory),
            beside=tuple(_condition(c, axes) for c in conditions if not c.confirmatory),
            replicates=tuple(
                key
                for group in groups.values()
                if (
                    key := self._chart(
                        charts.replicate_chart(
                            conditions, judged_by.criteria.index(group[0]), title=group[0].label
                        )
                    )
                )
            ),
            presupposes_descent=judged_by.presupposes_descent,
        )

    def _traces(self, cells: Sequence[_Cells]) -> tuple[TraceView, ...]:
        views = []
        for name, records in _panels(cells):
            found = [
                charts.trace_chart(
                    "m_g", records, title="m_g, distance of the outputs", reference="m_r"
                ),
                charts.trace_chart("m_i", records, title="m_i, distance of the inputs"),
            ]
            keys = tuple(key for chart in found if (key := self._chart(chart)))
            if keys:
                views.append(TraceView(name=name, series=tuple(records), charts=keys))
        return tuple(views)

    def _chart(self, chart: charts.Chart | None) -> str | None:
        if chart is None:
            return None
        if len(self.charts) >= _CHARTS_LIMIT:
            self.charts_left_out += 1
            return None
        key = f"chart-{len(self.charts) + 1}"
        self.charts[key] = chart
        return key

    def _cells(self, summary: ClaimSummary) -> list[_Cells]:
        """The first replicate's records by role, for each condition that has its own."""
        found: list[_Cells] = []
        seen: set[frozenset[str]] = set()
        for condition in (*summary.confirmatory, *summary.beside):
            ids = {role: names[0] for role, names in condition.records.items() if names}
            key = frozenset([*ids.values(), *condition.gallery.values()])
            if not ids or key in seen:
                continue
            seen.add(key)
            found.append(
                _Cells(
                    condition=condition,
                    records=self._read_all(ids),
                    gallery=self._read_all(condition.gallery),
                )
            )
        return found

    def _read_all(self, ids: Mapping[str, str]) -> dict[str, Record]:
        return {
            role: record
            for role, identity in ids.items()
            if (record := self._read(identity)) is not None
        }

    def _read(self, identity: str) -> Record | None:
        """A record; one that cannot be read is named in every claim that asks for it."""
        if identity not in self._records:
            try:
                self._records[identity] = self._store.read(identity)
            except StoreError as error:
                self._records[identity] = f"Record {identity[:12]}: {error.rule}. {error.remedy}."
        found = self._records[identity]
        if isinstance(found, str):
            self._problems.append(found)
            return None
        return found


def _condition(condition: ConditionResult, axes: Mapping[str, Axis]) -> ConditionView:
    decision = condition.decision
    exact = condition.judged_by.kind is Kind.EXACT
    effects = {
        name: _effect(part, group, axes.get(name), verdict=_mark(part, condition), exact=exact)
        for name, group in _by_effect(condition.judged_by.criteria).items()
        if (part := _weakest(decision.parts, group)) is not None
    }
    weakest = deciding_part(condition)
    return ConditionView(
        name=words.parameters_text(condition.parameters),
        verdict=decision.verdict,
        reason=decision.reason,
        n=decision.n,
        invalid=", ".join(f"{cause}: {count}" for cause, count in decision.invalid.items()),
        effects=tuple(effects.values()),
        deciding=None if weakest is None else effects.get(weakest.criterion.effect),
        tables=tuple(_table(table) for table in condition.tables),
        command=condition.command,
    )


def _effect(
    part: Part, group: Sequence[Criterion], on: Axis | None, *, verdict: Verdict, exact: bool
) -> EffectView:
    effect = effect_of(part)
    how = "hold" if exact else "as claimed"
    return EffectView(
        label=part.criterion.label,
        text=words.effect_text(effect),
        fold="" if effect is None else words.fold(effect),
        claimed=words.bounds_text(group),
        events=f"{part.events} of {part.n} {how}",
        axis=on,
        bar=None if on is None else intervals.bar(part, on, verdict=verdict),
    )


def _table(table: Table) -> TableView:
    return TableView(
        title=table.title,
        columns=table.columns,
        rows=tuple(tuple(_cell_text(cell) for cell in row) for row in table.rows),
    )


def _cell_text(cell: str | int | float) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell if isinstance(cell, str) else words.number(cell)


def _mark(part: Part, condition: ConditionResult) -> Verdict:
    """The verdict that a part's interval is marked with: its own where there are several."""
    decision = condition.decision
    decided = decision.verdict in (Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE)
    if condition.judged_by.kind is not Kind.CONJUNCTION or not decided:
        return decision.verdict
    alpha = condition.claim.alpha
    if part.p_supported <= alpha:
        return Verdict.SUPPORTED
    refuted = len(decision.parts) * part.p_refuted <= alpha
    return Verdict.REFUTED if refuted else Verdict.INCONCLUSIVE


def _weakest(parts: Iterable[Part], group: Sequence[Criterion]) -> Part | None:
    own = [part for part in parts if part.criterion in group]
    return max(own, key=lambda part: (part.p_supported, -part.p_refuted), default=None)


def _by_effect(criteria: Iterable[Criterion]) -> dict[str, list[Criterion]]:
    grouped: dict[str, list[Criterion]] = {}
    for criterion in criteria:
        grouped.setdefault(criterion.effect, []).append(criterion)
    return grouped


def _by_estimand(conditions: Iterable[ConditionResult]) -> dict[str, list[ConditionResult]]:
    grouped: dict[str, list[ConditionResult]] = {}
    for condition in conditions:
        grouped.setdefault(condition.estimand, []).append(condition)
    return grouped


def _axes(conditions: Sequence[ConditionResult]) -> dict[str, Axis]:
    """One axis per effect, common to all conditions of an estimand."""
    found = {}
    for name, group in _by_effect(conditions[0].judged_by.criteria).items():
        parts = [part for c in conditions for part in c.decision.parts if part.criterion in group]
        on = intervals.axis(parts)
        if on is not None:
            found[name] = on
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cells:
    """The records of one replicate of a condition by role, and those to look at."""

    condition: ConditionResult
    records: Mapping[str, Record]
    gallery: Mapping[str, Record]


def _captions(cells: Sequence[_Cells]) -> dict[str, Record]:
    """Records by what tells them apart: the condition, and the role where it has several."""
    captions: dict[str, Record] = {}
    for item in cells:
        name = words.parameters_text(item.condition.parameters)
        pictures = item.gallery or item.records
        for role, record in pictures.items():
            several = len(pictures) > 1
            caption = " · ".join(text for text in (name, role if several else "") if text)
            captions.setdefault(caption or role, record)
    return captions


def _panels(cells: Sequence[_Cells]) -> list[tuple[str, dict[str, Record]]]:
    """Records that share a chart, under what they have in common.

    The roles of a condition share one; of conditions with a single role, those that differ in
    their last parameter alone do.
    """
    grouped: dict[tuple[str, int], dict[str, Record]] = {}
    for number, item in enumerate(cells):
        parameters = list(item.condition.parameters.items())
        if len(item.records) > 1:
            name = words.parameters_text(dict(parameters))
            grouped[name, number] = dict(item.records)
            continue
        for role, record in item.records.items():
            common = words.parameters_text(dict(parameters[:-1]))
            own = words.parameters_text(dict(parameters[-1:])) or role
            grouped.setdefault((common, -1), {}).setdefault(own, record)
    return [
        (name, dict(lines[start : start + charts.SERIES]))
        for (name, _), records in grouped.items()
        if (lines := list(records.items()))
        for start in range(0, len(lines), charts.SERIES)
    ]


def _groups(
    summary: Summary,
) -> list[tuple[HeadlineSummary | None, list[tuple[ClaimSummary, bool]]]]:
    """Claims under their headlines, each with whether it stands beside; the others at the end."""
    groups: list[tuple[HeadlineSummary | None, list[tuple[ClaimSummary, bool]]]] = [
        (
            headline,
            [
                *((item, False) for item in headline.claims),
                *((item, True) for item in headline.beside),
            ],
        )
        for headline in summary.headlines
    ]
    if summary.others:
        groups.append((None, [(item, False) for item in summary.others]))
    return groups


def _facts(run: Run) -> list[tuple[str, str]]:
    """Provenance as pairs of words."""
    provenance = dict(run.provenance)
    commit = str(provenance.pop("commit", None) or "unknown")
    dirty = provenance.pop("dirty", None)
    facts = [
        ("Commit", commit + (", with uncommitted changes" if dirty else "")),
        ("Claims digest (SHA-256)", run.claims_digest),
        ("Profile", run.profile),
        ("Device", run.device),
        ("Ended", run.ended),
        ("Time", words.duration(run.seconds)),
        ("Cells", f"{run.measured} measured, {run.reused} reused from the store"),
        *((f"Your {name}", value) for name, value in run.custom.items()),
    ]
    provenance.pop("device", None)  # told above
    for key, value in provenance.items():
        facts.append((key.replace("_", " ").capitalize(), _flat(value)))
    return facts


def _flat(value: object) -> str:
    simple = plain(value)
    if isinstance(simple, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in simple.items())
    if isinstance(simple, list):
        return ", ".join(_flat(item) for item in simple)
    if isinstance(simple, bool):
        return "yes" if simple else "no"
    return "unknown" if simple is None else str(simple)


def _when(text: str) -> str:
    """A date in words; text that is no date as it is."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M}"
