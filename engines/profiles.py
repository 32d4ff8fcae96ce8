"""Optimisation profiles of the step over many streams: which numbers of streams a plan runs, and how many its kernels are chosen for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from runtime.errors import InputError

SIZES = "1,4,16,64,256"
"""Numbers of streams, as the command line and a plan's stamp have them."""


def sizes_of(text: str, option: str = "--batch") -> tuple[int, ...]:
    """The numbers of streams in `text`, as SIZES. Raises InputError unless they are whole, positive and rise."""
    parts = text.split(",")
    sizes = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    if len(sizes) < len(parts) or any(above <= below for below, above in pairwise((0, *sizes))):
        raise InputError(f"{option}: expected numbers of streams that rise, such as {SIZES}, found {text!r}")
    return sizes


def profile_for(sizes: Sequence[int], streams: int) -> int:
    """Number of the profile that runs so many streams, in a plan of these sizes. Raises InputError beyond the largest."""
    for index, size in enumerate(sizes):
        if streams <= size:
            return index
    raise InputError(
        f"expected at most {sizes[-1]} streams for this plan, found {streams}; build one with `python -m engines --batch {streams}`"
    )


def add_profiles(builder: Any, config: Any, network: Any, sizes: Sequence[int]) -> None:  # noqa: ANN401 -- TensorRT's
    """Add a profile for each size, whose kernels are chosen for it; it runs fewer streams too, down to the size before.

    So every number of streams has one profile. It is a range where it can be: for a single number TensorRT-RTX takes the batch for
    static and stores constants once for each stream, 59 MB more of a plan for 64 streams of the 13 M model.
    """
    for below, size in pairwise((0, *sizes)):
        profile = builder.create_optimization_profile()
        for tensor in (network.get_input(index) for index in range(network.num_inputs)):
            least, most = ((streams, *tuple(tensor.shape)[1:]) for streams in (below + 1, size))
            profile.set_shape(tensor.name, least, most, most)
        config.add_optimization_profile(profile)
