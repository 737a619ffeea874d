"""Numbers, effects and verdicts in words: one place that decides how they are written."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping

from harness.claim import Criterion, Estimand, Kind, Scale
from harness.verdict import reasons
from harness.verdict.verdict import Effect, Stop, Verdict

VERDICT_MARKS: Mapping[Verdict, str] = {
    Verdict.SUPPORTED: "✓",
    Verdict.REFUTED: "✗",
    Verdict.MIXED: "◐",
    Verdict.INCONCLUSIVE: "?",
    Verdict.INVALID: "!",
    Verdict.NOT_RUN: "-",
    Verdict.NOT_TESTABLE: "∅",
}
"""A mark of one column for each verdict, in the order in which verdicts are counted."""

VERDICT_MEANINGS: Mapping[Verdict, str] = {
    Verdict.SUPPORTED: "the measurements agree with the statement, beyond its margin",
    Verdict.REFUTED: "the measurements contradict the statement as it was laid down",
    Verdict.MIXED: "supported under some conditions, refuted under others",
    Verdict.INCONCLUSIVE: (
        "the replicates so far decide neither way, or some of its conditions do not or were not run"
    ),
    Verdict.INVALID: "too many runs failed a control, so nothing was judged",
    Verdict.NOT_RUN: "not measured in this run",
    Verdict.NOT_TESTABLE: "says nothing that a measurement could contradict",
}

KIND_WORDS: Mapping[Kind, str] = {
    Kind.EXACT: "Exact: it has to hold in every replicate; one counterexample refutes it.",
    Kind.EXISTENTIAL: (
        "Existential: one replicate in which it happens supports it. Refuted if it happens in less "
        "than the stated share of all replicates (exact binomial test)."
    ),
    Kind.EVENT: (
        "Event: each replicate either lies beyond the margin or does not. Supported if more than "
        "half of all replicates would (exact sign test)."
    ),
    Kind.PROPORTION: (
        "Proportion: each replicate either lies beyond the margin or does not. Supported if more "
        "than the stated share of all replicates would (exact binomial test)."
    ),
    Kind.TREND: (
        "Trend: each replicate gives one slope (Theil-Sen). Supported if more than half of all "
        "slopes would lie beyond the margin (exact sign test)."
    ),
    Kind.EQUIVALENCE: (
        "Equivalence: supported if the effect lies within the margins from both sides, each in "
        "more than half of all replicates (two exact sign tests)."
    ),
    Kind.CONJUNCTION: (
        "Conjunction: all parts have to hold, each in more than half of all replicates "
        "(intersection-union test)."
    ),
    Kind.UNTESTABLE: "Not testable: no measurement could contradict it.",
}

ENDING_MEANINGS: Mapping[str, str] = {
    "matched": "the copy's output came nearer to the target's than the noised image's output is",
    "plateau": "the loss no longer fell in the last quarter of the run",
    "not converged": "the loss was still falling when the run ended",
    "diverged": "the loss ended above where it began",
    "non-finite": "a value became infinite or not a number",
}
"""How a run may end, as the records' outcomes name it."""

STOP_WORDS: Mapping[Stop, str] = {
    Stop.DECIDED: "decided at this look, so no more replicates were drawn",
    Stop.COUNTEREXAMPLE: "ended by a counterexample",
    Stop.WITNESS: "ended by a witness",
    Stop.INVALID: "ended, since too many replicates were invalid",
    Stop.EXHAUSTED: "undecided at the last look of this profile",
}

DECODER_NAMES: Mapping[str, str] = {
    "Descent": "descent",
    "Adam": "Adam",
    "LBFGS": "L-BFGS",
    "GaussNewton": "Gauss-Newton",
    "LinearSolve": "linear solve",
}
"""Decoders by the type that a record's cell names."""

NETWORK_NAMES: Mapping[str, str] = {"MLP": "fully connected"}
"""Networks whose type says more than their name does."""

CONDITION_NAMES: Mapping[str, str] = {
    "article": "decoder: the article's descent, on ResNets with a blur after every step",
    "article-nominal": "decoder: the same at its own step, without blur",
    "article-falling": "decoder: the same without blur, at the largest step at which m_g falls",
    "adam, adam-blur": "decoder: Adam, whose step does not depend on the gradient's scale",
    "l-bfgs, gauss-newton": "decoders that use curvature, the strongest of all",
    "conv1, stem": "layers: the first convolution, and what follows it up to the pooling",
    "layer1 to layer4": "layers: the article's Conv2 to Conv5",
    "default, gaussian, orthogonal": "how weights are drawn; default: as torch does",
}
"""What stands for what in the names of conditions."""

_TEX: Mapping[str, str] = {
    "$": "",
    r"\theta": "θ",
    r"\epsilon": "ε",
    r"\nabla": "∇",
    r"\mathtt{x}": "x",
    r"\{": "{",
    r"\}": "}",
}
"""What little TeX there is in the article's words, and how it is written here."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# What follows the second may not compare once more: then it is the quotient that is compared.
_COMPARED = re.compile(r"([^\s/]+) / ([^\s/,]+)((?:,? (?!.*\bover\b)[^/]*)?)")
_PLACE = re.compile(r" at (\S+)")
_EPSILONS = re.compile(r",? in (machine )?epsilons$")
_ROUNDING = 100.0
"""Machine epsilons up to which a difference is rounding, as in the claims on exact inversion."""
_LARGEST_EXPONENT = math.log(1e300)


def number(value: float, *, digits: int = 3) -> str:
    """A number with three significant digits, in plain characters: "0.123", "12,300", "1.2e-11"."""
    return _digits(value, digits)


def setting(value: float, *, digits: int = 6) -> str:
    """A number that somebody chose, without zeros at its end: "0.05", "1e-6"."""
    text = _digits(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _digits(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "not finite" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{rounded:,.{decimals}f}"


def typeset(text: str) -> str:
    """Numbers of `number` with a true minus, and powers as powers, for readers of a page."""
    words = []
    for word in text.replace("R^2", "R²").split(" "):
        head, mark, tail = word.partition("e")
        core = tail.rstrip("×],)")
        if mark and head.lstrip("[-<>").replace(".", "", 1).isdigit() and _is_integer(core):
            power = str(int(core)).translate(_SUPERSCRIPTS)
            word = f"{head}·10{power}{tail[len(core) :]}"
        bare = word.lstrip("[")
        if bare.startswith("-") and (bare[1:2].isdigit() or bare[1:2] == "∞"):
            word = word.replace("-", "−", 1)
        words.append(word)
    return " ".join(words)


def without_tex(text: str) -> str:
    r"""The article's words as plain text.

    >>> without_tex(r"a gradient $\nabla_a O(a, \theta)$")
    'a gradient ∇_a O(a, θ)'
    """
    for written, shown in _TEX.items():
        text = text.replace(written, shown)
    return text


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def quantity(value: float | None, scale: Scale, *, bound: int = 0) -> str:
    """A value of an effect: as it is, or a log ratio as the ratio.

    Parameters
    ----------
    value : float or None
        None is an unbounded end of an interval.
    scale : Scale
        Of the effect.
    bound : int
        -1 for the lower end of an interval, 1 for the upper one, 0 for neither.
    """
    if value is None:
        return "∞" if bound > 0 else "0" if scale is Scale.LOG else "-∞"
    if scale is Scale.LINEAR or math.isnan(value):
        return number(value)
    if 0 < abs(value) < 0.1:  # near one, what counts is the distance from it
        decimals = min(6, 1 - math.floor(math.log10(abs(value))))
        return f"{math.exp(value):.{decimals}f}"
    return number(_exp(value))


def interval(effect: Effect) -> str:
    """The interval of an effect, "[0.09, 0.15]"."""
    low = quantity(effect.low, effect.scale, bound=-1)
    high = quantity(effect.high, effect.scale, bound=1)
    return f"[{low}, {high}]"


def effect_text(effect: Effect | None) -> str:
    """An effect with its interval, "0.12 [0.09, 0.15]"; a dash where there is none."""
    if effect is None:
        return "-"
    return f"{value_text(effect)} {interval(effect)}"


def value_text(effect: Effect) -> str:
    """An effect without its interval, "0.12" or, of a ratio, "0.12×"."""
    times = "×" if _is_ratio(effect.label, effect.scale) else ""
    return f"{quantity(effect.value, effect.scale)}{times}"


def otherwise(effect: Effect) -> str:
    """A number that is hard to read, said in another way; empty for any other effect.

    A ratio far below one is a fraction, "1/14.2". What is counted in machine epsilons is rounding,
    or a number that has nothing to do with it.
    """
    if _EPSILONS.search(effect.label) and effect.value:
        if abs(effect.value) <= _ROUNDING:
            return "rounding alone"
        return f"{number(effect.value * sys.float_info.epsilon)} of its scale, beyond rounding"
    far_below = _is_ratio(effect.label, effect.scale) and effect.value <= -math.log(2)
    return _fraction(effect.value) if far_below else ""


def finding(effect: Effect) -> str:
    """An effect as a sentence without its full stop: "Conv5: m_g is 1/14.2 of m_r [1/18, 1/11]".

    A ratio of two things is told as so many times the other, one clearly below it as a fraction;
    any other effect is told as its label and value.
    """
    if _EPSILONS.search(effect.label):
        return f"{_EPSILONS.sub('', effect.label)} is {otherwise(effect) or number(effect.value)}"
    compared = _COMPARED.fullmatch(effect.label) if effect.scale is Scale.LOG else None
    if compared is None:
        return f"{effect.label} is {effect_text(effect)}"
    one, other, rest = compared.groups()
    at = _PLACE.fullmatch(rest)
    where, rest = (f"{at[1]}: ", "") if at else ("", rest)
    if effect.value <= -math.log(2) and effect.high is not None and effect.high < 0:
        low = "0" if effect.low is None else _fraction(effect.low)
        times = f"{_fraction(effect.value)} of {other} [{low}, {_fraction(effect.high)}]"
    else:
        times = f"{quantity(effect.value, effect.scale)} times {other} {interval(effect)}"
    return f"{where}{one} is {times}{rest}"


def _fraction(value: float) -> str:
    """A log ratio below 0 as a fraction."""
    return f"1/{number(_exp(-value))}"


def margin_text(criterion: Criterion) -> str:
    """What is claimed of an effect, "> 0.25"."""
    sign = ">" if criterion.above is not None else "<"
    if criterion.scale is Scale.LINEAR:
        return f"{sign} {setting(criterion.margin)}"
    times = "×" if _is_ratio(criterion.label, criterion.scale) else ""
    digits = 3 if abs(criterion.margin) >= 0.01 else 5
    return f"{sign} {setting(_exp(criterion.margin), digits=digits)}{times}"


def bounds_text(criteria: Iterable[Criterion]) -> str:
    """What several criteria together claim of one effect, "1.95 to 2.05"."""
    ordered = sorted(dict.fromkeys(criteria), key=lambda criterion: criterion.margin)
    texts = [margin_text(criterion) for criterion in ordered]
    if len(texts) == 2 and texts[0].startswith(">") and texts[1].startswith("<"):
        return " to ".join(text[2:] for text in texts)
    return " and ".join(texts)


def parts_text(estimand: Estimand) -> str:
    """The estimand's criteria as one line, "m_i / m_i(0) < 0.25"."""
    grouped: dict[str, list[Criterion]] = {}
    for criterion in estimand.criteria:
        grouped.setdefault(criterion.label, []).append(criterion)
    return "; ".join(
        f"{label} {bounds_text(criteria)}"
        + "".join(
            f" in more than {number(share)} of replicates"
            for share in sorted({item.share for item in criteria if item.share != 0.5})
        )
        for label, criteria in grouped.items()
    )


def parameters_text(parameters: Mapping[str, str | int | float]) -> str:
    """A condition's parameters in one line: names of things alone, numbers with their name."""
    return " · ".join(
        _parameter(name.replace("_", " "), value) for name, value in parameters.items()
    )


def _parameter(name: str, value: str | int | float) -> str:
    if isinstance(value, str):
        return f"no {name}" if value == "none" else value
    return f"{name} {value if isinstance(value, int) else setting(value)}"


def sentence(text: str) -> str:
    """A reason as a sentence: a capital at its start (symbols stay), a full stop at its end."""
    text = text.strip()
    if text[1:2] != "_":
        text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".!?" else f"{text}."


def _is_ratio(label: str, scale: Scale) -> bool:
    """Whether an effect compares two things; other effects may be on a logarithmic scale too."""
    return scale is Scale.LOG and "/" in label


def _exp(value: float) -> float:
    return math.exp(max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, value)))


def counts(verdicts: Iterable[Verdict]) -> dict[Verdict, int]:
    """How often each verdict occurs, in the order of `VERDICT_MARKS`, absent ones left out."""
    seen = Counter(verdicts)
    return {verdict: seen[verdict] for verdict in VERDICT_MARKS if seen[verdict]}


def counts_text(verdicts: Iterable[Verdict]) -> str:
    """Counts in words, "3 supported, 1 refuted"."""
    found = counts(verdicts)
    return ", ".join(f"{count} {verdict.value}" for verdict, count in found.items()) or "none"


def probability(value: float) -> str:
    """A P as reasons have it; 0 where a claim stands outside every family."""
    if not math.isfinite(value):
        return "unknown"
    return "0" if value == 0 else reasons.probability(value)


def percent(share: float) -> str:
    """A share in per cent, "38 %"."""
    return "unknown" if not math.isfinite(share) else f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """A time span in words, "3 min 12 s"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 60:
        return f"{setting(seconds, digits=2)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
