"""Gradients that kinds of L-BFGS need: `python -m benchmarks.annealing`, a quarter of an hour.

Each image is inverted until m_g is at most a tenth of m_r, for `BUDGET` gradients at most.
Networks, crops, starts and noise have seeds of their own, from 9001 on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import harness
from benchmarks.quality import SHARE
from harness.inversion.method import TerminationReason
from harness.plan.networks import ResNet, Training
from harness.subjects.images.photographs import draw_photograph, random_crop
from harness.subjects.resnet import build_resnet, initial_resnet
from harness.subjects.training.weights_cache import ensure_trained

BUDGET = 300
"""Gradients of a run at most."""

SEED, PIXELS = 9001, 64

WHITENED = (harness.Whitening(),)
DECODERS: Mapping[str, harness.LBFGS | harness.AnnealedLBFGS] = {
    "plain": harness.LBFGS(),
    "plain, 100": harness.LBFGS(history=100),
    "whitened": harness.LBFGS(priors=WHITENED),
    "whitened, 100": harness.LBFGS(priors=WHITENED, history=100),
    "annealed": harness.AnnealedLBFGS(),
    "annealed, 100": harness.AnnealedLBFGS(history=100),
}
"""By a name that ends with the history where it is not 20."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """Networks of a kind, whose layer is inverted.

    Parameters
    ----------
    network : ResNet
        Its settings.
    networks, images : int
        How many there are, and crops for each.
    """

    network: ResNet
    networks: int
    images: int

    @property
    def name(self) -> str:
        """For people."""
        trained = ", trained" if self.network.training else ""
        return f"{self.network.name} {self.network.layer}{trained}"

    def drawn(self, folder: Path) -> Iterator[tuple[nn.Module, Tensor, int]]:
        """Each network with its images and its seed."""
        for seed in range(SEED, SEED + self.networks):
            rng = np.random.default_rng(seed)
            crops = [
                random_crop(draw_photograph(rng=rng)[1], pixels=PIXELS, rng=rng)
                for _ in range(self.images)
            ]
            yield self._network(folder, seed=seed), torch.from_numpy(np.stack(crops)), seed

    def _network(self, folder: Path, *, seed: int) -> nn.Module:
        if self.network.training is None:
            return initial_resnet(self.network, seed=seed).eval()
        training = dataclasses.replace(self.network.training, folder=folder)
        network = dataclasses.replace(self.network, training=training)
        ensure_trained(network, seed=seed)
        return build_resnet(network, seed=seed)


TRAINING = Training(
    content="photographs", classes=10, images=640, pixels=PIXELS, epochs=10, batch=64, rate=1e-3
)

SUBJECTS = (
    *(
        Subject(network=ResNet(name="resnet18", layer=layer), networks=4, images=3)
        for layer in ("layer2", "layer3", "layer4")
    ),
    Subject(network=ResNet(name="resnet50", layer="layer4"), networks=3, images=2),
    *(
        Subject(
            network=ResNet(name="resnet18", layer=layer, training=TRAINING), networks=2, images=2
        )
        for layer in ("layer3", "layer4")
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrived:
    """How the images of a subject fared, one entry an image.

    Parameters
    ----------
    gradients : list of int or None
        Until they were reconstructed; None where they were not.
    r : list of float
        At the end.
    """

    gradients: list[int | None]
    r: list[float]

    @property
    def missed(self) -> int:
        """Images that were not reconstructed."""
        return self.gradients.count(None)

    @property
    def median(self) -> str:
        """The median number of gradients; missed images took more than there were."""
        counts = sorted(BUDGET + 1 if each is None else each for each in self.gradients)
        middle = statistics.median(counts)
        return f"> {BUDGET}" if middle > BUDGET else f"{middle:.0f}"


def arrived(
    decoder: harness.LBFGS | harness.AnnealedLBFGS, subject: Subject, *, folder: Path
) -> Arrived:
    """Invert the images of a subject until they are reconstructed."""
    decoder = dataclasses.replace(decoder, tolerance=SHARE, tolerance_of="noised")
    gradients: list[int | None] = []
    r: list[float] = []
    for network, images, seed in subject.drawn(folder):
        found = harness.invert(
            network,
            images,
            layer=subject.network.layer,
            decoder=decoder,
            # One more is that of the start.
            steps=BUDGET - 1,
            seed=seed,
            device="cpu",
        )
        near = [reason is TerminationReason.TOLERANCE for reason in found.reasons]
        gradients += [int(at) + 1 if ok else None for at, ok in zip(found.at, near, strict=True)]
        r += found.r.tolist()
    return Arrived(gradients=gradients, r=r)


def main() -> None:
    """Print a table in Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subject", default="", help="only those whose name contains this")
    wanted = parser.parse_args().subject
    torch.set_num_threads(1)
    print(f"| layer (images) | {' | '.join(DECODERS)} |\n|---|{'---|' * len(DECODERS)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for subject in SUBJECTS:
            if wanted not in subject.name:
                continue
            found = [arrived(each, subject, folder=Path(folder)) for each in DECODERS.values()]
            cells = (
                f"{each.median} ({each.missed}), {statistics.median(each.r):.2f}" for each in found
            )
            images = subject.networks * subject.images
            print(f"| {subject.name} ({images}) | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
