"""What is reconstructed: networks, layers, sizes and batches."""

from __future__ import annotations

import dataclasses
import itertools

from claims.decoders import ARTICLE, ARTICLE_MLP
from harness.settings import MLP, Descent, Images, Network, ResNet

LAYERS = ("layer1", "layer2", "layer4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One benchmark.

    Parameters
    ----------
    name : str
        Of the network, for people.
    layer : str
        Where it is cut.
    network, images, decoder
        What is reconstructed and how, by the article's descent.
    batch : int
        Images reconstructed together.
    """

    name: str
    layer: str
    network: Network
    images: Images
    decoder: Descent
    batch: int

    def __str__(self) -> str:
        return f"{self.name}-{self.layer}-{self.images.pixels}px-batch{self.batch}"


def resnet(name: str, layer: str, *, pixels: int, batch: int) -> Case:
    """The article's descent on a ResNet."""
    return Case(
        name=name,
        layer=layer,
        network=ResNet(name=name, cut=layer),
        images=Images(pixels=pixels),
        decoder=ARTICLE,
        batch=batch,
    )


def mlp(*, width: int, depth: int, pixels: int, batch: int) -> Case:
    """The article's descent on a stack of fully connected layers with ReLU.

    Every image has weights of its own, so that a batch saves no arithmetic and no reading.
    """
    images = Images(pixels=pixels)
    return Case(
        name=f"mlp{width}x{depth}",
        layer="output",
        network=MLP(inputs=images.elements, widths=(width,) * depth, activation="relu"),
        images=images,
        decoder=ARTICLE_MLP,
        batch=batch,
    )


CASES = (
    *(
        resnet("resnet18", layer, pixels=64, batch=batch)
        for layer, batch in itertools.product(LAYERS, (1, 8, 32))
    ),
    *(
        resnet("resnet50", layer, pixels=64, batch=batch)
        for layer, batch in itertools.product(LAYERS, (1, 8))
    ),
    # The least size that a claim takes, and the size that the network was made for.
    resnet("resnet18", "layer4", pixels=32, batch=1),
    resnet("resnet50", "layer4", pixels=32, batch=1),
    resnet("resnet50", "layer4", pixels=224, batch=1),
    mlp(width=3000, depth=4, pixels=32, batch=1),
)
