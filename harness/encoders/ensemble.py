"""Networks of one architecture, each with its own weights, in one batch.

For modules of your own: in a replicate of a claim every image has a network with fresh weights, and
`harness.inversion.recover.recover` recovers the images of all of them in one batch.
For a single module there is `harness.encoders.network.NetworkEncoder`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from harness.encoders.encoder import Encoder, ModuleEncoder, unfused_attention


class Ensemble(nn.Module):
    """Modules of one architecture as one module, its weights stacked.

    A batch has the same number of samples for each network, one network after the other.

    Parameters
    ----------
    modules : sequence of nn.Module
        In eval mode; they are not changed.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self._networks = len(modules)
        parameters, buffers = stack_module_state(list(modules))
        self._state = {name: value.detach() for name, value in (parameters | buffers).items()}
        # In a tuple, so that its parameters, which have no values, are not the ensemble's.
        self._skeleton = (copy.deepcopy(modules[0]).to("meta").eval(),)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch."""
        (skeleton,) = self._skeleton

        def one(state: dict[str, Tensor], samples: Tensor) -> Tensor:
            output: Tensor = functional_call(skeleton, state, (samples,))
            return output

        grouped = inputs.reshape(self._networks, -1, *inputs.shape[1:])
        with unfused_attention():
            return vmap(one)(self._state, grouped).flatten(0, 1)


def ensemble_encoder(modules: Sequence[nn.Module]) -> Encoder:
    """Encoder of networks of one architecture, sample s by network s // R for R samples each.

    For networks other than stacks of layers, such as attention and mixers: stacks have a faster
    encoder, `harness.encoders.stacks.StackEncoder`.

    Parameters
    ----------
    modules : sequence of nn.Module
        In eval mode, on one device and in one dtype; they are not changed.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from harness.inversion.recover import recover
    >>> from harness.plan.decoders import LBFGS
    >>> from harness.encoders.ensemble import ensemble_encoder
    >>> networks = [nn.Sequential(nn.Linear(8, 16), nn.Tanh()).eval() for _ in range(3)]
    >>> images, starts = torch.rand(3, 8), torch.rand(3, 8)
    >>> found = recover(
    ...     ensemble_encoder(networks),
    ...     images,
    ...     start=starts,
    ...     noised=images + 0.04 * torch.randn(3, 8),
    ...     decoder=LBFGS(),
    ...     iterations=100,
    ... )
    >>> [outcome.value for outcome in found.outcomes]
    ['matched', 'matched', 'matched']
    """
    return ModuleEncoder(Ensemble(modules))
