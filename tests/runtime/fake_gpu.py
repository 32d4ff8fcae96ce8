# ruff: noqa: N815 -- names are those of CUDA
"""A GPU on host memory: what lives on it, what was called, and a clock that advances with what runs."""

import ctypes
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import TypeGuard

import numpy as np

Op = Callable[[], object]

TOTAL = 16 << 30  # bytes of the device
COPIES = (ctypes.memmove, ctypes.memset)
KERNEL_US = 4.0
LAUNCH_US = 50.0  # between what is enqueued and the launch of a graph


class FakeKernel:
    """An op that computes; every other one copies or clears."""


def is_copy(op: Op) -> TypeGuard["partial[object]"]:
    """Whether it copies or clears, the rest being kernels and what a graph has beside them."""
    return isinstance(op, partial) and op.func in COPIES


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


@dataclass
class Block:
    kind: str
    size: int
    buffer: np.ndarray


@dataclass
class FakeStream:
    handle: int
    pending: list[Op] = field(default_factory=list)
    recording: list[Op] | None = None

    def __int__(self) -> int:
        return self.handle

    def enqueue(self, op: Op) -> None:
        (self.pending if self.recording is None else self.recording).append(op)

    def drain(self) -> None:
        while self.pending:
            self.pending.pop(0)()


@dataclass
class FakeEvent:
    handle: int
    sleeps: bool
    stream: FakeStream | None = None
    us: float = math.nan

    def __int__(self) -> int:
        return self.handle

    def wait(self) -> None:
        if self.stream is not None:  # one never recorded has nothing to wait for
            self.stream.drain()


class FakeLibcuda:
    """The driver itself, as ctypes gives it: not counted, since what it returns is left to the runtime's calls."""

    def __init__(self, gpu: "FakeGpu") -> None:
        self._gpu = gpu

    def cuEventSynchronize(self, handle: ctypes.c_void_p) -> int:  # noqa: N802
        event = self._gpu.events[handle.value or 0]
        event.wait()
        self._gpu.waits.append("asleep" if event.sleeps else "spinning")
        return 0


@dataclass
class FakeGpu:
    """The books: what lives, what was called."""

    name: str = "Fake GPU"
    compute_capability: tuple[int, int] = (9, 0)
    fail_at: int = 0
    """Number of the CUDA or TensorRT call that fails; 0: none."""
    capturable: bool = True
    pageable: bool = False
    """Whether copies from and to memory that is not pinned are let through."""
    costs: dict[str, int] = field(default_factory=dict)
    """Bytes of the device that each live thing of a kind holds beside its blocks; `cuda`: always held."""
    refused: frozenset[str] = frozenset()
    """Tensors whose address TensorRT does not take."""
    edges: str = "13"
    """How cuda-python gives a graph's edges: `13`, `12.9` (by two names, of which the older fails at some edges), `12.0`."""
    clock_us: float = 0
    """Advances with what runs: KERNEL_US for a kernel, 0.01 for each byte copied or cleared."""
    calls: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    """How each wait for an event passed the time: `asleep` or `spinning`."""
    live: dict[int, str] = field(default_factory=dict)
    """Kind of what was made and not freed yet, by handle."""
    blocks: dict[int, Block] = field(default_factory=dict)
    here: threading.local = field(default_factory=threading.local)
    """`current`: whether this thread has a context, which a call of CUDA's runtime gives it."""
    streams: dict[int, FakeStream] = field(default_factory=dict)
    events: dict[int, FakeEvent] = field(default_factory=dict)
    last_error: Error = Error.cudaSuccess
    _freed: list[Block] = field(default_factory=list)  # kept, so that a late read finds garbage and no other's data
    _handles: int = 0

    def make(self, kind: str) -> int:
        self._handles += 1
        self.live[self._handles] = kind
        return self._handles

    def make_event(self, *, sleeps: bool = False) -> FakeEvent:
        event = FakeEvent(self.make("event"), sleeps)
        self.events[event.handle] = event
        return event

    def allocate(self, kind: str, size: int) -> int:
        buffer = np.full(size + 256, 0xFF, np.uint8)  # NaN and -1
        address = -(-buffer.ctypes.data // 256) * 256
        self.blocks[address] = Block(kind, size, buffer)
        self.live[address] = kind
        return address

    def free(self, address: int, kind: str) -> Error:
        if self.live.get(address) != kind:
            return Error.cudaErrorInvalidValue
        del self.live[address]
        if address in self.blocks:
            self._freed.append(self.blocks.pop(address))
            self._freed[-1].buffer[:] = 0xFF
        return Error.cudaSuccess

    def holds(self, kind: str, address: int, size: int) -> bool:
        return any(
            block.kind == kind and start <= address and address + size <= start + block.size
            for start, block in list(self.blocks.items())  # other threads allocate meanwhile
        )

    def held(self) -> int:
        """Bytes of the device in use."""
        blocks = sum(block.size for block in self.blocks.values() if block.kind == "device")
        return self.costs.get("cuda", 0) + blocks + sum(self.costs.get(kind, 0) for kind in self.live.values())

    def fits(self, kind: str, size: int = 0) -> bool:
        """Whether the device has room for one more of a kind, or for a block."""
        return self.held() + self.costs.get(kind, 0) + size <= TOTAL

    def run(self, ops: Iterable[Op]) -> None:
        """Run them now; what is in neither of these kinds takes no time."""
        for op in ops:
            self.clock_us += KERNEL_US if isinstance(op, FakeKernel) else 0.01 * op.args[2] if is_copy(op) else 0
            op()

    def launch(self, ops: Iterable[Op]) -> None:
        self.clock_us += LAUNCH_US
        self.run(ops)

    def counted(self, name: str) -> bool:
        """Count the call; whether it is the one to fail."""
        self.calls.append(name)
        return len(self.calls) == self.fail_at
