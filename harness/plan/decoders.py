"""Settings of decoders and priors; the article's descent among them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from harness.plan.fields import SCHEDULES, check, check_types, known

P = TypeVar("P")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blur:
    """A Gaussian blur after each step.

    Sigma falls linearly over the run (from 2.4 to 0.4 in the article), so a longer run is not the
    continuation of a shorter one.

    Parameters
    ----------
    kernel : int
        Pixels along each axis, an odd number.
    first, last : float
        Sigma in pixels.

    Raises
    ------
    SettingError
        If a number is out of range, as with all settings below.
    """

    kernel: int = 3
    first: float = 2.4
    last: float = 0.4

    def __post_init__(self) -> None:
        check_types(self)
        check(
            self.kernel > 0 and self.kernel % 2 == 1,
            self,
            rule="a kernel has a pixel in its middle",
            remedy="Choose an odd number of pixels",
        )
        check(
            self.first > 0 and self.last > 0,
            self,
            rule="sigma is above 0",
            remedy="Leave the blur out if there should be none",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whitening:
    """The image in coordinates of equal scale: its spectrum divided by that of natural images.

    Amplitudes of photographs fall as 1 / f (Field 1987). A step along such coordinates changes an
    image as photographs vary, smooth changes first; every image can still be reached.

    Parameters
    ----------
    exponent : float
        Of 1 / f; 0 would leave pixels.
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        check(
            self.exponent > 0,
            self,
            rule="amplitudes fall with the frequency: the exponent is above 0",
            remedy="Leave the whitening out if the decoder should move pixels",
        )


Prior = Blur | Whitening
"""What is assumed of an image."""


LOSSES = ("l1", "l2")


TOLERANCES = ("target", "noised")
"""What a tolerance is relative to: |O(a)|, or m_r, the distance of O(a')."""


RULES = ("gradient", "polyak", "normalised")


RETURNS = ("last", "best")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """What all decoders share.

    Parameters
    ----------
    loss : str
        "l1" (sum of absolute differences) or "l2" (half the sum of squares).
    priors : tuple of Prior
        What is assumed of an image; at most one of each kind.
    returns : str
        The result of a run: its "last" image, or the one of the least loss ("best").
    tolerance : float
        A sample ends once m_g has fallen to this share of a reference; 0 never ends it.
    tolerance_of : str
        The reference, one of `TOLERANCES`.

    Raises
    ------
    SettingError
        If a number is out of range, or priors exclude each other.
    UnknownNameError
        If a name is unknown.
    """

    loss: str = "l2"
    priors: tuple[Prior, ...] = ()
    returns: str = "best"
    tolerance: float = 0.0
    tolerance_of: str = "target"

    def __post_init__(self) -> None:
        check_types(self)
        priors: Any = self.priors
        check(
            isinstance(priors, (tuple, list)) and all(isinstance(prior, Prior) for prior in priors),
            f"priors={self.priors!r}",
            rule="priors are a tuple of Blur() or Whitening()",
            remedy="Give one as (Whitening(),)",
        )
        known(self.loss, LOSSES, what="loss")
        known(self.returns, RETURNS, what="image to return")
        known(self.tolerance_of, TOLERANCES, what="reference of a tolerance")
        check(
            0 <= self.tolerance < (1 if self.tolerance_of == "target" else math.inf),
            f"tolerance={self.tolerance}",
            rule="a tolerance is a share of the target's norm, from 0 to below 1, or any of m_r",
            remedy="Choose 0 to run all iterations",
        )
        kinds = [type(prior) for prior in self.priors]
        check(
            len(set(kinds)) == len(kinds),
            self.priors,
            rule="a decoder takes one prior of each kind",
            remedy="Leave out the second",
        )
        check(
            not {Blur, Whitening} <= set(kinds),
            self.priors,
            rule="a blur changes the image after each step, and a whitening has the decoder move "
            "its spectrum instead",
            remedy="Leave out one of them",
        )

    @property
    def takes_images(self) -> bool:
        """Whether it needs the rows and columns of an image."""
        return bool(self.priors)

    def prior(self, kind: type[P]) -> P | None:
        """The prior of a kind, if there is one."""
        return next((prior for prior in self.priors if isinstance(prior, kind)), None)

    def _refuse(self, *kinds: type[Prior], reason: str) -> None:
        for prior in self.priors:
            check(
                not isinstance(prior, kinds),
                prior,
                rule=f"{type(self).__name__} cannot use it, since {reason}",
                remedy="Leave it out, or choose Descent or Adam",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent(Decoding):
    """Gradient descent, a <- a - size * g; by default the article's, but without its blur.

    Parameters
    ----------
    step : float
        epsilon; 0.1 in the article.
    factor : float
        Factor of the loss; in the article 0.15 for ResNets and 0.35 for MLPs.
    schedule : str
        "fixed" (the article's code) or "decreasing" (its text: linearly to zero, but not below
        `minimum`).
    minimum : float
        Least step of the decreasing schedule.
    rule : str
        How the size of a step follows from s = `factor * step`: s itself ("gradient"); s times
        loss / |g|^2, Polyak's step for a least loss of 0 ("polyak"); or s sqrt(n) / |g|, which
        changes elements by s in the root mean square ("normalised").
    loss, priors, returns, tolerance, tolerance_of
        What all decoders have: "l2" or "l1"; a tuple of priors; whether the "best" or the "last"
        image is returned; and the share of a reference, "target" (|O(a)|) or "noised" (m_r), to
        which m_g has to fall for a run to end early.
    """

    loss: str = "l1"
    returns: str = "last"
    step: float = 0.1
    factor: float = 0.15
    schedule: str = "fixed"
    minimum: float = 1e-4
    rule: str = "gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        known(self.schedule, SCHEDULES, what="schedule")
        known(self.rule, RULES, what="rule of a step")
        check(
            self.step * self.factor > 0 and self.minimum >= 0,
            self,
            rule="step times factor is above 0, and minimum is 0 or more",
            remedy="Choose larger numbers",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(Decoding):
    """Adam on the input, its rate falling to zero along half a cosine (Kingma and Ba 2015).

    Parameters
    ----------
    rate : float
        Of the first step.
    beta1, beta2 : float
        Decay of both moments of the gradients.
    loss, priors, returns, tolerance, tolerance_of
        As for `Descent`.
    """

    rate: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.rate > 0 and 0 <= self.beta1 < 1 and 0 <= self.beta2 < 1,
            self,
            rule="rate is above 0, and beta1 and beta2 are from 0 to below 1",
            remedy="Choose numbers like the defaults",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuasiNewton(Decoding):
    """What both kinds of L-BFGS share.

    An iteration is one gradient: a trial of the line search, accepted or not.

    Parameters
    ----------
    history : int
        Evaluations to look back on. A trial that is accepted leaves a pair of step and change of
        the gradient, if it has positive curvature; one that is rejected counts as well.
    stationary : float
        A sample ends once its gradient's norm has fallen to this share of the first.
    loss, priors, returns, tolerance, tolerance_of
        As for `Descent`.
    """

    history: int = 20
    stationary: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.history > 0 and 0 <= self.stationary < 1,
            self,
            rule="history is 1 or more, and stationary is from 0 to below 1",
            remedy="Choose numbers like the defaults",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGS(QuasiNewton):
    """L-BFGS with a line search for each sample (Nocedal and Wright 2006, algorithm 7.5).

    Parameters
    ----------
    history : int
        Evaluations to look back on.
    stationary : float
        A sample ends once its gradient's norm has fallen to this share of the first.
    loss, priors, returns, tolerance, tolerance_of
        As for `Descent`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(Blur, reason="it changes the image between steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnealedLBFGS(QuasiNewton):
    """L-BFGS of images, first along smooth changes, later along all.

    Its initial inverse Hessian H0 is a filter: f to the power of -2 p, for the frequency f in
    cycles per image, with a p that falls along the run. So the first steps change an image as
    photographs vary, and the last ones reach its details. The pairs are kept.

    Parameters
    ----------
    first, last : float
        p at the start and at the end of annealing; 0 would leave pixels.
    annealing : int
        Gradients until H0 no longer changes.
    colour : bool
        Whether the channels of an image with three of them are first changed as they vary together
        in photographs, too. Other images have no colours.
    history, stationary
        As for `LBFGS`.
    loss, priors, returns, tolerance, tolerance_of
        As for `Descent`, but there are no priors: H0 is one.
    """

    first: float = 1.25
    last: float = 0.25
    annealing: int = 40
    colour: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(Blur, Whitening, reason="its steps are smooth to begin with")
        check(
            0 <= self.first < math.inf and 0 <= self.last < math.inf and self.annealing > 0,
            self,
            rule="exponents are 0 or more and finite, and annealing takes 1 gradient or more",
            remedy="Choose numbers like the defaults",
        )
        check(
            isinstance(self.colour, bool),
            f"colour={self.colour!r}",
            rule="colours are taken into account or not",
            remedy="Choose True or False",
        )

    @property
    def takes_images(self) -> bool:
        """True: the filter needs rows and columns."""
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussNewton(Decoding):
    """Gauss-Newton, its steps damped by Nielsen's rule and found by conjugate gradients.

    An iteration tries one step: two evaluations, and for each inner iteration one product with J
    and one with its transpose.

    Parameters
    ----------
    inner : int
        Iterations of conjugate gradients in each step.
    damping : float
        Initial damping relative to the squared norm of J, estimated along the gradient.
    stationary : float
        A sample ends once its gradient's norm has fallen to this share of the first.
    loss, priors, returns, tolerance, tolerance_of
        As for `Descent`.
    """

    inner: int = 10
    damping: float = 1e-3
    stationary: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(Blur, Whitening, reason="it minimises squares alone")
        check(
            self.loss != "l1",
            self.loss,
            rule="Gauss-Newton minimises squares",
            remedy="Choose l2",
        )
        check(
            self.inner > 0 and self.damping > 0 and 0 <= self.stationary < 1,
            self,
            rule="inner is 1 or more, damping above 0, and stationary from 0 to below 1",
            remedy="Choose numbers like the defaults",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearSolve(Decoding):
    """The exact solution for a linear network: of all least-squares ones, the nearest to the start.

    Parameters
    ----------
    rcond : float or None
        Singular values below this share of the largest count as 0; None means max(m, n) * eps.
    loss, priors, returns, tolerance, tolerance_of
        As for `Descent`.
    """

    rcond: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(Blur, Whitening, reason="it solves equations alone")
        check(
            self.rcond is None or 0 <= self.rcond < 1,
            self,
            rule="rcond is from 0 to below 1",
            remedy="Leave it out for that of rounding",
        )


Decoder = Descent | Adam | LBFGS | AnnealedLBFGS | GaussNewton | LinearSolve


PRECISIONS = ("float32", "tf32", "float64", "bf16")
"""IEEE float32; float32 with products in TF32 (CUDA); IEEE float64; bfloat16 in the network, for
quick looks."""


def decoder_name(decoder: Decoder) -> str:
    """The name of a decoder's method, for people."""
    match decoder:
        case Descent(rule="gradient"):
            return "descent"
        case Descent(rule=rule):
            return rule
        case Adam():
            return "adam"
        case LBFGS():
            return "l-bfgs"
        case AnnealedLBFGS():
            return "annealed l-bfgs"
        case GaussNewton():
            return "gauss-newton"
        case LinearSolve():
            return "linear"


ARTICLE = Descent(step=0.1, factor=0.15, schedule="fixed", priors=(Blur(),), loss="l1")
"""The article's descent on ResNets, as in its code."""


ARTICLE_WITHOUT_BLUR = Descent(step=0.1, factor=0.15, schedule="fixed", loss="l1")


ARTICLE_MLP = Descent(step=0.1, factor=0.35, schedule="decreasing", minimum=1e-4, loss="l1")
"""The article's descent on fully connected networks: no blur, least step 0.0001."""
