"""Numbers of streams: those that a plan of the step over many is built for, and those that a runtime captures."""

from collections.abc import Sequence
from itertools import pairwise

from ..errors import InputError

SIZES = "1,4,16,64,256"
"""As the command line and a plan's stamp have them."""
BUILT = "256"
"""What a plan is built for unless told otherwise: one choice of kernels, so that a row is the same to the bit however many run with it."""


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


def captured_sizes(sizes: Sequence[int], most_streams: int) -> list[int]:
    """The numbers of streams that a runtime of a plan of these sizes captures, where there are so many at most.

    They are the plan's, which its kernels were chosen for, and between them those of SIZES, for a plan of one large size: a few streams
    are not padded to it. The last one holds all streams, or as many as the plan does.
    """
    largest = min(most_streams, sizes[-1])
    return [*sorted(size for size in {*sizes, *sizes_of(SIZES)} if size < largest), largest]
