"""What one step moves and computes, by group of nodes, counted from its ONNX file."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import shape_inference
from onnx.helper import tensor_dtype_to_np_dtype as np_dtype
from pydantic import Field

from bench.rows import Record
from engines.nodes import load_without_weights
from runtime.errors import InputError

GROUPS = {
    "mel": r"mel/",
    "subsampling": r"subsampling/",
    "ffn": r"layer\d+/ffn",
    "attention": r"layer\d+/attention",
    "convolution": r"layer\d+/conv",
    "prompt": r"prompt/",
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


class GroupWork(Record, frozen=False):
    """What a group of nodes needs in one step."""

    name: str
    constant_bytes: int = 0
    """Of the weights and other constants; one that several groups use counts in the first."""
    io_bytes: int = 0
    """Of the step's own inputs and outputs, the state in and out among them, each once."""
    node_bytes: int = 0
    """Of all that its nodes read and write beside constants, as if no two nodes were fused."""
    multiply_adds: Counter[str] = Field(default_factory=Counter)
    """Of Conv, Gemm and MatMul, by the type of their inputs: fp32, fp16 or int8."""


def step_work(path: Path, streams: int = 1) -> list[GroupWork]:
    """Count a step's ONNX file, group by group, of a step over many streams with so many; a group without nodes is left out.

    Raises InputError for a file that is no ONNX, or has a tensor without static shape.
    """
    try:
        model = load_without_weights(path)
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:  # the number of streams; steps have no other free axis
                    dim.dim_value = streams
        graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx and protobuf raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"expected an ONNX step in {path}, found: {reason}; make it again with `make export`"
        ) from error
    values = ((value.name, value.type.tensor_type) for value in (*graph.value_info, *graph.input, *graph.output))
    shapes = [
        (name, [dim.dim_value for dim in kind.shape.dim], kind.elem_type)
        for name, kind in values
        if all(dim.HasField("dim_value") for dim in kind.shape.dim)
    ]
    shapes += [(constant.name, constant.dims, constant.data_type) for constant in graph.initializer]
    # By name an array of a tensor's shape and type, in the memory of one element.
    tensors = {name: np.broadcast_to(np.zeros((), np_dtype(dtype)), shape) for name, shape, dtype in shapes}
    used = (name for node in graph.node for name in (*node.input, *node.output) if name)
    if (dynamic := next((name for name in used if name not in tensors), None)) is not None:
        raise InputError(f"expected static shapes in {path}, found {dynamic} without; make it again with `make export`")
    constants = {constant.name for constant in graph.initializer}
    io = {value.name for value in (*graph.input, *graph.output)} - constants
    counted: set[str] = set()  # of constants, inputs and outputs
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    groups: dict[str, GroupWork] = {}
    for node in graph.node:
        group_name = next(name for name, pattern in GROUPS.items() if re.match(pattern, node.name))
        group = groups.setdefault(group_name, GroupWork(name=group_name))
        read, written = ([name for name in names if name] for names in (node.input, node.output))
        for name in {*read, *written} - counted:
            if name in constants:
                quantised = node.op_type == "QuantizeLinear" and name == read[0]  # then it is stored so
                group.constant_bytes += tensors[name].size if quantised else tensors[name].nbytes
                counted.add(name)
            elif name in io:
                group.io_bytes += tensors[name].nbytes
                counted.add(name)
        if node.op_type in QUANTISERS and read[0] in constants:  # an engine's builder does it once
            constants.update(written)
            counted.update(written)
        elif node.op_type not in VIEWS:
            group.node_bytes += sum(tensors[name].nbytes for name in (*read, *written) if name not in constants)
        if node.op_type in PRODUCTS:
            # INT8 where both factors were quantised: an engine takes the dequantising into the matrix product.
            int8 = dequantised.issuperset(node.input[:2])
            kind = "int8" if int8 else TYPES[tensors[node.input[0]].dtype.name]
            left, right = (tensors[name].shape for name in node.input[:2])
            group.multiply_adds[kind] += tensors[node.output[0]].size * _inner(node, left, right)
    return [groups[name] for name in GROUPS if name in groups]


def _inner(node: onnx.NodeProto, left: Sequence[int], right: Sequence[int]) -> int:
    """Return the multiply-adds of each element that a matrix product makes of factors of these shapes."""
    if node.op_type == "Conv":
        return math.prod(right[1:])  # of [out, in / groups, kernel ...]
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return left[0 if transposed else -1]
