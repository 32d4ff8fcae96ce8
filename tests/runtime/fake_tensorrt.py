"""TensorRT over the fake CUDA runtime, by its own names, with a tiny stateful step and an evaluation behind it that really run."""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.entries import RNNT_STATE
from tests.runtime import fake_rnnt
from tests.runtime.fake_gpu import FakeGpu, FakeKernel

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
TOLD = SHAPES | {"prompt": ("int32", [1])}
"""Of a step that is told the language."""
OPEN = -1  # an axis whose length is known when a plan runs
SIZES = (1, 4, 6)  # numbers of streams of the plan for many
CTC_RESULTS = ("tokens", "log_probs")
INPUTS = ("audio", "valid", "length", "kv_cache", "time_cache")
SCRATCH = 1000  # bytes
LAYERS = """{"Layers": [{"Name": "step", "LayerType": "gemm", "Metadata": "[ONNX Layer: layer0/in]\x1f[ONNX Layer: layer0/out]",
"Inputs": [{"Datatype": "Int8"}], "Outputs": [{"Datatype": "Half"}], "TacticName": "sm80_xmma_gemm_i8f16"}]}"""


def toy_step(of: Arrays) -> Arrays:
    """The step, free of any GPU: each output depends on the audio, on `valid`, on all three caches and, where it is given, on `prompt`."""
    heard = np.float32(of["audio"].mean() + of["valid"][0] % 97 * 0.01)
    if "prompt" in of:
        heard += np.float32(0.1) * np.float32(of["prompt"][0])
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


def _without_ctc(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in tensors.items() if name not in CTC_RESULTS}


@dataclass(frozen=True)
class Program:
    """What a plan runs."""

    shapes: dict[str, tuple[str, list[int]]]
    """The first axis is OPEN where the streams are many."""
    inputs: tuple[str, ...]
    function: Callable[[Arrays], Arrays]
    sizes: tuple[int, ...] = ()
    """Of the profiles, where the streams are many: each begins after the one before."""

    def of_streams(self, streams: int) -> dict[str, tuple[str, list[int]]]:
        return {
            name: (dtype, [streams if each == OPEN else each for each in shape])
            for name, (dtype, shape) in self.shapes.items()
        }


def toy_rows(of: Arrays) -> Arrays:
    """The step of each stream."""
    rows = [toy_step({name: values[row : row + 1] for name, values in of.items()}) for row in range(len(of["valid"]))]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _of_many(tensors: dict[str, tuple[str, list[int]]]) -> dict[str, tuple[str, list[int]]]:
    return {name: (dtype, [OPEN, *shape[1:]]) for name, (dtype, shape) in tensors.items()}


PROGRAMS = {
    b"a plan": Program(SHAPES, INPUTS, toy_step),
    b"a plan of many streams": Program(_of_many(SHAPES), INPUTS, toy_rows, SIZES),
    b"a plan with prompts": Program(TOLD, (*INPUTS, "prompt"), toy_step),
    b"a plan of many streams with prompts": Program(_of_many(TOLD), (*INPUTS, "prompt"), toy_rows, SIZES),
    b"a plan without a CTC head": Program(_without_ctc(SHAPES), INPUTS, lambda of: _without_ctc(toy_step(of))),
    b"an evaluation": Program(fake_rnnt.SHAPES, fake_rnnt.INPUTS, fake_rnnt.toy_evaluation),
    b"an eager evaluation": Program(fake_rnnt.SHAPES, fake_rnnt.INPUTS, partial(fake_rnnt.toy_evaluation, eager=True)),
    b"an endless evaluation": Program(
        fake_rnnt.SHAPES, fake_rnnt.INPUTS, lambda of: {f"next_{name}": of[name] for name in RNNT_STATE}
    ),
}


@dataclass(frozen=True, eq=False)
class Kernel(FakeKernel):
    """A program over device memory, at the addresses that were bound when it was enqueued."""

    program: Program
    streams: int
    addresses: dict[str, int]
    scratch: tuple[int, int]

    @cached_property
    def _tensors(self) -> Arrays:
        shapes = self.program.of_streams(self.streams)
        return {name: _at(self.addresses[name], *shapes[name]) for name in shapes}

    def __call__(self) -> None:
        of, inputs = self._tensors, self.program.inputs
        ctypes.memset(self.scratch[0], 0xAB, self.scratch[1])
        for name in inputs:
            written = of[name] >= 0 if of[name].dtype == np.int32 else np.isfinite(of[name])
            assert written.all(), f"a run read {name} where nothing was written"
        result = self.program.function({name: of[name].copy() for name in inputs})
        for name, values in result.items():
            of[name][:] = values


def _at(address: int, dtype: str, shape: list[int]) -> np.ndarray:
    return np.frombuffer(memoryview((ctypes.c_uint8 * _size(dtype, shape)).from_address(address)), dtype).reshape(shape)


def _size(dtype: str, shape: list[int]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)


class FakeContext:
    """What every version's IExecutionContext has."""

    def __init__(self, gpu: FakeGpu, program: Program) -> None:
        self._gpu, self._program, self._addresses, self._scratch = gpu, program, dict[str, int](), (0, 0)
        self._handle = gpu.make("context")
        self._profile, self._streams = -1, dict[str, int]()

    def __del__(self) -> None:
        del self._gpu.live[self._handle]

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream in self._gpu.streams
        self._profile = profile
        return not self._gpu.counted("set_optimization_profile_async") and profile < len(self._program.sizes)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name in self._program.inputs
        assert self._program.of_streams(shape[0])[name][1] == list(shape)
        self._streams[name] = shape[0]
        below, size = (0, *self._program.sizes)[self._profile : self._profile + 2]
        return not self._gpu.counted("set_input_shape") and below < shape[0] <= size

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return not self._gpu.counted("set_tensor_address") and name not in self._gpu.refused and address % 256 == 0

    def execute_async_v3(self, stream: int) -> bool:
        queue = self._gpu.streams[stream]
        if self._gpu.counted("execute_async_v3") or (queue.recording is not None and not self._gpu.capturable):
            return False
        streams = 1
        if self._program.sizes:
            assert self._streams.keys() == set(self._program.inputs), "an input without a shape"
            (streams,) = set(self._streams.values())
        ranges = sorted(
            [(self._addresses[name], _size(*shape)) for name, shape in self._program.of_streams(streams).items()]
            + [self._scratch]
        )
        apart = all(start + size <= after for (start, size), (after, _) in pairwise(ranges))
        assert apart, "two tensors share bytes"
        assert all(self._gpu.holds("device", *each) for each in ranges), "a tensor outside of the device's memory"
        queue.enqueue(Kernel(self._program, streams, dict(self._addresses), self._scratch))
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

    def __init__(self, gpu: FakeGpu, program: Program, shapes: dict[str, tuple[str, list[int]]]) -> None:
        self._gpu, self._program, self._shapes = gpu, program, shapes
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

    def create_engine_inspector(self) -> SimpleNamespace:
        return SimpleNamespace(get_engine_information={"json": LAYERS}.__getitem__)


class FakeEngine8(FakeEngine):
    device_memory_size = SCRATCH

    def create_execution_context_without_device_memory(self) -> FakeContext | None:
        failing = self._gpu.counted("create_execution_context") or not self._gpu.fits("context")
        return None if failing else FakeContext8(self._gpu, self._program)


class FakeEngine10(FakeEngine):
    device_memory_size_v2 = SCRATCH

    def create_execution_context(self, strategy: str) -> FakeContext | None:
        assert strategy == "user managed"
        failing = self._gpu.counted("create_execution_context") or not self._gpu.fits("context")
        return None if failing else FakeContext10(self._gpu, self._program)


class FakeTensorRt:
    """Stands for the module tensorrt, of version 8.6 or of 10 and later."""

    LayerInformationFormat = SimpleNamespace(JSON="json")

    class ILogger:
        pass

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
                if gpu.counted("deserialize_cuda_engine") or serialized not in PROGRAMS or not gpu.fits("engine"):
                    return None
                program = PROGRAMS[serialized]
                return engine(gpu, program, shapes or program.shapes)

        self.Runtime = Runtime
