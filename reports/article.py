"""What a claim answers in the article, and why its margin is what it is."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from importlib import resources


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A claim's place in the article.

    Parameters
    ----------
    figure : str
        The figure that it answers, in words with its file; empty where the article claims it in
        words alone.
    margin : str
        Why its margin is what it is; empty where nothing is noted.
    """

    figure: str = ""
    margin: str = ""


@functools.cache
def answers() -> dict[str, Answer]:
    """All that is noted, by claim."""
    noted = tomllib.loads(resources.files("reports").joinpath("article.toml").read_text("utf-8"))
    return {
        claim: Answer(
            figure=noted["figures"][entry["figure"]] if "figure" in entry else "",
            margin=entry["margin"],
        )
        for claim, entry in noted["claims"].items()
    }
