"""Search for a counterexample to an exact claim with hypothesis.

Random examples rarely reach the corner cases in which a general statement fails. hypothesis aims
for them (smallest sizes, equal values, zeros) and shrinks a failing example to the simplest one.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Generic, TypeVar

import hypothesis
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

Example = TypeVar("Example")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult(Generic[Example]):
    """The result of a search.

    Parameters
    ----------
    held : tuple
        Examples for which the claim held, in the order in which they were drawn.
    counterexample : object or None
        The simplest example found for which it does not hold.
    """

    held: tuple[Example, ...]
    counterexample: Example | None


def falsify(
    strategy: SearchStrategy[Example],
    holds: Callable[[Example], bool],
    *,
    examples: int,
    seed: int = 0,
) -> SearchResult[Example]:
    """Search for an example that fails.

    The same seed and version of hypothesis give the same examples.

    Parameters
    ----------
    strategy : SearchStrategy
        Draws examples.
    holds : callable
        Whether the claim holds for one; must depend on nothing else.
    examples : int
        Most examples to try before a failing one is shrunk.
    seed : int
        Of the examples.
    """
    held: list[Example] = []

    def fails(example: Example) -> bool:
        failed = not holds(example)
        if not failed:
            held.append(example)
        return failed

    quiet = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        # To explain a counterexample, hypothesis would vary it more often than it took to find it.
        phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
    )
    try:
        found = hypothesis.find(strategy, fails, settings=quiet, random=random.Random(seed))
    except NoSuchExample:
        found = None
    return SearchResult(held=tuple(held), counterexample=found)
