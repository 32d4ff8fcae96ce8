# ruff: noqa: ARG002, N802, N815 -- names and parameters are those of CUDA
"""CUDA's runtime on host memory, by its own names.

What is enqueued runs only when the host waits, or never; memory starts and ends as garbage; every call is counted and can be made to fail.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import numpy as np

Op = Callable[[], object]

TOTAL = 16 << 30  # bytes of the device


class FakeKernel:
    """An op that computes; every other one copies or clears."""


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
    calls: list[str] = field(default_factory=list)
    live: dict[int, str] = field(default_factory=dict)
    """Kind of what was made and not freed yet, by handle."""
    blocks: dict[int, Block] = field(default_factory=dict)
    streams: dict[int, FakeStream] = field(default_factory=dict)
    last_error: Error = Error.cudaSuccess
    _freed: list[Block] = field(default_factory=list)  # kept, so that a late read finds garbage and no other's data
    _handles: int = 0

    def make(self, kind: str) -> int:
        self._handles += 1
        self.live[self._handles] = kind
        return self._handles

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
            for start, block in self.blocks.items()
        )

    def held(self) -> int:
        """Bytes of the device in use."""
        blocks = sum(block.size for block in self.blocks.values() if block.kind == "device")
        return self.costs.get("cuda", 0) + blocks + sum(self.costs.get(kind, 0) for kind in self.live.values())

    def counted(self, name: str) -> bool:
        """Count the call; whether it is the one to fail."""
        self.calls.append(name)
        return len(self.calls) == self.fail_at


def _call(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Count; fail where it is that call's turn: a call that frees or ends something has done so even then, as with CUDA."""
    name = function.__name__
    ends = any(part in name for part in ("Free", "Destroy", "Synchronize", "EndCapture"))

    @wraps(function)
    def counted(self: "FakeCuda", *args: object) -> tuple[Any, ...]:
        failing = self._gpu.counted(name)
        result = function(self, *args) if ends or not failing else (Error.cudaErrorMemoryAllocation, None)
        if failing:
            if name == "cudaStreamEndCapture":
                self._gpu.live.pop(result[1].handle)
            result = (Error.cudaErrorMemoryAllocation, *(None for _ in result[1:]))
        if result[0] != Error.cudaSuccess:
            self._gpu.last_error = result[0]
        return result

    return counted


@dataclass
class _Recorded:
    handle: int
    ops: list[Op]


class FakeCuda:
    """Stands for cuda.bindings.runtime: its public names are a part of that module's."""

    cudaError_t = Error
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaHostAllocDefault = 0
    cudaMemcpyKind = IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})
    cudaStreamCaptureMode = IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})
    cudaGraphNodeType = IntEnum("cudaGraphNodeType", {"cudaGraphNodeTypeKernel": 0, "cudaGraphNodeTypeMemcpy": 1})

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    @_call
    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        major, minor = self._gpu.compute_capability
        return Error.cudaSuccess, SimpleNamespace(name=self._gpu.name.encode(), major=major, minor=minor)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return Error.cudaSuccess, TOTAL - self._gpu.held(), TOTAL

    def cudaGetLastError(self) -> tuple[Any, ...]:
        error, self._gpu.last_error = self._gpu.last_error, Error.cudaSuccess
        return (error,)

    def cudaGetErrorName(self, error: Error) -> tuple[Any, ...]:
        return Error.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error: Error) -> tuple[Any, ...]:
        return Error.cudaSuccess, f"text of {int(error)}".encode()

    @_call
    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, self._gpu.allocate("device", size)

    @_call
    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return (self._gpu.free(address, "device"),)

    @_call
    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, self._gpu.allocate("pinned", size)

    @_call
    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return (self._gpu.free(address, "pinned"),)

    @_call
    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        if flags != self.cudaStreamNonBlocking:
            return Error.cudaErrorInvalidValue, None
        stream = FakeStream(self._gpu.make("stream"))
        self._gpu.streams[stream.handle] = stream
        return Error.cudaSuccess, stream

    @_call
    def cudaStreamDestroy(self, stream: FakeStream) -> tuple[Any, ...]:
        return (self._gpu.free(stream.handle, "stream"),)

    @_call
    def cudaStreamSynchronize(self, stream: FakeStream) -> tuple[Any, ...]:
        if stream.recording is not None:
            return (Error.cudaErrorStreamCaptureUnsupported,)
        stream.drain()
        return (Error.cudaSuccess,)

    @_call
    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, SimpleNamespace(handle=self._gpu.make("event"), stream=None)

    @_call
    def cudaEventDestroy(self, event: SimpleNamespace) -> tuple[Any, ...]:
        return (self._gpu.free(event.handle, "event"),)

    @_call
    def cudaEventRecord(self, event: SimpleNamespace, stream: FakeStream) -> tuple[Any, ...]:
        event.stream = stream
        return (Error.cudaSuccess,)

    @_call
    def cudaEventSynchronize(self, event: SimpleNamespace) -> tuple[Any, ...]:
        event.stream.drain()
        return (Error.cudaSuccess,)

    @_call
    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: FakeStream) -> tuple[Any, ...]:
        upload = kind == self.cudaMemcpyKind["cudaMemcpyHostToDevice"]
        device, host = (to, source) if upload else (source, to)
        pinned = self._gpu.holds("pinned", host, size)
        if not self._gpu.holds("device", device, size) or not (pinned or self._gpu.pageable):
            return (Error.cudaErrorInvalidValue,)
        if not pinned and stream.recording is not None:
            return (Error.cudaErrorStreamCaptureUnsupported,)
        staged = ctypes.string_at(host, size) if upload and not pinned else source
        stream.enqueue(partial(ctypes.memmove, to, staged, size))
        if not upload and not pinned:
            stream.drain()  # such a copy is done when the call returns
        return (Error.cudaSuccess,)

    @_call
    def cudaMemsetAsync(self, to: int, value: int, size: int, stream: FakeStream) -> tuple[Any, ...]:
        if not self._gpu.holds("device", to, size):
            return (Error.cudaErrorInvalidValue,)
        stream.enqueue(partial(ctypes.memset, to, value, size))
        return (Error.cudaSuccess,)

    @_call
    def cudaStreamBeginCapture(self, stream: FakeStream, mode: int) -> tuple[Any, ...]:
        if stream.recording is not None:
            return (Error.cudaErrorInvalidValue,)
        stream.recording = []
        return (Error.cudaSuccess,)

    @_call
    def cudaStreamEndCapture(self, stream: FakeStream) -> tuple[Any, ...]:
        if stream.recording is None:
            return Error.cudaErrorInvalidValue, None
        ops, stream.recording = stream.recording, None
        return Error.cudaSuccess, _Recorded(self._gpu.make("graph"), ops)

    @_call
    def cudaGraphInstantiate(self, graph: _Recorded, flags: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, _Recorded(self._gpu.make("executable"), list(graph.ops))

    @_call
    def cudaGraphUpload(self, executable: _Recorded, stream: FakeStream) -> tuple[Any, ...]:
        return (Error.cudaSuccess,)

    @_call
    def cudaGraphGetNodes(self, graph: _Recorded, number: int = 0) -> tuple[Any, ...]:
        return Error.cudaSuccess, graph.ops[:number], number or len(graph.ops)

    @_call
    def cudaGraphNodeGetType(self, node: Op) -> tuple[Any, ...]:
        return Error.cudaSuccess, self.cudaGraphNodeType(0 if isinstance(node, FakeKernel) else 1)

    @_call
    def cudaGraphDestroy(self, graph: _Recorded) -> tuple[Any, ...]:
        return (self._gpu.free(graph.handle, "graph"),)

    @_call
    def cudaGraphExecDestroy(self, executable: _Recorded) -> tuple[Any, ...]:
        return (self._gpu.free(executable.handle, "executable"),)

    @_call
    def cudaGraphLaunch(self, executable: _Recorded, stream: FakeStream) -> tuple[Any, ...]:
        if self._gpu.live.get(executable.handle) != "executable":
            return (Error.cudaErrorInvalidValue,)
        for op in executable.ops:
            stream.enqueue(op)
        return (Error.cudaSuccess,)
