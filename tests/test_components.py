"""Variance components against published data, statsmodels, and blocks with known truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from harness.errors import ClaimError
from harness.statistics.components import Components, components

Floats = npt.NDArray[np.float64]
FACTORS = ("network", "image", "start")

# Diameters of growth inhibition, a string a plate (24) of six samples of penicillin: Davies and
# Goldsmith, Statistical Methods in Research and Production, 4th ed. (1972), section 6.6; the data
# set `Penicillin` of R's lme4.
PENICILLIN = """
    27 23 26 23 23 21  27 23 26 23 23 21  25 21 25 24 24 20  26 23 25 23 23 20  25 22 26 22 23 20
    24 22 25 23 22 19  24 20 23 21 22 19  26 22 26 24 24 21  24 21 24 22 22 20  24 21 24 23 22 19
    26 23 26 24 24 21  25 22 26 24 24 20  26 24 26 24 25 22  26 23 26 23 23 20  26 23 25 24 24 22
    25 22 25 23 23 20  25 21 24 23 23 20  25 22 24 23 23 19  24 21 23 21 21 19  26 23 26 24 24 21
    25 21 24 22 22 18  25 22 25 22 22 20  24 21 24 22 24 19  24 21 24 22 21 18
"""


def block(
    rng: np.random.Generator, shape: tuple[int, ...], sd: dict[tuple[int, ...], float]
) -> Floats:
    """A crossed block with a normal term for each set of axes, given its standard deviation."""
    made = np.zeros(shape)
    for axes, size in sd.items():
        own = tuple(n if axis in axes else 1 for axis, n in enumerate(shape))
        made = made + size * rng.normal(size=own)
    return made


def found(values: npt.ArrayLike, factors: tuple[str, ...] = FACTORS) -> Components:
    estimated = components(values, factors=factors, rng=np.random.default_rng(0))
    assert estimated is not None
    return estimated


def variances(estimated: Components) -> dict[tuple[str, ...], float]:
    return {part.source: part.variance for part in estimated.parts}


def long_form(values: Floats) -> pd.DataFrame:
    index = np.indices(values.shape).reshape(values.ndim, -1)
    return pd.DataFrame({"y": values.ravel(), **dict(zip("nis", index, strict=False))})


def test_published_components_of_penicillin() -> None:
    """REML, as lme4's documentation has it: plate 0.7169, sample 3.7311, residual 0.3024."""
    values = np.array(PENICILLIN.split(), dtype=float).reshape(24, 6)
    estimated = found(values, ("plate", "sample"))
    assert variances(estimated) == pytest.approx(
        {("plate",): 0.7169, ("sample",): 3.7311, ("plate", "sample"): 0.3024}, rel=2e-4
    )
    assert estimated.mean == pytest.approx(22.9722, abs=5e-5)
    assert estimated.variance == pytest.approx(0.7169 + 3.7311 + 0.3024, rel=2e-4)
    assert sum(part.share for part in estimated.parts) == pytest.approx(1)
    assert [part.source for part in estimated.parts][:2] == [("sample",), ("plate",)]
    assert estimated.dominant is not None
    assert estimated.dominant.source == ("sample",)


def test_mean_squares_are_those_of_the_analysis_of_variance() -> None:
    """statsmodels' table, put into the expected mean squares by hand."""
    a, b, c = shape = (4, 5, 3)
    sd = {(0,): 2.0, (1,): 1.0, (2,): 1.5, (0, 1): 0.7, (0, 2): 0.6, (1, 2): 0.8, (0, 1, 2): 0.3}
    values = block(np.random.default_rng(3), shape, sd)
    table = anova_lm(ols("y ~ (C(n) + C(i) + C(s)) ** 2", long_form(values)).fit())
    ms = {name: float(row["mean_sq"]) for name, row in table.iterrows()}
    rest = ms["Residual"]
    n_i, n_s, i_s = ms["C(n):C(i)"], ms["C(n):C(s)"], ms["C(i):C(s)"]
    expected = {
        ("network",): (ms["C(n)"] - n_i - n_s + rest) / (b * c),
        ("image",): (ms["C(i)"] - n_i - i_s + rest) / (a * c),
        ("start",): (ms["C(s)"] - n_s - i_s + rest) / (a * b),
        ("network", "image"): (n_i - rest) / c,
        ("network", "start"): (n_s - rest) / b,
        ("image", "start"): (i_s - rest) / a,
        FACTORS: rest,
    }
    assert min(expected.values()) > 0  # so that nothing was cut off at 0
    assert variances(found(values)) == pytest.approx(expected)


def test_known_components_are_found_on_average_and_within_their_intervals() -> None:
    rng = np.random.default_rng(7)
    truth = {(0,): 1.0, (1,): 2.0, (2,): 0.5, (0, 1): 0.5, (0, 2): 0.3, (1, 2): 0.3, (0, 1, 2): 1.0}
    total = sum(size**2 for size in truth.values())
    runs = [found(block(rng, (6, 10, 4), truth)) for _ in range(200)]
    for axes, size in truth.items():
        source = tuple(FACTORS[axis] for axis in axes)
        parts = [part for run in runs for part in run.parts if part.source == source]
        seen = np.array([part.variance for part in parts])
        error = seen.std() / np.sqrt(len(seen))
        assert seen.mean() == pytest.approx(size**2, abs=4 * error + 0.02)
        covered = np.mean([part.low <= size**2 / total <= part.high for part in parts])
        assert covered > 0.9
    assert np.mean([run.parts[0].source == ("image",) for run in runs]) > 0.9


def test_nothing_dominates_where_two_are_alike() -> None:
    rng = np.random.default_rng(2)
    terms = rng.normal(size=8)  # the same for both
    values = terms[:, None] + terms[None, :] + 0.1 * rng.normal(size=(8, 8))
    estimated = found(values, ("network", "image"))
    assert estimated.dominant is None
    assert "though not clearly" in estimated.statement


def test_what_is_not_balanced_or_does_not_vary_is_not_estimated() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 4))
    values[1, 2] = np.nan
    assert components(values, factors=("network", "image"), rng=rng) is None
    assert components(np.ones((3, 4)), factors=("network", "image"), rng=rng) is None
    for bad, factors in [
        (values[:1], ("network", "image")),
        (values, ("network",)),
        (values, ("image", "image")),
    ]:
        with pytest.raises(ClaimError, match="one axis a factor"):
            components(bad, factors=factors, rng=rng)
