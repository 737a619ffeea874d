"""Claims of two runs are the same if the same rules decide them, whatever their wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

from harness.claim import Claim


def rules(claim: Claim) -> Hashable:
    """What decides a claim: its estimands without their wording, its alpha and its looks."""
    estimands = tuple(
        (
            name,
            estimand.kind,
            estimand.presupposes_descent,
            tuple(dataclasses.replace(criterion, label="") for criterion in estimand.criteria),
        )
        for name, estimand in claim.estimands.items()
    )
    return estimands, claim.alpha, claim.looks
