"""How to cite a run: in words and as BibTeX."""

from __future__ import annotations

import datetime as dt

from reports.summary import Summary, extent_text, setting_text
from reports.words import counts_text

_TITLE = "depth-claims: executable claims of the article Input Representations and Depth"


def citation(summary: Summary) -> str:
    """A sentence to cite and a BibTeX entry; both give the digest of the claims and the commit."""
    run = summary.run
    found = counts_text(item.verdict for item in summary.claims)
    commit = str(run.provenance.get("commit") or "unknown")[:12]
    digest = run.claims_digest[:12]
    ended = _date(run.ended)
    extent = "" if run.whole else f"{extent_text(run)}, "
    note = (
        f"Run of {ended or 'an unknown date'} (profile {setting_text(run)}, {extent}"
        f"commit {commit}, claims {digest}): {found}"
    )
    entry = {"title": f"{{{_TITLE}}}", "year": ended[:4] or "n.d.", "note": note}
    fields = "".join(f"  {name} = {{{value}}},\n" for name, value in entry.items())
    return f"{_TITLE}. {note}.\n\n@misc{{depth-claims-{digest},\n{fields}}}\n"


def _date(text: str) -> str:
    """The day of a time; empty for any other text."""
    try:
        return dt.datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return ""
