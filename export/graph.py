"""A small builder of typed ONNX graphs: every tensor's type is decided where its node is made."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.entries import GraphEntry
from runtime.files import sha256, written_whole

OPSET = 17  # the highest that TensorRT 8.6 parses; the first with LayerNormalization
IR_VERSION = 8
MAX_BYTES = 2_000_000_000  # of constants: protobuf writes no more than 2 GiB, the nodes included
TENSOR_CORE_COLUMNS = 8  # a multiple of this, for FP16
STREAMS = "streams"  # name of the first axis of a graph that takes many streams

Entry = TypeVar("Entry", bound=GraphEntry)
Array = npt.NDArray[np.float64]
Floating = type[np.float32] | type[np.float16]


class GraphSizeError(ValueError):
    """A graph whose constants do not fit into one ONNX file."""


def check_size(constants: Iterable[TensorProto]) -> None:
    """Raise GraphSizeError beyond MAX_BYTES."""
    size = sum(len(constant.raw_data) for constant in constants)
    if size > MAX_BYTES:
        raise GraphSizeError(f"{size / 1e9:.1f} GB of constants, an ONNX file holds {MAX_BYTES / 1e9:.1f}")


class GraphBuilder:
    """Adds nodes one by one; a node's output is named after its node, so that a profile can be read.

    `compute` is the type of the weights and products; `layer_norm`, `softmax` and whatever follows `cast(x, np.float32)` is
    FP32 in either. With `compute` = float32 no Cast is added.

    `many`: whether the first axis of inputs and outputs is STREAMS, which is known when the graph runs, instead of 1. Inside, the first
    axis of a tensor then has the streams, or the frames of all of them in the place of one stream's.
    """

    def __init__(self, compute: Floating, *, many: bool = False) -> None:
        self.compute, self.many = compute, many
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._floating: dict[str, Floating] = {}
        self._scope: list[str] = []

    @contextmanager
    def scoped(self, name: str) -> Iterator[None]:
        """Prefix the names of what is made inside the `with` block."""
        self._scope.append(name)
        yield
        self._scope.pop()

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int]) -> str:
        """Declare an input of the step, its shape that of one stream."""
        self._inputs.append(self._declared(name, dtype, shape))
        self._note_type(name, dtype)
        return name

    def output(self, name: str, source: str, dtype: type[np.generic], shape: Sequence[int]) -> None:
        """Declare an output of the step: `source`, renamed, its shape that of one stream."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for index, tensor in enumerate(names):
                    if tensor == source:
                        names[index] = name
        self._outputs.append(self._declared(name, dtype, shape))

    def _declared(self, name: str, dtype: type[np.generic], shape: Sequence[int]) -> onnx.ValueInfoProto:
        axes: Sequence[int | str] = [STREAMS, *shape[1:]] if self.many else shape
        return helper.make_tensor_value_info(name, _onnx_type(dtype), axes)

    def constant(self, name: str, values: npt.ArrayLike, dtype: type[np.generic] | None = None) -> str:
        """Add a constant of `dtype`, by default the compute type."""
        full = "/".join([*self._scope, name])
        array = np.ascontiguousarray(np.asarray(values).astype(dtype or self.compute))
        self._initializers[full] = numpy_helper.from_array(array, full)
        self._note_type(full, array.dtype.type)
        return full

    def node(self, operator: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add one node; return its outputs' names."""
        full = "/".join([*self._scope, name])
        names = [full] if outputs == 1 else [f"{full}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=full, **attributes))
        if operator == "Cast":
            dtype = helper.tensor_dtype_to_np_dtype(attributes["to"]).type
        else:
            dtype = next((self._floating[tensor] for tensor in inputs if tensor in self._floating), np.int32)
        for output in names:
            self._note_type(output, dtype)
        return names

    def _note_type(self, name: str, dtype: type[np.generic]) -> None:
        if dtype in (np.float32, np.float16):
            self._floating[name] = dtype

    def one(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add one node with one output; return its name."""
        return self.node(operator, inputs, name, **attributes)[0]

    def cast(self, x: str, dtype: Floating) -> str:
        """`x` as `dtype`; no node where it has that type already."""
        if self._floating[x] is dtype:
            return x
        short = x.removeprefix("/".join(self._scope) + "/").replace("/", ".")
        return self.one("Cast", [x], f"{short}.{np.dtype(dtype).name}", to=_onnx_type(dtype))

    def shared(self, name: str, values: npt.ArrayLike, dtype: type[np.generic]) -> str:
        """A constant that several layers use: added once, whatever the scope."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(np.asarray(values, dtype)), name)
        return name

    def reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        """`x` in another shape, that of one stream."""
        shape = [-1, *shape[1:]] if self.many else shape
        return self.one("Reshape", [x, self.shared(f"shape/{'x'.join(map(str, shape))}", shape, np.int64)], name)

    def split(self, x: str, sizes: Sequence[int], axis: int, name: str) -> list[str]:
        """`x` cut along `axis` into parts of `sizes`."""
        return self.node("Split", [x, self.constant(f"{name}.sizes", sizes, np.int64)], name, len(sizes), axis=axis)

    def slice_from(self, x: str, start: int, axis: int, name: str) -> str:
        """`x` from index `start` (negative: from the end) of `axis` on."""
        bounds = [
            self.constant(f"{name}.{key}", [value], np.int64)
            for key, value in (("start", start), ("end", np.iinfo(np.int64).max), ("axis", axis))
        ]
        return self.one("Slice", [x, *bounds], name)

    def linear(self, x: str, weight: Array, bias: Array | None, name: str, transposed: bool = False) -> str:
        """x [T, in] (or [in, T] if `transposed`) times weight [out, in] plus bias [out], in the compute type: [T, out]."""
        inputs = [self.cast(x, self.compute), self.constant(f"{name}.weight", weight.T)]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias))
        return self.one("Gemm", inputs, name, transA=int(transposed))

    def logits(self, x: str, weight: Array, bias: Array | None, name: str) -> str:
        """x [T, in] times weight [N, in] plus bias [N]: FP32 [T, N]. The product is as wide as tensor cores ask for."""
        classes = len(weight)
        unused = -classes % TENSOR_CORE_COLUMNS
        wide = None if bias is None else np.pad(bias, (0, unused))
        padded = self.linear(x, np.pad(weight, ((0, unused), (0, 0))), wide, f"{name}.padded")
        return self.cast(self.split(padded, [classes, unused], 1, name)[0] if unused else padded, np.float32)

    def sum_of_products(self, x: str, y: str, axes: Sequence[int], name: str, keepdims: int = 0) -> str:
        """x * y, broadcast, summed over `axes`."""
        over = self.shared(f"axes/{'x'.join(map(str, axes))}", axes, np.int64)
        return self.one("ReduceSum", [self.one("Mul", [x, y], f"{name}.terms"), over], name, keepdims=keepdims)

    def first_maximum(self, x: str, otherwise: int, name: str) -> tuple[str, str]:
        """Along rows [T, N] of FP32: the index of the first that reaches the maximum, INT32 [T], and the maximum, FP32 [T, 1].

        Written as a minimum of numbers, which fuses with what stands around it, where TensorRT runs ArgMax as three kernels of its own.
        The numbers end at `otherwise`, which is what a row of NaN gives.
        """
        most = self.one("ReduceMax", [x], f"{name}.maximum", axes=[1])
        reached = self.one("GreaterOrEqual", [x, most], f"{name}.reached")
        numbers = self.constant(f"{name}.numbers", np.arange(otherwise + 1)[None], np.float32)
        last = self.constant(f"{name}.otherwise", [otherwise], np.float32)
        first = self.one(
            "ReduceMin",
            [self.one("Where", [reached, numbers, last], f"{name}.candidates")],
            f"{name}.first",
            axes=[1],
            keepdims=0,
        )
        return self.one("Cast", [first], name, to=TensorProto.INT32), most

    def below_maximum(self, x: str, most: str) -> tuple[str, str]:
        """Along rows [T, N] of FP32 whose maximum is `most` [T, 1]: x - most, and the logarithm of its exponentials' sum [T, 1].

        Their difference is the log-softmax, written out so that it shares its maximum with the best class.
        """
        below = self.one("Sub", [x, most], "below")
        exponentials = self.one("Exp", [below], "exponentials")
        total = self.one("ReduceSum", [exponentials, self.shared("axes/1", [1], np.int64)], "total")
        return below, self.one("Log", [total], "log_total")

    def layer_norm(self, x: str, scale: Array, bias: Array, epsilon: float, name: str) -> str:
        """Layer normalisation over the last axis, in FP32."""
        weights = [
            self.constant(f"{name}.{key}", values, np.float32) for key, values in (("scale", scale), ("bias", bias))
        ]
        return self.one("LayerNormalization", [self.cast(x, np.float32), *weights], name, axis=-1, epsilon=epsilon)

    def silu(self, x: str, name: str) -> str:
        """x * sigmoid(x)."""
        return self.one("Mul", [x, self.one("Sigmoid", [x], f"{name}.sigmoid")], name)

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model, checked, with every intermediate shape inferred. Raises GraphSizeError beyond MAX_BYTES."""
        check_size(self._initializers.values())
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._initializers.values()))
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="streaming-conformer-export",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _onnx_type(dtype: type[np.generic]) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def write_graph(path: Path, model: onnx.ModelProto, kind: type[Entry]) -> Entry:
    """Write a step or an evaluation whole or not at all; return its entry of the manifest, whose shapes are those of one stream."""
    with written_whole(path) as partial:
        partial.write_bytes(model.SerializeToString())
    inputs, outputs = (
        [
            {
                "name": value.name,
                "dtype": helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                "shape": [1 if each.dim_param else each.dim_value for each in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]
        for values in (model.graph.input, model.graph.output)
    )
    described = {
        "file": path.name,
        "sha256": sha256(path),
        "inputs": inputs,
        "outputs": outputs,
        "parameters": sum(int(np.prod(constant.dims)) for constant in model.graph.initializer),
        "bytes": path.stat().st_size,
    }
    return kind.model_validate(described)
