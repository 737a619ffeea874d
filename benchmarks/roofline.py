"""The least time of a step at the machine's peak rates of arithmetic and of memory.

A step is a forward pass up to the layer and the gradient with respect to the input. The arithmetic
is that of convolutions and linear layers, counted by `torch.utils.flop_counter` as is usual, kernel
weight by kernel weight, padding included. Memory has to give the weights once for each pass. An
engine that multiplies less often can therefore go below the roofline.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import Case
from benchmarks.peak_rate import arithmetic_gflops, best_seconds
from harness.plan.networks import MLP, Network, ResNet
from harness.subjects.resnet import build_resnet, truncated_resnet

PASSES = 2
"""Forward and back; both take the same arithmetic."""

LEAST = 2**20
"""Bytes, at least, with which the rate of memory is measured."""

_COLUMNS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a step on all images of a case takes.

    Parameters
    ----------
    flops : int
        Floating-point operations.
    weights : int
        Weights read.
    """

    flops: int
    weights: int


def step_work(case: Case) -> Work:
    """The work of a step, from shapes alone."""
    shape = case.images.shape if isinstance(case.network, ResNet) else (case.images.elements,)
    with torch.device("meta"):
        module = _skeleton(case.network)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.empty(1, *shape))
    weights = sum(each.numel() for each in module.parameters() if each.dim() > 1)
    return Work(
        flops=PASSES * counter.get_total_flops() * case.batch,
        weights=PASSES * weights * case.networks,
    )


def _skeleton(network: Network) -> nn.Module:
    """A network of the right shapes."""
    match network:
        case MLP():
            widths = (network.inputs, *network.widths)
            return nn.Sequential(*map(nn.Linear, widths, widths[1:]))
        case ResNet():
            return truncated_resnet(build_resnet(network, seed=0), layer=network.layer)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """Time of a step at the peak rates: of its arithmetic or its reading, whichever is longer.

    Parameters
    ----------
    work : Work
        Of the step.
    itemsize : int
        Bytes of a weight.
    gflops, gbytes : float
        Peak rates of arithmetic and memory, in GFLOP/s and GB/s.
    """

    work: Work
    itemsize: int
    gflops: float
    gbytes: float

    @property
    def arithmetic(self) -> float:
        """Seconds of the arithmetic."""
        return self.work.flops / (self.gflops * 1e9)

    @property
    def traffic(self) -> float:
        """Seconds of reading the weights."""
        return self.work.weights * self.itemsize / (self.gbytes * 1e9)

    @property
    def seconds(self) -> float:
        """The longer of the two."""
        return max(self.arithmetic, self.traffic)

    @property
    def bound(self) -> str:
        """Which of the two that is."""
        return "arithmetic" if self.arithmetic >= self.traffic else "memory"


class PeakRates:
    """The machine's peak rates, measured again before every round; the best ones count.

    Parameters
    ----------
    case : Case
        Decides how many bytes memory is measured with.
    dtype, device
        Of the weights.
    """

    def __init__(self, case: Case, *, dtype: torch.dtype, device: torch.device) -> None:
        self._work, self._dtype, self._device = step_work(case), dtype, device
        self._gflops = self._gbytes = 0.0

    def measure(self) -> None:
        """Measure both rates now."""
        rate = arithmetic_gflops(dtype=self._dtype, device=self._device, repeats=1)
        size = max(self._work.weights // PASSES * self._dtype.itemsize, LEAST)
        self._gflops = max(self._gflops, rate)
        self._gbytes = max(
            self._gbytes, memory_gbytes(size=size, dtype=self._dtype, device=self._device)
        )

    def roofline(self, work: Work | None = None) -> Roofline:
        """The roofline of the case, or of other work on the same machine."""
        return Roofline(
            work=work or self._work,
            itemsize=self._dtype.itemsize,
            gflops=self._gflops,
            gbytes=self._gbytes,
        )


def memory_gbytes(
    *, size: int, dtype: torch.dtype, device: torch.device, repeats: int = 4
) -> float:
    """The best rate in GB/s at which `size` bytes are copied (half of them) or read by a product.

    Caches take part as they do for weights of that size.
    """
    row = _COLUMNS * dtype.itemsize
    rows = max(2, size // row)
    matrix = torch.rand(rows, _COLUMNS, dtype=dtype, device=device)
    vector = torch.rand(_COLUMNS, dtype=dtype, device=device)
    product = torch.empty(rows, dtype=dtype, device=device)
    half = rows // 2

    def seconds(work: object) -> float:
        return best_seconds(work, device=device, repeats=repeats)

    copied = seconds(lambda: matrix[:half].copy_(matrix[half : 2 * half]))
    read = seconds(lambda: torch.mv(matrix, vector, out=product))
    return max(2 * half * row / copied, rows * row / read) / 1e9
