"""Noise that frees a decoder from a point that it cannot leave.

Where images are constant, all values of a max-pooling's window tie: lowering one of them changes
nothing, and no step along the gradient lowers the loss. Where all units are inactive, there is no
gradient. Either says something about the point alone, so noise is added to it, and the decoder
goes on.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.inversion.distances import per_sample
from harness.inversion.method import Method, S
from harness.inversion.objective import Parametrization

KICKS = 4
"""Of a run at most; each is larger than the one before."""

_SIZE, _GROWTH = 1 / 14, 4.0
"""Standard deviation of the first kick relative to the root mean square of the start (the article's
start is N(0.7, 1/20)), and the factor from each to the next."""

_DONE, _FLAT = 1e-3, 1e-2
"""Shares of the objective and of the gradient's norm at the start below which a decoder that no
step helps has converged: to a solution, or to a minimum up to rounding."""

_SEED = 7_265_119_301


@dataclasses.dataclass(frozen=True)
class Kicks:
    """The kicks of a batch, in the coordinates that the decoder moves.

    Parameters
    ----------
    noise : tensor, shape (KICKS, batch, ...)
        The same for all samples of a batch, but for its size.
    """

    noise: Float[Tensor, "kicks batch ..."]

    @classmethod
    def of(cls, parametrization: Parametrization, start: Tensor) -> Kicks:
        """The kicks of a run.

        Parameters
        ----------
        parametrization : Parametrization
            From points to images.
        start : tensor, shape (batch, ...)
            The images that the run starts from.
        """
        root = start.flatten(1).square().mean(1).sqrt()
        size = _SIZE * torch.where((root > 0) & root.isfinite(), root, 1)
        generator = torch.Generator().manual_seed(_SEED)
        drawn = torch.randn(
            (KICKS, *start.shape[1:]), dtype=torch.float64, generator=generator, device="cpu"
        ).to(start)
        noise = [
            parametrization.point(_GROWTH**number * per_sample(size, like=start) * each)
            for number, each in enumerate(drawn)
        ]
        return cls(torch.stack(noise))

    def due(
        self,
        stuck: Bool[Tensor, " batch"],
        *,
        norm: Float[Tensor, " batch"],
        value: Float[Tensor, " batch"],
        first: tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]],
        count: Int[Tensor, " batch"],
    ) -> Bool[Tensor, " batch"]:
        """Which samples get one: those that are no minimum, and had fewer.

        Parameters
        ----------
        stuck : tensor of bool, shape (batch,)
            Samples that no step helps.
        norm, value : tensor, shape (batch,)
            The gradient's norm and the objective.
        first : pair of tensor, shape (batch,)
            Both at the start.
        count : tensor of int, shape (batch,)
            Kicks so far.
        """
        steep = (stuck & (norm > _FLAT * first[0])) | (norm == 0)
        return steep & (value > _DONE * first[1]) & (count < len(self.noise))

    def at(self, count: Int[Tensor, " batch"]) -> Tensor:
        """The next kick of each sample, by the number that it has had."""
        number = count.clamp_max(len(self.noise) - 1)
        return self.noise[number, torch.arange(len(number), device=number.device)]

    def begin(self, method: Method[S], points: Tensor) -> tuple[S, Tensor]:
        """A decoder's state at points that have a gradient, where kicks find some; the points."""

        def is_flat(state: S) -> Bool[Tensor, " batch"]:
            here = method.sample_state(state)
            return (here.gradient == 0).flatten(1).all(1) & (here.value > 0)

        state, kicked = method.begin(points), points
        if not is_flat(state).any():
            return state, points
        for kick in self.noise:
            flat = per_sample(is_flat(state), like=points)
            kicked = torch.where(flat, kicked + kick, kicked)
            state = method.begin(kicked)
        lost = per_sample(is_flat(state), like=points)
        kicked = torch.where(lost, points, kicked)
        return method.begin(kicked), kicked
