"""How exact claims are tested: hypothesis searches for a counterexample."""

from __future__ import annotations

from harness.claim import Claim
from harness.lab.lab import Lab
from harness.plan.cells import BATCH, Search


def search(
    lab: Lab,
    claim: Claim,
    statement: str,
    *,
    estimand: str | None = None,
    confirmatory: bool = True,
) -> None:
    """Judge an exact claim, whose effect is named "residual", by twelve searches.

    A replicate is a search with its own seeds. One counterexample refutes; it is shrunk to the
    simplest one that can be found.

    Parameters
    ----------
    lab, claim, estimand, confirmatory
        As in `Lab.judge`.
    statement : str
        Name of the statement, one of `harness.measurements.exact.statements`.
    """
    (criterion,) = claim.estimands[estimand or next(iter(claim.estimands))].criteria
    lab.judge(
        claim,
        estimand=estimand,
        cells=lambda seeds: {
            "search": Search(
                seeds=seeds,
                statement=statement,
                examples=lab.profile.pick(quick=25, standard=100, article=400),
                below=criterion.margin,
                batch=BATCH,
            )
        },
        effects=lambda seen: {
            "residual": seen["search"].values["residual"],
            "examples that hold, per search": seen["search"].values["tried"],
        },
        confirmatory=confirmatory,
        max_replicates=BATCH,
    )
