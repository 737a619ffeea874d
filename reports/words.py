"""How all reports write numbers, effects and verdicts."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping

from harness.claim import Criterion, Estimand, Kind, Scale
from harness.verdict import reasons
from harness.verdict.evidence import Effect
from harness.verdict.verdict import Stop, Verdict

VERDICT_MARKS: Mapping[Verdict, str] = {
    Verdict.SUPPORTED: "✓",
    Verdict.REFUTED: "✗",
    Verdict.MIXED: "◐",
    Verdict.INCONCLUSIVE: "?",
    Verdict.INVALID: "!",
    Verdict.NOT_RUN: "-",
    Verdict.NOT_TESTABLE: "∅",
}
"""A mark of one column for each verdict, in the order in which counts list them."""

VERDICT_MEANINGS: Mapping[Verdict, str] = {
    Verdict.SUPPORTED: "the measurements agree with the statement, by more than its margin",
    Verdict.REFUTED: "the measurements contradict the statement",
    Verdict.MIXED: "supported under some conditions, refuted under others",
    Verdict.INCONCLUSIVE: (
        "the replicates do not decide it, or some of its conditions are undecided or were not run"
    ),
    Verdict.INVALID: "too many runs failed a control, so it was not judged",
    Verdict.NOT_RUN: "not measured in this run",
    Verdict.NOT_TESTABLE: "no measurement could contradict it",
}

KIND_WORDS: Mapping[Kind, str] = {
    Kind.EXACT: "Exact: it must hold in every replicate; a single counterexample refutes it.",
    Kind.EXISTENTIAL: (
        "Existential: a single replicate in which it happens supports it. Refuted if it happens in "
        "less than the stated share of all replicates (exact binomial test)."
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
        "Conjunction: all parts must hold, each in more than half of all replicates "
        "(intersection-union test)."
    ),
    Kind.UNTESTABLE: "Not testable: no measurement could contradict it.",
}

OUTCOME_MEANINGS: Mapping[str, str] = {
    "matched": "the reconstruction's output is closer to the target's than the noised image's is",
    "stuck": "no step from the start lowered the loss",
    "plateau": "the loss did not fall in the last quarter of the run",
    "not converged": "the loss was still falling when the run ended",
    "diverged": "the loss ended above its initial value",
    "non-finite": "a value became infinite or NaN",
}
"""What the outcomes in the records mean."""

STOP_WORDS: Mapping[Stop, str] = {
    Stop.DECIDED: "decided at this look, so no further replicates were drawn",
    Stop.COUNTEREXAMPLE: "stopped at a counterexample",
    Stop.WITNESS: "stopped at a witness",
    Stop.INVALID: "stopped because too many replicates were invalid",
    Stop.EXHAUSTED: "undecided at the last look of this profile",
}

CONDITION_NAMES: Mapping[str, str] = {
    "article": "decoder: the article's descent, with a blur after every step on ResNets",
    "article-nominal": "decoder: the same with the article's step, without blur",
    "article-falling": "decoder: the same without blur, with the largest step at which m_g falls",
    "adam, adam-blur": "decoder: Adam, whose step does not depend on the gradient's scale",
    "l-bfgs, gauss-newton": "decoders that use curvature, the strongest of all",
    "conv1, stem": "layers: the first convolution, and what follows it, up to the max-pooling",
    "layer1 to layer4": "layers: the article's Conv2 to Conv5",
    "default, gaussian, orthogonal": "initialisation of the weights; default: PyTorch's",
}
"""Explanations of the terms in the names of conditions."""

_TEX: Mapping[str, str] = {
    "$": "",
    r"\theta": "θ",
    r"\epsilon": "ε",
    r"\nabla": "∇",
    r"\mathtt{x}": "x",
    r"\{": "{",
    r"\}": "}",
}
"""The TeX that occurs in the article's words, with its plain form."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# What follows the second term must not contain a further comparison: then the quotient itself is
# what is compared.
_COMPARED = re.compile(r"([^\s/]+) / ([^\s/,]+)((?:,? (?!.*\bover\b)[^/]*)?)")
_PLACE = re.compile(r" at (\S+)")
_EPSILONS = re.compile(r",? in (machine )?epsilons$")
_ROUNDING = 100.0
"""Largest rounding error in machine epsilons, as in the claims on exact inversion."""
_LARGEST_EXPONENT = math.log(1e300)


def number(value: float, *, digits: int = 3) -> str:
    """A number with three significant digits, in plain characters: "0.123", "12,300", "1.2e-11"."""
    return _digits(value, digits)


def setting(value: float, *, digits: int = 6) -> str:
    """A chosen number, without trailing zeros: "0.05", "1e-6"."""
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
    """A text with true minus signs and superscript powers of ten, for a page."""
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
    """A value of an effect; a log ratio is shown as the ratio.

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
    if 0 < abs(value) < 0.1:  # near one, show the digits of the distance from it
        decimals = min(6, 1 - math.floor(math.log10(abs(value))))
        return f"{math.exp(value):.{decimals}f}"
    return number(_exp(value))


def interval(effect: Effect) -> str:
    """The interval of an effect, "[0.09, 0.15]"."""
    low = quantity(effect.low, effect.scale, bound=-1)
    high = quantity(effect.high, effect.scale, bound=1)
    return f"[{low}, {high}]"


def effect_text(effect: Effect | None) -> str:
    """An effect with its interval, "0.12 [0.09, 0.15]"; a dash if there is none."""
    if effect is None:
        return "-"
    return f"{value_text(effect)} {interval(effect)}"


def value_text(effect: Effect) -> str:
    """An effect without its interval, "0.12" or, of a ratio, "0.12×"."""
    times = "×" if _is_ratio(effect.label, effect.scale) else ""
    return f"{quantity(effect.value, effect.scale)}{times}"


def paraphrase(effect: Effect) -> str:
    """A value that is hard to read, in another form; empty for all other effects.

    A ratio far below one becomes a fraction, "1/14.2". A value in machine epsilons is either
    rounding, or far beyond it.
    """
    if _EPSILONS.search(effect.label) and effect.value:
        if abs(effect.value) <= _ROUNDING:
            return "rounding alone"
        return f"{number(effect.value * sys.float_info.epsilon)} of its scale, beyond rounding"
    far_below = _is_ratio(effect.label, effect.scale) and effect.value <= -math.log(2)
    return _fraction(effect.value) if far_below else ""


def finding(effect: Effect) -> str:
    """An effect as a sentence without its full stop: "Conv5: m_g is 1/14.2 of m_r [1/18, 1/11]".

    A ratio is given as one quantity being so many times the other, or a fraction of it if it is
    clearly smaller; any other effect is given by its label and value.
    """
    if _EPSILONS.search(effect.label):
        return f"{_EPSILONS.sub('', effect.label)} is {paraphrase(effect) or number(effect.value)}"
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
    """The estimand's criteria in one line, "m_i / m_i(0) < 0.25"."""
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
    """A condition's parameters in one line: words by themselves, numbers with their name."""
    return " · ".join(
        _parameter(name.replace("_", " "), value) for name, value in parameters.items()
    )


def _parameter(name: str, value: str | int | float) -> str:
    if isinstance(value, str):
        return f"no {name}" if value == "none" else value
    return f"{name} {value if isinstance(value, int) else setting(value)}"


def sentence(text: str) -> str:
    """A text as a sentence: capitalised (unless it starts with a symbol), with a full stop."""
    text = text.strip()
    if text[1:2] != "_":
        text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".!?" else f"{text}."


def _is_ratio(label: str, scale: Scale) -> bool:
    """Whether an effect compares two quantities; others may be on a logarithmic scale, too."""
    return scale is Scale.LOG and "/" in label


def _exp(value: float) -> float:
    return math.exp(max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, value)))


def counts(verdicts: Iterable[Verdict]) -> dict[Verdict, int]:
    """How often each verdict occurs, in the order of `VERDICT_MARKS`, without zeros."""
    seen = Counter(verdicts)
    return {verdict: seen[verdict] for verdict in VERDICT_MARKS if seen[verdict]}


def counts_text(verdicts: Iterable[Verdict]) -> str:
    """Counts in words, "3 supported, 1 refuted"."""
    found = counts(verdicts)
    return ", ".join(f"{count} {verdict.value}" for verdict, count in found.items()) or "none"


def probability(value: float) -> str:
    """A P value as reasons give it; 0 for a claim that belongs to no family."""
    if not math.isfinite(value):
        return "unknown"
    return "0" if value == 0 else reasons.probability(value)


def percent(share: float) -> str:
    """A share as a percentage, "38 %"."""
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
