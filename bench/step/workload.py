"""What one step moves and computes, by group of nodes, counted from its ONNX file."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, shape_inference

from engines.nodes import load_without_weights
from runtime.errors import InputError

GROUPS = {
    "mel": r"mel/",
    "subsampling": r"subsampling/",
    "ffn": r"layer\d+/ffn",
    "attention": r"layer\d+/attention",
    "convolution": r"layer\d+/conv",
    "ctc": r"ctc/",
    "state": r"state/|kv_|time_",
    "other": r"",
}
"""Name -> nodes, by how their names begin; the first that fits."""
PRODUCTS = ("Conv", "Gemm", "MatMul")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
VIEWS = ("Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten")
"""Other shapes of the same bytes."""
TYPES = {"float32": "fp32", "float16": "fp16", "int8": "int8"}

_Tensor = npt.NDArray[Any]
"""An array of a tensor's shape and type, in the memory of one element."""


@dataclass
class GroupWork:
    """What a group of nodes needs in one step."""

    name: str
    constant_bytes: int = 0
    """Of the weights and other constants; one that several groups use counts in the first."""
    io_bytes: int = 0
    """Of the step's own inputs and outputs, the state in and out among them, each once."""
    node_bytes: int = 0
    """Of all that its nodes read and write beside constants, as if no two nodes were fused."""
    multiply_adds: Counter[str] = field(default_factory=Counter)
    """Of Conv, Gemm and MatMul, by the type of their inputs: fp32, fp16 or int8."""


def step_work(path: Path) -> list[GroupWork]:
    """Count a step's ONNX file, group by group; a group without nodes is left out.

    Raises InputError for a file that is no ONNX, or has a tensor without static shape.
    """
    try:
        model = load_without_weights(path)
        graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx and protobuf raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"expected an ONNX step in {path}, found: {reason}; make it again with `make export`"
        ) from error
    return _Counting(path, graph).groups()


class _Counting:
    def __init__(self, path: Path, graph: onnx.GraphProto) -> None:
        self.path, self.graph = path, graph
        self.tensors = dict(_described(graph))
        self.constants = {constant.name for constant in graph.initializer}
        self.io = {value.name for value in (*graph.input, *graph.output)} - self.constants
        self.counted: set[str] = set()  # of constants, inputs and outputs
        self.dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}

    def groups(self) -> list[GroupWork]:
        groups: dict[str, GroupWork] = {}
        for node in self.graph.node:
            name = next(name for name, pattern in GROUPS.items() if re.match(pattern, node.name))
            self._add(node, groups.setdefault(name, GroupWork(name)))
        return [groups[name] for name in GROUPS if name in groups]

    def _add(self, node: onnx.NodeProto, group: GroupWork) -> None:
        read, written = ([name for name in names if name] for names in (node.input, node.output))
        for name in (*read, *written):
            if name in self.counted:
                continue
            if name in self.constants:
                quantised = node.op_type == "QuantizeLinear" and name == read[0]  # then it is stored so
                group.constant_bytes += self._tensor(name).size if quantised else self._tensor(name).nbytes
                self.counted.add(name)
            elif name in self.io:
                group.io_bytes += self._tensor(name).nbytes
                self.counted.add(name)
        if node.op_type in QUANTISERS and read[0] in self.constants:  # an engine's builder does it once
            self.constants.update(written)
            self.counted.update(written)
        elif node.op_type not in VIEWS:
            moved = [name for name in (*read, *written) if name not in self.constants]
            group.node_bytes += sum(self._tensor(name).nbytes for name in moved)
        if node.op_type in PRODUCTS:
            group.multiply_adds[self._type(node)] += self._multiply_adds(node)

    def _multiply_adds(self, node: onnx.NodeProto) -> int:
        left, right = (self._tensor(name).shape for name in node.input[:2])
        if node.op_type == "Conv":
            inner = math.prod(right[1:])  # of [out, in / groups, kernel ...]
        elif node.op_type == "Gemm":
            inner = left[0 if _attribute(node, "transA") else 1]
        else:
            inner = left[-1]
        return self._tensor(node.output[0]).size * inner

    def _type(self, node: onnx.NodeProto) -> str:
        """INT8 where both factors were quantised: an engine takes the dequantising into the matrix product."""
        if self.dequantised.issuperset(node.input[:2]):
            return "int8"
        return TYPES[self._tensor(node.input[0]).dtype.name]

    def _tensor(self, name: str) -> _Tensor:
        tensor = self.tensors.get(name)
        if tensor is None:
            raise InputError(
                f"expected static shapes in {self.path}, found {name} without; make it again with `make export`"
            )
        return tensor


def _described(graph: onnx.GraphProto) -> Iterator[tuple[str, _Tensor]]:
    """Yield name and tensor of all that have a type and a static shape."""
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if all(dim.HasField("dim_value") for dim in kind.shape.dim):
            yield value.name, _like([dim.dim_value for dim in kind.shape.dim], kind.elem_type)
    for constant in graph.initializer:
        yield constant.name, _like(constant.dims, constant.data_type)


def _like(shape: Sequence[int], dtype: int) -> _Tensor:
    return np.broadcast_to(np.zeros((), helper.tensor_dtype_to_np_dtype(dtype)), shape)


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)
