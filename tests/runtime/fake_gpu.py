# ruff: noqa: ARG002, N802, N815 -- names and parameters are those of CUDA and TensorRT
"""A GPU on host memory: CUDA's runtime and TensorRT by their own names, with a tiny stateful step that really runs.

What is enqueued runs only when the host waits, or never; memory starts and ends as garbage; every call is counted and can be made to fail.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial, wraps
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

Op = Callable[[], object]
Arrays = dict[str, np.ndarray]

FRAMES, WIDTH, CLASSES, WINDOW = 2, 3, 4, 30
SHAPES: dict[str, tuple[str, list[int]]] = {
    "audio": ("float32", [1, WINDOW]),
    "valid": ("int32", [1]),
    "length": ("int32", [1]),
    "kv_cache": ("float32", [1, 4, 5, 7]),
    "time_cache": ("float32", [1, 6, 2]),
    "tokens": ("int32", [1, FRAMES]),
    "log_probs": ("float32", [1, FRAMES, CLASSES]),
    "encoded": ("float32", [1, FRAMES, WIDTH]),
    "next_length": ("int32", [1]),
    "next_kv_cache": ("float32", [1, 4, 5, 7]),
    "next_time_cache": ("float32", [1, 6, 2]),
}
INPUTS = ("audio", "valid", "length", "kv_cache", "time_cache")
SCRATCH = 1000  # bytes


def toy_step(of: Arrays) -> Arrays:
    """The step, free of any GPU: each output depends on the audio, on `valid` and on all three caches."""
    heard = np.float32(of["audio"].mean() + of["valid"][0] % 97 * 0.01)
    seen = np.float32(heard + of["kv_cache"].mean() + 0.5 * of["time_cache"].sum() + 0.1 * of["length"][0])
    encoded = np.cos(seen + np.arange(FRAMES * WIDTH, dtype=np.float32)).reshape(1, FRAMES, WIDTH)
    log_probs = np.sin(seen * np.arange(1, FRAMES * CLASSES + 1, dtype=np.float32)).reshape(1, FRAMES, CLASSES)
    kv = np.roll(of["kv_cache"], -1, 2)
    kv[:, :, -1] = seen
    return {
        "tokens": log_probs.argmax(-1).astype(np.int32),
        "log_probs": log_probs,
        "encoded": encoded,
        "next_length": np.minimum(of["length"] + FRAMES, 5).astype(np.int32),
        "next_kv_cache": kv,
        "next_time_cache": (0.5 * of["time_cache"] + heard).astype(np.float32),
    }


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
        return Error.cudaSuccess, 3 << 20, 4 << 20

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
        kinds = ("device", "pinned") if kind == self.cudaMemcpyKind["cudaMemcpyHostToDevice"] else ("pinned", "device")
        if not (self._gpu.holds(kinds[0], to, size) and self._gpu.holds(kinds[1], source, size)):
            return (Error.cudaErrorInvalidValue,)
        stream.enqueue(partial(ctypes.memmove, to, source, size))
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
        return Error.cudaSuccess, self.cudaGraphNodeType(0 if isinstance(node, Kernel) else 1)

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


@dataclass(frozen=True)
class Kernel:
    """The toy step over device memory, at the addresses that were bound when it was enqueued."""

    addresses: dict[str, int]
    scratch: tuple[int, int]

    def __call__(self) -> None:
        of = {name: _at(self.addresses[name], *SHAPES[name]) for name in SHAPES}
        ctypes.memset(self.scratch[0], 0xAB, self.scratch[1])
        assert of["length"][0] >= 0, "a step read memory that nothing was written to"
        assert all(np.isfinite(of[name]).all() for name in INPUTS), "a step read memory that nothing was written to"
        result = toy_step({name: of[name].copy() for name in INPUTS})
        for name, values in result.items():
            of[name][:] = values


def _at(address: int, dtype: str, shape: list[int]) -> np.ndarray:
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)


class FakeContext:
    """What every version's IExecutionContext has."""

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu, self._addresses, self._scratch = gpu, dict[str, int](), (0, 0)
        self._handle = gpu.make("context")

    def __del__(self) -> None:
        del self._gpu.live[self._handle]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return not self._gpu.counted("set_tensor_address") and name not in self._gpu.refused and address % 256 == 0

    def execute_async_v3(self, stream: int) -> bool:
        queue = self._gpu.streams[stream]
        if self._gpu.counted("execute_async_v3") or (queue.recording is not None and not self._gpu.capturable):
            return False
        ranges = sorted(
            [(self._addresses[name], _at(self._addresses[name], *SHAPES[name]).nbytes) for name in SHAPES]
            + [self._scratch]
        )
        apart = all(start + size <= after for (start, size), (after, _) in pairwise(ranges))
        assert apart, "two tensors share bytes"
        assert all(self._gpu.holds("device", *each) for each in ranges), "a tensor outside of the device's memory"
        queue.enqueue(Kernel(dict(self._addresses), self._scratch))
        return True


class FakeContext8(FakeContext):
    @property
    def device_memory(self) -> int:
        return self._scratch[0]

    @device_memory.setter
    def device_memory(self, address: int) -> None:
        self._scratch = (address, SCRATCH)


class FakeContext10(FakeContext):
    def set_device_memory(self, memory: int, size: int) -> None:
        assert size == SCRATCH
        self._scratch = (memory, size)


class FakeEngine:
    """What every version's ICudaEngine has."""

    def __init__(self, gpu: FakeGpu, shapes: dict[str, tuple[str, list[int]]]) -> None:
        self._gpu, self._shapes = gpu, shapes
        self._handle = gpu.make("engine")

    def __del__(self) -> None:
        del self._gpu.live[self._handle]

    @property
    def num_io_tensors(self) -> int:
        return len(self._shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._shapes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._shapes[name][1])

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name={"float32": "FLOAT", "float16": "HALF", "int32": "INT32"}[self._shapes[name][0]])


class FakeEngine8(FakeEngine):
    device_memory_size = SCRATCH

    def create_execution_context_without_device_memory(self) -> FakeContext | None:
        return None if self._gpu.counted("create_execution_context") else FakeContext8(self._gpu)


class FakeEngine10(FakeEngine):
    device_memory_size_v2 = SCRATCH

    def create_execution_context(self, strategy: str) -> FakeContext | None:
        assert strategy == "user managed"
        return None if self._gpu.counted("create_execution_context") else FakeContext10(self._gpu)


class FakeTensorRt:
    """Stands for the module tensorrt, of version 8.6 or of 10 and later."""

    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None:
            assert severity == self.ERROR

    def __init__(self, gpu: FakeGpu, version: str = "10.16.1.11", shapes: Any = None) -> None:  # noqa: ANN401
        self.__version__ = version
        modern = not version.startswith("8.")
        if modern:
            self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
        engine = FakeEngine10 if modern else FakeEngine8

        class Runtime:
            def __init__(self, logger: object) -> None:
                pass

            def deserialize_cuda_engine(self, serialized: bytes) -> FakeEngine | None:
                if gpu.counted("deserialize_cuda_engine") or serialized != b"a plan":
                    return None
                return engine(gpu, shapes or SHAPES)

        self.Runtime = Runtime
