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
    ended = dt.datetime.fromisoformat(run.ended).date().isoformat()
    extent = "" if run.whole else f"{extent_text(run)}, "
    note = (
        f"Run of {ended} (profile {setting_text(run)}, {extent}"
        f"commit {commit}, claims {digest}): {found}"
    )
    entry = {"title": f"{{{_TITLE}}}", "year": ended[:4], "note": note}
    fields = "".join(f"  {name} = {{{value}}},\n" for name, value in entry.items())
    return f"{_TITLE}. {note}.\n\n@misc{{depth-claims-{digest},\n{fields}}}\n"
