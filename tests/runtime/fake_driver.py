# ruff: noqa: N802 -- names and parameters are those of CUDA
"""CUDA's driver API over the fake CUDA runtime: what it tells of a graph's nodes, and copies of them."""

import copy
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from types import SimpleNamespace
from typing import Any

from tests.runtime.fake_gpu import FakeGpu, FakeKernel, Op

CONTEXT = 7
NAMES = {  # by handle: that of a function, and that of a kernel of a library, which has no function
    1: b"_ZN6cuInt810nchwTonchwIf6__halfLi8EEEvPKT_PT0_iiiPKfS6_NS_24ReducedDivisorParametersE",
    2: b"__myl_bb0_31_AddSqrDivMulCasMulAddNegExpAddDivMulResMulSum",
}


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1


def _call(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Count; fail where it is that call's turn, or where the arguments are wrong."""

    @wraps(function)
    def counted(self: "FakeDriver", *args: object) -> tuple[Any, ...]:
        found = None if self._gpu.counted(function.__name__) else function(self, *args)
        return (Result.CUDA_ERROR_INVALID_VALUE, None) if found is None else (Result.CUDA_SUCCESS, found)

    return counted


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

    def _add(self, graph: Any, before: list[Op], number: int, params: Any) -> Op | None:  # noqa: ANN401
        if before != graph.ops[-1:] or number != len(before):
            return None
        added: Op = copy.copy(params.node)
        graph.ops.append(added)
        return added
