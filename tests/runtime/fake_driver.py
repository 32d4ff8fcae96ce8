# ruff: noqa: N802 -- names and parameters are those of CUDA
"""CUDA's driver API over the fake CUDA runtime: what it tells of a graph's nodes, copies of them, and the kernels of rows.ptx."""

import copy
import ctypes
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.runtime.fake_gpu import FakeGpu, FakeKernel, Op

CONTEXT = 7
NAMES = {  # by handle: that of a function, and that of a kernel of a library, which has no function
    1: b"_ZN6cuInt810nchwTonchwIf6__halfLi8EEEvPKT_PT0_iiiPKfS6_NS_24ReducedDivisorParametersE",
    2: b"__myl_bb0_31_AddSqrDivMulCasMulAddNegExpAddDivMulResMulSum",
}


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_INVALID_CONTEXT = 201


def _call(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Count; fail where it is that call's turn, or where the arguments are wrong; what frees has done so even then."""
    frees = "Unload" in function.__name__
    needs_context = "Graph" not in function.__name__

    @wraps(function)
    def counted(self: "FakeDriver", *args: object) -> tuple[Any, ...]:
        if needs_context and not hasattr(self._gpu.here, "current"):
            return (Result.CUDA_ERROR_INVALID_CONTEXT, None)
        failing = self._gpu.counted(function.__name__)
        found = function(self, *args) if frees or not failing else None
        return (Result.CUDA_ERROR_INVALID_VALUE, None) if failing or found is None else (Result.CUDA_SUCCESS, found)

    return counted


@dataclass(frozen=True, eq=False)
class RowKernel(FakeKernel):
    """`gather` or `scatter` of rows.cu over device memory, with the parameter and the grid that it was launched with."""

    gpu: FakeGpu
    gathers: bool
    parameter: bytes
    grid: tuple[int, int, int]
    threads: int

    def __call__(self) -> None:
        rows, slots, slot_bytes, *tensors = struct.unpack("<3Q9Q", self.parameter)
        parts, streams, kinds = self.grid
        assert kinds == len(tensors) // 3
        for row in range(streams):
            reads, writes = self._at(rows + 8 * row, 8).view(np.int32)
            slot = reads if self.gathers else writes
            for kind in range(kinds):
                offset, batch, size = tensors[3 * kind : 3 * kind + 3]
                assert offset % 16 == batch % 16 == (slots + slot_bytes) % 16 == 0, "a vector of 16 bytes across two"
                assert size <= 16 * parts * self.threads * 8, "a thread copies more than a few"
                of_batch = self._at(batch + row * size, size)
                if self.gathers:
                    of_batch[:] = 0 if slot < 0 else self._at(slots + int(slot) * slot_bytes + offset, size)
                elif slot >= 0:
                    self._at(slots + int(slot) * slot_bytes + offset, size)[:] = of_batch

    def _at(self, address: int, size: int) -> np.ndarray:
        assert self.gpu.holds("device", address, size), "outside of the device's memory"
        return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)


class FakeDriver:
    """Stands for cuda.bindings.driver: its public names are a part of that module's."""

    CUresult = Result

    def __init__(self, gpu: FakeGpu, handles: tuple[int, int] = (1, 0)) -> None:
        """`handles`: the function and the library's kernel of each kernel node, one of which is 0."""
        self._gpu, self._handles = gpu, handles

    @_call
    def cuGraphKernelNodeGetParams(self, node: Op) -> Any:  # noqa: ANN401
        func, kern = self._handles
        grid = {"gridDimX": 6, "gridDimY": 2, "gridDimZ": 1}
        block = {"blockDimX": 128, "blockDimY": 4, "blockDimZ": 1}
        return SimpleNamespace(node=node, func=func, kern=kern, **grid, **block)

    @_call
    def cuGraphMemcpyNodeGetParams(self, node: Op) -> Any:  # noqa: ANN401
        return SimpleNamespace(node=node)

    @_call
    def cuFuncGetName(self, function: int) -> bytes | None:
        return NAMES.get(function)

    @_call
    def cuKernelGetName(self, kernel: int) -> bytes | None:
        return NAMES.get(kernel)

    @_call
    def cuCtxGetCurrent(self) -> int:
        return CONTEXT

    @_call
    def cuGraphAddKernelNode(self, graph: Any, before: list[Op], number: int, params: Any) -> Op | None:  # noqa: ANN401
        return self._add(graph, before, number, params) if isinstance(params.node, FakeKernel) else None

    @_call
    def cuGraphAddMemcpyNode(self, graph: Any, before: list[Op], number: int, params: Any, context: int) -> Op | None:  # noqa: ANN401
        return self._add(graph, before, number, params) if context == CONTEXT else None

    @_call
    def cuGraphKernelNodeCopyAttributes(self, to: Op, node: Op) -> bool:
        return to is not node

    @_call
    def cuModuleLoadData(self, image: bytes) -> int | None:
        if not image.endswith(b"\0"):
            return None
        self._entries = dict(
            re.findall(r"\.visible \.entry (\w+)\(\s*\.param \.align 8 \.b8 \w+\[(\d+)\]\s*\)", image.decode())
        )
        return self._gpu.make("module")

    @_call
    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[str, int] | None:
        entry = name.decode()
        known = self._gpu.live.get(module) == "module" and entry in self._entries
        return (entry, int(self._entries[entry])) if known else None

    @_call
    def cuLaunchKernel(  # noqa: PLR0917
        self,
        function: tuple[str, int],
        x: int,
        y: int,
        z: int,
        threads: int,
        threads_y: int,
        threads_z: int,
        shared: int,
        stream: int,
        parameters: int,
        extra: int,
    ) -> bool | None:
        if (threads_y, threads_z, shared, extra) != (1, 1, 0, 0) or not 0 < threads <= 1024 or min(x, y, z) < 1:
            return None
        name, size = function
        parameter = ctypes.string_at(ctypes.c_void_p.from_address(parameters).value or 0, size)
        self._gpu.streams[stream].enqueue(RowKernel(self._gpu, name == "gather", parameter, (x, y, z), threads))
        return True

    @_call
    def cuModuleUnload(self, module: int) -> bool | None:
        assert "executable" not in self._gpu.live.values(), "a graph may hold its kernels"
        return True if self._gpu.free(module, "module") == 0 else None

    def _add(self, graph: Any, before: list[Op], number: int, params: Any) -> Op | None:  # noqa: ANN401
        if before != graph.ops[-1:] or number != len(before):
            return None
        added: Op = copy.copy(params.node)
        graph.ops.append(added)
        return added
