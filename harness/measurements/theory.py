"""Theoretical laws of measured quantities."""

from __future__ import annotations

import functools

import numpy as np
import scipy  # its submodules load when they are used


def newman_rate(*, inputs: int, width: int) -> float:
    """By how many nats a layer of independent Gaussian weights spreads the singular values.

    The difference of the largest and the least Lyapunov exponent of products of such matrices,
    ``[psi(m / 2) - psi((m - n + 1) / 2)] / 2`` (Newman 1986, Communications in Mathematical Physics
    103, 121).

    Parameters
    ----------
    inputs, width : int
        n, and m of every layer.
    """
    return (
        float(scipy.special.digamma(width / 2) - scipy.special.digamma((width - inputs + 1) / 2))
        / 2
    )


@functools.cache
def median_of_product(factors: int) -> float:
    """Median of the product of the absolute values of independent standard normal numbers."""
    logs = np.arange(-40.0, 4.0, 1e-3)
    one = np.sqrt(2 / np.pi) * np.exp(logs - np.exp(2 * logs) / 2)
    density, least = one, logs[0]
    for _ in range(factors - 1):
        density, least = scipy.signal.fftconvolve(density, one) * 1e-3, least + logs[0]
    below = np.cumsum(density) * 1e-3
    # A point of the grid stands for the interval around it: half of its mass lies beyond it.
    return float(np.exp(least + 1e-3 * np.interp(0.5, below, np.arange(len(below))) + 5e-4))


def neighbour_stretch(*, depth: int, sd: float) -> float:
    """Median over networks of |a'' - a| over the distance of their outputs.

    Layers are square with independent Gaussian weights of a standard deviation sd. For a fixed
    vector u, ``|W^-1 u| = |u| / (sd |z|)`` with a standard normal z, since 1 / (u^T (W W^T)^-1 u)
    has a chi-square law with one degree of freedom (Muirhead 1982, theorem 3.2.12); directions are
    uniform, so that layers multiply: ``prod 1 / (sd |z_l|)``, whatever n is.
    """
    return sd**-depth / median_of_product(depth)
