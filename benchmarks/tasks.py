"""Images to reconstruct from a layer, and the network with it."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor, nn

from benchmarks.cases import Case
from harness.encoders.adapters import Cast
from harness.encoders.encoder import Encoder
from harness.encoders.runtime import Precision
from harness.inversion.distances import l2
from harness.plan.images import NOISE_TEXT, Start
from harness.plan.networks import MLP
from harness.plan.seeds import ReplicateSeeds, Source, Stream
from harness.subjects.generators import torch_generator
from harness.subjects.images.originals import draw_original
from harness.subjects.images.starts import draw_noise, draw_starts
from harness.subjects.mlp import draw_layers
from harness.subjects.networks import build_encoder
from harness.subjects.resnet import build_resnet, truncated_resnet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A batch of images that are reconstructed together.

    Parameters
    ----------
    case : Case
        What the images and the network are drawn for.
    owners : tuple of ReplicateSeeds
        The replicates whose weights are used: one for all images, or one an image.
    precision : Precision
        Of images and network.
    original, start, noised : tensor, shape (batch, ...)
        a, a0 and a'; flat for an MLP.
    """

    case: Case
    owners: tuple[ReplicateSeeds, ...]
    precision: Precision
    original: Tensor
    start: Tensor
    noised: Tensor

    @property
    def batch(self) -> int:
        """Images."""
        return len(self.original)

    @property
    def device(self) -> torch.device:
        """Of the images."""
        return self.original.device

    @functools.cached_property
    def encoder(self) -> Encoder:
        """O, as the engine has it."""
        encoder = build_encoder(
            self.case.network,
            self.owners,
            dtype=self.precision.network,
            device=self.device,
        )
        if self.precision.network == self.precision.images:
            return encoder
        return Cast(encoder, inside=self.precision.network, outside=self.precision.images)

    @functools.cached_property
    def target(self) -> Tensor:
        """O(a), shape (batch, ...)."""
        return self.encoder.encode(self.original)

    @functools.cached_property
    def m_r(self) -> Tensor:
        """|O(a') - O(a)|, shape (batch,)."""
        return l2(self.encoder.encode(self.noised) - self.target)

    def whole(self) -> nn.Module:
        """A new instance of the network as its library makes it; its parameters need gradients."""
        (owner,) = self.owners
        match self.case.network:
            case MLP() as network:
                module = _sequential(network, owner)
            case network:
                module = build_resnet(network, seed=owner.seed(Source.WEIGHTS) >> 1)
        return module.to(self.device, self.precision.network).requires_grad_()

    def truncated(self) -> nn.Module:
        """A new instance of the network that ends at the layer."""
        whole = self.whole()
        if isinstance(self.case.network, MLP):
            return whole
        return truncated_resnet(whole, layer=self.case.layer)


def draw_tasks(case: Case, *, precision: Precision, device: torch.device) -> tuple[Task, ...]:
    """The images of a case: one task, or one an image where networks cannot be batched.

    Image, start and noise number i are the same in every batch.
    """
    replicates = [
        ReplicateSeeds(replicate=number, stream=Stream.PILOT) for number in range(case.batch)
    ]
    originals = torch.stack([draw_original(case.images, seeds)[0] for seeds in replicates])
    starts = torch.cat([draw_starts(Start(), case.images, seeds) for seeds in replicates])
    noises = torch.stack([draw_noise(NOISE_TEXT, case.images, seeds) for seeds in replicates])

    def placed(images: Tensor) -> Tensor:
        shaped = images.flatten(1) if isinstance(case.network, MLP) else images
        return shaped.to(device, precision.images)

    # An ensemble of MLPs is one batch, one of convolutional networks is a loop.
    size = 1 if case.fresh and not isinstance(case.network, MLP) else case.batch
    return tuple(
        Task(
            case=case,
            owners=tuple(replicates[first : first + size] if case.fresh else replicates[:1]),
            precision=precision,
            original=placed(originals[first : first + size]),
            start=placed(starts[first : first + size]),
            noised=placed((originals + noises)[first : first + size]),
        )
        for first in range(0, case.batch, size)
    )


def _sequential(network: MLP, owner: ReplicateSeeds) -> nn.Module:
    """An MLP of torch's own layers; the engine's are batched."""
    stack = nn.Sequential()
    for number, layer in enumerate(
        draw_layers(network, generators=[torch_generator(owner, Source.WEIGHTS)])
    ):
        _, outputs, inputs = layer.matrix.shape
        if number:
            stack.append(nn.ReLU())
        linear = nn.Linear(inputs, outputs, dtype=layer.matrix.dtype)
        linear.weight.data, linear.bias.data = layer.matrix[0], layer.offset[0]
        stack.append(linear)
    return stack.eval()
