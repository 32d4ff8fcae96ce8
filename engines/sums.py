"""Products of few rows as sums: for a TensorRT that has no kernel for a matrix times a vector or two.

TensorRT 8.6 gives a product of two rows a tensor-core kernel of 32 x 32 tiles, 3.3 us on an H100 whatever its size, and another one where
it splits the sum. As Mul and ReduceSum, its Myelin compiler makes one kernel of the product and the normalisation before it: 17 kernels a
layer for 22. The mel spectrum, a convolution of one channel that fills 17 of an H100's 132 multiprocessors, is such a product too.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

MOST_ROWS = 2  # of a matrix product; measured on an H100 at 2
MOST_WINDOWS = 32  # of the spectrum; measured on an H100 at 23


def products_as_sums(content: bytes) -> bytes:
    """A serialized step or evaluation with every Gemm of up to MOST_ROWS rows and one constant factor, and the spectrum, as sums.

    Each term is rounded to the type of the product's inputs, and all are added in FP32, as tensor cores add them. Quantised products,
    whose factors are no constants, stay as they are.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    graph, rewritten = model.graph, _Rewritten(model.graph)
    nodes = [written for node in graph.node for written in rewritten.node(node)]
    read = {tensor for node in nodes for tensor in node.input}
    constants = [constant for constant in graph.initializer if constant.name in read]
    for field, values in ((graph.node, nodes), (graph.initializer, constants)):
        del field[:]
        field.extend(values)
    return bytes(model.SerializeToString())


class _Rewritten:
    """The nodes of a graph, one by one, in place of those that become sums."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {constant.name: constant for constant in graph.initializer}
        values = (*graph.value_info, *graph.input, *graph.output)
        self._shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}

    def node(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """`node`, or what stands for it: the last of them has its name and output."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        shape = self._shapes.get(node.output[0], [])
        if node.op_type == "Gemm" and node.input[1] in self._constants and shape[0] <= MOST_ROWS:
            nodes = list(self._product(node, attributes))
        elif node.op_type == "Conv" and self._shapes[node.input[0]][:3] == [1, 1, 1] and shape[3] <= MOST_WINDOWS:
            nodes = list(self._spectrum(node, attributes))
        else:
            return [node]
        nodes[-1].name, nodes[-1].output[0] = node.name, node.output[0]
        return nodes

    def _product(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Iterator[onnx.NodeProto]:
        """x [T, K] (or [K, T]) times weight [K, N] plus bias: sum over K of x [T, 1, K] * weight [1, N, K]."""
        name, (x, weight, *bias) = node.name, node.input
        values = numpy_helper.to_array(self._constants[weight])
        if attributes.get("transA"):
            yield _made("Transpose", [x], f"{name}.rows", perm=[1, 0])
            x = f"{name}.rows"
        shape = self._constant(f"{name}.row.shape", np.array([self._shapes[node.output[0]][0], 1, len(values)]))
        yield _made("Reshape", [x, shape], f"{name}.row")
        yield from self._sum(f"{name}.row", np.ascontiguousarray(values.T)[None], name)
        sums = f"{name}.sum"
        if bias:
            addend = numpy_helper.to_array(self._constants[bias[0]]).astype(np.float32)
            yield _made("Add", [sums, self._constant(f"{name}.addend", addend)], f"{name}.biased")
            sums = f"{name}.biased"
        if values.dtype != np.float32:
            yield _made("Cast", [sums], f"{name}.rounded", to=helper.np_dtype_to_tensor_dtype(values.dtype))

    def _spectrum(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Iterator[onnx.NodeProto]:
        """samples [1, 1, 1, S] under kernels [N, 1, 1, K]: sum over K of windows [1, T, K] * kernels [N, 1, K], as [1, N, 1, T]."""
        name, (samples, kernel) = node.name, node.input
        kernels = numpy_helper.to_array(self._constants[kernel])[:, 0]  # [N, 1, K]
        shape = self._shapes[node.output[0]]
        places = np.arange(shape[3])[:, None] * attributes["strides"][1] + np.arange(kernels.shape[2])
        flat = self._constant(f"{name}.flat.shape", np.array([self._shapes[samples][3]]))
        yield _made("Reshape", [samples, flat], f"{name}.flat")
        yield _made(
            "Gather", [f"{name}.flat", self._constant(f"{name}.places", places[None])], f"{name}.windows", axis=0
        )
        yield from self._sum(f"{name}.windows", kernels, name)
        yield _made("Reshape", [f"{name}.sum", self._constant(f"{name}.shape", np.array(shape))], f"{name}.shaped")

    def _sum(self, x: str, y: npt.NDArray[Any], name: str) -> Iterator[onnx.NodeProto]:
        """x * y [., ., K] summed over K in FP32, named NAME.sum."""
        terms = f"{name}.terms"
        yield _made("Mul", [x, self._constant(f"{name}.factor", y)], terms)
        if y.dtype != np.float32:
            yield _made("Cast", [terms], f"{terms}.float32", to=TensorProto.FLOAT)
            terms += ".float32"
        yield _made("ReduceSum", [terms, self._constant(f"{name}.axis", np.array([2]))], f"{name}.sum", keepdims=0)

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name


def _made(operator: str, inputs: list[str], name: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [name], name=name, **attributes)
