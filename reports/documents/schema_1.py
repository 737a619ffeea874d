"""Documents of the first schema, upgraded before they are decoded.

They call a layer a "cut" and a reconstruction a "copy", and separate a claim
from its results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA = 1

NAMES = {
    "cut": "layer",
    "copy": "reconstruction",
    "copy before": "reconstruction before",
}
"""Old and new names of parameters, estimands and roles."""

PROVENANCE = {"ceiling": "peak_rate", "draw": "seeds"}
"""Old and new names in a run's provenance."""

Json = Mapping[str, Any]


def upgraded(content: Json) -> dict[str, Any]:
    """A document of the first schema in the form of the second."""
    run = content["run"]
    return {
        **content,
        "schema": 2,
        "run": {
            **run,
            "provenance": _renamed(run["provenance"], PROVENANCE),
            "multiverses": {
                claim: _renamed(estimands) for claim, estimands in run["multiverses"].items()
            },
        },
        "claims": [_claim(item, run["claims"][item["id"]]) for item in content["claims"]],
    }


def _claim(item: Json, frozen: Json) -> dict[str, Any]:
    return {
        **frozen,
        **item,
        "related_headline": frozen["beside_headline"],
        "estimands": _renamed(frozen["estimands"]),
        "conditions": [_condition(each, frozen) for each in item["conditions"]],
    }


def _condition(item: Json, frozen: Json) -> dict[str, Any]:
    evidence = item["evidence"]
    criteria = frozen["estimands"][evidence["estimand"]]["criteria"]
    return {
        **item,
        "parameters": _renamed(item["parameters"]),
        "evidence": {
            **evidence,
            "estimand": NAMES.get(evidence["estimand"], evidence["estimand"]),
            "records": _renamed(evidence["records"]),
            # One part per criterion in their order, or none at all.
            "parts": [
                {**part, "criterion": criterion}
                for part, criterion in zip(evidence["parts"], criteria, strict=False)
            ],
        },
    }


def _renamed(items: Json, names: Mapping[str, str] = NAMES) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in items.items()}
