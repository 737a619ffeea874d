"""Every exact statement by its name."""

from __future__ import annotations

import functools

from harness.errors import UnknownNameError
from harness.measurements.exact import convolutions, maps, networks, operations, witnesses
from harness.measurements.exact.statement import AnyStatement
from harness.plan.networks import BLOCKS


@functools.cache
def statements() -> dict[str, AnyStatement]:
    """The statements by name."""
    return {
        "Conv5 could hold the input": networks.conv5_could_hold_the_input(),
        "swap, any kernel": convolutions.swap(uniform=False),
        "swap, uniform kernel": convolutions.swap(uniform=True),
        "scan at stride 1": convolutions.scan_is_invertible(),
        "scan at larger strides": convolutions.strided_scan_is_not(),
        "null vector": maps.null_vector(),
        "narrow stack": witnesses.narrow_stack_has_two_inputs(),
        "pooled convolution": witnesses.pooled_convolution_has_two_inputs(),
        **{
            f"two inputs of {name}": operations.operation_has_two_inputs(name)
            for name in operations.OPERATIONS
        },
        "residual connection": operations.residual_is_not_invertible(),
        "preimages of shrinking maps": maps.preimages_multiply(square=False),
        "preimages of square maps": maps.preimages_multiply(square=True),
        "contraction example": maps.contraction_example(),
        "shift as a bound": maps.shift_is_a_bound(),
        "rectified convolution": convolutions.rectified_convolution_has_two_inputs(),
        "classes bound the rank": networks.classes_bound_the_rank(),
        **{f"rank of {name} block": networks.block_is_not_invertible(name) for name in BLOCKS},
    }


def statement(name: str) -> AnyStatement:
    """The statement of a name.

    Raises
    ------
    UnknownNameError
        Where there is none.
    """
    known = statements()
    if name not in known:
        raise UnknownNameError.nearest(name, known, what="exact statement")
    return known[name]
