"""Python's garbage collector, kept from stopping a stream over what was loaded before it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_spared() -> Iterator[None]:
    """Clean up first; within the block collections leave alone what was there before it (`gc.freeze`).

    For programs whose recogniser is open: a full collection over modules, words and records takes 16 ms, in the middle of a step.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
