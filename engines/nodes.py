"""What a step's ONNX asks for: its nodes, the type that each computes and the bytes of its constants."""

import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper, shape_inference

KEPT_BYTES = 8192  # constants up to this size may be shapes, which inference reads


@dataclass(frozen=True)
class Node:
    """One node of the ONNX graph, or of what TensorRT makes of it."""

    name: str
    kind: str
    """The operator, or TensorRT's type of layer."""
    precision: str
    """Type of the ONNX node's first output: fp32, fp16, int8, int32, bool ... A layer has more to say: see Layer."""
    weight_bytes: int
    """Of its constants; one that several nodes read counts for the first."""


def load_without_weights(path: Path) -> onnx.ModelProto:
    """The model for shape inference, which copies it and needs of its constants only those that may be shapes."""
    model = onnx.load(path)
    for constant in model.graph.initializer:
        if len(constant.raw_data) > KEPT_BYTES:
            constant.ClearField("raw_data")
    return model


def read_nodes(path: Path) -> list[Node]:
    """The nodes of a bundle's step, in the file's order."""
    model = load_without_weights(path)
    sizes = {
        constant.name: math.prod(constant.dims) * helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize
        for constant in model.graph.initializer
    }
    graph = shape_inference.infer_shapes(model).graph
    types = {
        value.name: str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).replace("float", "fp")
        for value in (*graph.value_info, *graph.output)
    }
    return [
        Node(
            name=node.name,
            kind=node.op_type,
            precision=types.get(node.output[0], "unknown"),
            weight_bytes=sum(sizes.pop(name, 0) for name in node.input),
        )
        for node in graph.node
    ]
