"""Norms of the article's gradient, layer by layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from harness.inversion.distances import l2
from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import GradientNorms
from harness.plan.images import ARTICLE_START
from harness.plan.networks import RESNET_LAYERS
from harness.plan.seeds import Source
from harness.subjects.generators import weights_seed
from harness.subjects.images.sources import draw_image
from harness.subjects.images.starts import draw_starts
from harness.subjects.resnet import build_resnet


def gradient_norms(cell: GradientNorms) -> Measurement:
    """Geometric means over the photographs of the batch."""
    rng = cell.seeds.rng(Source.IMAGE)
    folder = cell.images.folder.path if cell.images.folder else None
    drawn = [
        draw_image(cell.images.source, pixels=cell.images.pixels, rng=rng, folder=folder)
        for _ in range(cell.together)
    ]
    originals = torch.from_numpy(np.stack([image.values for image in drawn])).float()
    starts = draw_starts(ARTICLE_START, cell.images, cell.seeds, restarts=cell.together).float()
    network = build_resnet(cell.network, seed=weights_seed(cell.seeds))
    if cell.statistics != "eval":
        _set_statistics(network, originals, calibrate=cell.statistics == "calibrated")
    with torch.no_grad():
        targets = _outputs(network, originals)
    starts.requires_grad_()
    outputs = _outputs(network, starts)
    values = {}
    for layer, output in outputs.items():
        loss = (output - targets[layer]).abs().sum()
        (gradient,) = torch.autograd.grad(loss, starts, retain_graph=True)
        values[f"gradient_{layer}"] = float(l2(gradient).double().log().mean().exp())
    return Measurement(values=values, outcome=outcome_of(values))


def _set_statistics(network: nn.Module, images: Tensor, *, calibrate: bool) -> None:
    """Let BatchNorm normalise by each batch, or by the statistics of these images from now on."""
    network.train()
    if not calibrate:
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # The plain mean over all batches; here there is one.
            module.momentum = None
    with torch.no_grad():
        network(images)
    network.eval()


def _outputs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The output of every layer of a ResNet."""
    found = {}
    hidden = images
    for name, module in network.named_children():
        hidden = module(hidden)
        if name in RESNET_LAYERS:
            # The ReLU after it may overwrite it.
            found[name] = hidden.clone()
        elif name == "maxpool":
            found["stem"] = hidden
        if name == RESNET_LAYERS[-1]:
            return found
    return found
