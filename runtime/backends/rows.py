"""The kernels of rows.cu, which copy states between streams' slots and the rows of a batch."""

import ctypes
from pathlib import Path

from ..cuda import Queue
from ..driver import Module
from ..entries import STATE
from .engine import Layout, Region

PTX = Path(__file__).with_name("rows.ptx")
THREADS, UNIT, UNITS = 256, 16, 4
"""Threads of a block, bytes that one copies at a time, and how many times it does, or nearly."""


class Tensor(ctypes.Structure):
    """Where a tensor of the state lies, see rows.cu."""

    _fields_ = (("offset", ctypes.c_uint64), ("batch", ctypes.c_uint64), ("bytes", ctypes.c_uint64))


class Copy(ctypes.Structure):
    """The parameter of either kernel, see rows.cu."""

    _fields_ = (
        ("rows", ctypes.c_uint64),
        ("slots", ctypes.c_uint64),
        ("slot_bytes", ctypes.c_uint64),
        ("tensors", Tensor * len(STATE)),
    )


class RowCopies:
    """The kernels, on one queue, between a batch and slots that are laid out as `slot`."""

    def __init__(self, queue: Queue, slot: Region, slots: int, rows: int) -> None:
        """`slots`, `rows`: addresses of the first slot, and of int32 pairs, a row of the batch each: the slots read and written.

        Raises CudaError, as every method does.
        """
        self._queue, self._slot, self._slots, self._rows = queue, slot, slots, rows
        self._module = Module(PTX.read_bytes())
        queue.keep(self._module.close)
        self._gather, self._scatter = (self._module.function(name) for name in ("gather", "scatter"))

    def gather(self, layout: Layout, base: int) -> None:
        """Enqueue the copies to the state that a batch at `base` reads."""
        self._launch(self._gather, layout, base, layout.sets[0])

    def scatter(self, layout: Layout, base: int) -> None:
        """Enqueue the copies from the state that a batch at `base` writes."""
        self._launch(self._scatter, layout, base, layout.sets[1])

    def _launch(self, function: object, layout: Layout, base: int, state: Region) -> None:
        streams = layout.tensors[STATE[0]].shape[0]
        sizes = {name: layout.tensors[name].size // streams for name in STATE}
        tensors = [Tensor(self._slot.offsets[name], base + state.offsets[name], sizes[name]) for name in STATE]
        copy = Copy(self._rows, self._slots, self._slot.end, (Tensor * len(STATE))(*tensors))
        parts = -(-max(sizes.values()) // (THREADS * UNIT * UNITS))
        self._module.launch(function, (parts, streams, len(STATE)), THREADS, self._queue.handle, copy)
