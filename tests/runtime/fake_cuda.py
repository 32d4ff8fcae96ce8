# ruff: noqa: ARG002, N802, N815 -- names and parameters are those of CUDA
"""CUDA's runtime on host memory, by its own names.

What is enqueued runs only when the host waits, or never; memory starts and ends as garbage; every call is counted and can be made to fail.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

from tests.runtime.fake_gpu import COPIES, TOTAL, Error, FakeEvent, FakeGpu, FakeKernel, FakeStream, Op, is_copy


def _call(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Count; fail where it is that call's turn: a call that frees or ends something has done so even then, as with CUDA."""
    name = function.__name__
    ends = any(part in name for part in ("Free", "Destroy", "Synchronize", "EndCapture"))

    @wraps(function)
    def counted(self: "FakeCuda", *args: object) -> tuple[Any, ...]:
        failing = self._gpu.counted(name)
        self._gpu.here.current = True
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
    cudaEventBlockingSync = 1
    cudaEventDisableTiming = 2
    cudaHostAllocDefault = 0
    cudaMemcpyKind = IntEnum(
        "cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2, "cudaMemcpyDeviceToDevice": 3}
    )
    cudaStreamCaptureMode = IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})
    cudaGraphNodeType = IntEnum(
        "cudaGraphNodeType",
        {
            "cudaGraphNodeTypeKernel": 0,
            "cudaGraphNodeTypeMemcpy": 1,
            "cudaGraphNodeTypeMemset": 2,
            "cudaGraphNodeTypeGraph": 4,
        },
    )

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        if gpu.edges == "12.9":
            self.cudaGraphGetEdges_v2 = self._edges

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
        if not self._gpu.fits("device", size):
            return Error.cudaErrorMemoryAllocation, None
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
        if not self._gpu.fits("stream"):
            return Error.cudaErrorMemoryAllocation, None
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
        return Error.cudaSuccess, self._gpu.make_event(sleeps=bool(flags & self.cudaEventBlockingSync))

    @_call
    def cudaEventCreate(self) -> tuple[Any, ...]:
        return Error.cudaSuccess, self._gpu.make_event()

    @_call
    def cudaEventElapsedTime(self, start: FakeEvent, end: FakeEvent) -> tuple[Any, ...]:
        return Error.cudaSuccess, (end.us - start.us) / 1e3

    @_call
    def cudaEventDestroy(self, event: FakeEvent) -> tuple[Any, ...]:
        return (self._gpu.free(event.handle, "event"),)

    @_call
    def cudaEventRecord(self, event: FakeEvent, stream: FakeStream) -> tuple[Any, ...]:
        event.stream = stream
        return (Error.cudaSuccess,)

    @_call
    def cudaEventSynchronize(self, event: FakeEvent) -> tuple[Any, ...]:
        assert not (event.stream and event.stream.pending), (
            "a wait that may hold the interpreter: the driver's comes first"
        )
        return (Error.cudaSuccess,)

    @_call
    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: FakeStream) -> tuple[Any, ...]:
        if kind == self.cudaMemcpyKind["cudaMemcpyDeviceToDevice"]:
            if not all(self._gpu.holds("device", address, size) for address in (to, source)):
                return (Error.cudaErrorInvalidValue,)
            stream.enqueue(partial(ctypes.memmove, to, source, size))
            return (Error.cudaSuccess,)
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
        return Error.cudaSuccess, graph.ops[::-1][:number], number or len(graph.ops)  # in no order that CUDA promises

    @_call
    def cudaGraphGetEdges(self, graph: _Recorded, number: int = 0) -> tuple[Any, ...]:
        if self._gpu.edges == "12.9":
            return Error.cudaErrorInvalidValue, None, None, None
        return self._edges(graph, number)

    def _edges(self, graph: _Recorded, number: int = 0) -> tuple[Any, ...]:
        found = [graph.ops[:-1][:number], graph.ops[1:][:number]]
        data = [] if self._gpu.edges == "12.0" else [[None] * number]
        return Error.cudaSuccess, *found, *data, number or len(graph.ops) - 1

    @_call
    def cudaGraphNodeGetType(self, node: Op) -> tuple[Any, ...]:
        kind = 1 + COPIES.index(node.func) if is_copy(node) else 0 if isinstance(node, FakeKernel) else 4
        return Error.cudaSuccess, self.cudaGraphNodeType(kind)

    @_call
    def cudaGraphCreate(self, flags: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, _Recorded(self._gpu.make("graph"), [])

    def _chain(self, graph: _Recorded, before: list[Op], number: int, op: Op) -> tuple[Any, ...]:
        if before != graph.ops[-1:] or number != len(before):
            return Error.cudaErrorInvalidValue, None
        graph.ops.append(op)
        return Error.cudaSuccess, op

    @_call
    def cudaGraphAddChildGraphNode(self, graph: _Recorded, before: list[Op], number: int, child: _Recorded) -> Any:  # noqa: ANN401
        return self._chain(graph, before, number, partial(self._gpu.run, list(child.ops)))

    @_call
    def cudaGraphAddEventRecordNode(self, graph: _Recorded, before: list[Op], number: int, event: FakeEvent) -> Any:  # noqa: ANN401
        return self._chain(graph, before, number, lambda: setattr(event, "us", self._gpu.clock_us))

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
        stream.enqueue(partial(self._gpu.launch, executable.ops))
        return (Error.cudaSuccess,)
