"""What the benchmarks reconstruct: networks, layers, sizes and batches."""

from __future__ import annotations

import dataclasses
import itertools

from harness.plan import decoders
from harness.plan.decoders import ARTICLE, ARTICLE_MLP, Decoder
from harness.plan.images import Images
from harness.plan.networks import MLP, Network, ResNet

LAYERS = ("layer1", "layer2", "layer3", "layer4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One benchmark.

    Parameters
    ----------
    name : str
        Of the network, for people.
    layer : str
        Whose activations are given.
    network, images, decoder
        What is reconstructed and how.
    batch : int
        Images reconstructed together.
    fresh : bool
        Whether every image has weights of its own, as a replicate of a claim has.
    precision : str
        One of `harness.plan.decoders.PRECISIONS`.
    """

    name: str
    layer: str
    network: Network
    images: Images
    decoder: Decoder
    batch: int
    fresh: bool
    precision: str = "float32"

    @property
    def networks(self) -> int:
        """Networks drawn."""
        return self.batch if self.fresh else 1

    @property
    def alone(self) -> Case:
        """One image of the case."""
        return dataclasses.replace(self, batch=1)

    def __str__(self) -> str:
        words = [self.name, self.layer, f"{self.images.pixels}px", f"batch{self.batch}"]
        # Only the unusual is named: MLPs usually have weights of their own, ResNets share them.
        if self.fresh != isinstance(self.network, MLP):
            words.append("fresh" if self.fresh else "shared")
        if self.precision != "float32":
            words.append(self.precision)
        return "-".join(words)


def resnet(
    name: str,
    layer: str,
    *,
    pixels: int,
    batch: int,
    decoder: Decoder = ARTICLE,
    fresh: bool = False,
    precision: str = "float32",
) -> Case:
    """A ResNet with torchvision's initialisation, by default with the article's descent."""
    return Case(
        name=name,
        layer=layer,
        network=ResNet(name=name, layer=layer),
        images=Images(pixels=pixels),
        decoder=decoder,
        batch=batch,
        fresh=fresh,
        precision=precision,
    )


def mlp(*, width: int, depth: int, pixels: int, batch: int, fresh: bool = True) -> Case:
    """A stack of fully connected layers with ReLU, with the article's descent."""
    images = Images(pixels=pixels)
    return Case(
        name=f"mlp{width}x{depth}",
        layer="output",
        network=MLP(inputs=images.elements, widths=(width,) * depth, activation="relu"),
        images=images,
        decoder=ARTICLE_MLP,
        batch=batch,
        fresh=fresh,
    )


def decoder_name(decoder: Decoder) -> str:
    """A decoder's name for people; plain descent is the article's."""
    name = decoders.decoder_name(decoder)
    return "article" if name == "descent" else name


SELECTED = (
    *(resnet("resnet18", layer, pixels=64, batch=8) for layer in LAYERS),
    resnet("resnet18", "layer4", pixels=64, batch=1),
    resnet("resnet18", "layer4", pixels=64, batch=32),
    resnet("resnet18", "layer4", pixels=32, batch=8),
    resnet("resnet18", "layer4", pixels=64, batch=4, fresh=True),
    resnet("resnet50", "layer4", pixels=64, batch=8),
    mlp(width=3000, depth=4, pixels=32, batch=1),
)
"""Enough to see whether anything has become slower."""

MORE = (
    # By layer and by batch.
    *(resnet("resnet18", layer, pixels=64, batch=8) for layer in ("conv1", "stem")),
    *(
        resnet("resnet18", layer, pixels=64, batch=batch)
        for layer, batch in itertools.product(LAYERS[:3], (1, 32))
    ),
    *(resnet("resnet18", "layer4", pixels=64, batch=batch) for batch in (2, 4, 16, 64)),
    # By resolution: 32 pixels as in the claims, 224 as the networks are trained.
    *(resnet("resnet18", "layer4", pixels=pixels, batch=8) for pixels in (128, 224)),
    resnet("resnet18", "layer4", pixels=32, batch=1),
    resnet("resnet50", "layer4", pixels=32, batch=1),
    *(resnet("resnet50", layer, pixels=64, batch=8) for layer in LAYERS[:3]),
    *(
        resnet("resnet50", layer, pixels=224, batch=batch)
        for layer, batch in itertools.product(LAYERS[1:], (1, 4))
    ),
    # With weights of their own.
    *(resnet("resnet18", layer, pixels=64, batch=1, fresh=True) for layer in LAYERS),
    resnet("resnet18", "layer4", pixels=64, batch=2, fresh=True),
    *(mlp(width=3000, depth=4, pixels=32, batch=batch) for batch in (2, 4)),
)
"""What else `--full` measures, on any device."""

GPU = (
    *(
        resnet("resnet50", "layer4", pixels=299, batch=batch, precision=precision)
        for batch, precision in itertools.product((1, 32), ("float32", "tf32"))
    ),
    *(mlp(width=3000, depth=4, pixels=32, batch=batch, fresh=False) for batch in (1, 8, 31)),
)
"""What only a GPU measures in reasonable time."""
