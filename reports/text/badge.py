"""The status badge: how many claims have which verdict, as a small SVG."""

from __future__ import annotations

from harness.verdict.verdict import Verdict
from reports.page.template import environment
from reports.summary import Summary
from reports.words import counts

_COLOURS = {
    Verdict.SUPPORTED: "#17693f",
    Verdict.REFUTED: "#b3261e",
    Verdict.MIXED: "#75409b",
    Verdict.INCONCLUSIVE: "#825400",
}
_OTHER = "#5d5a54"
_LETTER = 6.4
_PAD = 6.0


def badge(summary: Summary) -> str:
    """The badge, with a count, a word and a colour for every verdict that occurs."""
    found = counts(item.verdict for item in summary.claims)
    name = "claims" if summary.run.whole else "claims of a partial run"
    if summary.run.custom:
        name += f" with one's own {' and '.join(sorted(summary.run.custom))}"
    texts = [(name, _OTHER)]
    texts += [
        (f"{count} {verdict.value}", _COLOURS.get(verdict, _OTHER))
        for verdict, count in found.items()
    ]
    boxes, x = [], 0.0
    for text, colour in texts:
        room = round(len(text) * _LETTER, 1)
        boxes.append({"text": text, "colour": colour, "x": x, "room": room})
        x = round(x + room + 2 * _PAD, 1)
    title = ", ".join(text for text, _ in texts[1:]) or "none"
    return (
        environment()
        .get_template("badge.svg")
        .render(boxes=boxes, width=x, pad=_PAD, title=f"{name}: {title}")
    )
