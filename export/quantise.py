"""From a step and the thresholds of its activations to the same step with explicit Q/DQ, for TensorRT to run in INT8.

Activations per tensor, weights per output channel, symmetric, 8 bits: what TensorRT asks of explicit quantisation ("Working with
Quantized Types", NVIDIA's developer guide). Everything that is no product of QUANTISED stays as it is.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from export.placement import quantised_products
from runtime.errors import InputError

LEVELS = 127  # -127 to 127: symmetric, so that 0 stays 0
OPSET = 19  # the first with FP16 scales; TensorRT 8.6 has FP32 scales only and parses 17
IR_VERSION = 9
SMALLEST = 2.0**-14  # FP16's smallest normal number: a smaller scale would lose its digits
INPUT_SCALE = ".input.scale"


def quantised(model: onnx.ModelProto, amax: Mapping[str, float], kept: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of a step with Q/DQ on the data and the weight of every product but those in `kept`, in the step's own types.

    Args:
        model: a step. Where its products are FP16, so are their scales: for strongly typed TensorRT. FP32 ones are for 8.6.
        amax: threshold of the data by product.
        kept: products that stay in the step's own precision.

    Raises InputError where `amax` lacks a product.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {each.name: each for each in result.graph.initializer}
    wanted = {name: data for name, data in quantised_products(result).items() if name not in kept}
    if missing := wanted.keys() - amax.keys():
        raise InputError(f"expected a threshold for {min(missing)}, found none; make them with `make calibrate`")
    nodes = []
    half = False  # whether a scale is FP16
    for node in result.graph.node:
        if node.name in wanted:
            data, weight = wanted[node.name], constants[node.input[1]]
            values = numpy_helper.to_array(weight)  # [in, out]
            half |= values.dtype == np.float16
            result.graph.initializer.remove(weight)
            pair = _Pair(node.name, values.dtype)
            nodes += [*pair.of_data(data, amax[node.name]), *pair.of_weight(weight.name, values)]
            result.graph.initializer.extend(pair.constants)
            node.input[0], node.input[1] = f"{node.name}.input", f"{node.name}.weight8"
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    if half:
        result.opset_import[0].version = OPSET
        result.ir_version = IR_VERSION
        _axes_as_inputs(result.graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def thresholds_of(model: onnx.ModelProto) -> dict[str, float]:
    """Threshold by product of a step that `quantised` made, as its scales say."""
    return {
        scale.name.removesuffix(INPUT_SCALE): LEVELS * float(numpy_helper.to_array(scale))
        for scale in model.graph.initializer
        if scale.name.endswith(INPUT_SCALE)
    }


def _axes_as_inputs(graph: onnx.GraphProto) -> None:
    """ReduceMax and ReduceMin as opset 18 and later write them: their axes were an attribute before."""
    for node in graph.node:
        if node.op_type in ("ReduceMax", "ReduceMin"):
            axes = next(each for each in node.attribute if each.name == "axes")
            graph.initializer.append(numpy_helper.from_array(np.array(axes.ints, np.int64), f"{node.name}.axes"))
            node.input.append(f"{node.name}.axes")
            node.attribute.remove(axes)


class _Pair:
    """Q/DQ around one product, its scales in the product's own type."""

    def __init__(self, product: str, dtype: npt.DTypeLike) -> None:
        self.product, self.scale_type = product, np.dtype(dtype)
        self.constants: list[onnx.TensorProto] = []

    def of_data(self, data: str, amax: float) -> list[onnx.NodeProto]:
        """`data` to PRODUCT.input."""
        scale = self._constant("input.scale", self._scale(np.asarray(amax)))
        zero = self._constant("input.zero", np.zeros((), np.int8))
        return self._round_trip("input", data, scale, zero)

    def of_weight(self, name: str, values: npt.NDArray[np.floating]) -> list[onnx.NodeProto]:
        """Weight [in, out] to PRODUCT.weight8, one scale per output. In FP16 it is stored in 8 bits."""
        scales = self._scale(np.abs(values.astype(np.float64)).max(0))
        scale = self._constant("weight8.scale", scales)
        zero = self._constant("weight8.zero", np.zeros(scales.shape, np.int8))
        if self.scale_type == np.float32:  # TensorRT 8.6 takes no 8-bit constants
            self.constants.append(numpy_helper.from_array(values, name))
            return self._round_trip("weight8", name, scale, zero, axis=1)
        rounded = np.rint(values.astype(np.float64) / scales.astype(np.float64)).clip(-LEVELS, LEVELS)
        self.constants.append(numpy_helper.from_array(rounded.astype(np.int8), name))
        return [self._node("DequantizeLinear", [name, scale, zero], "weight8", axis=1)]

    def _scale(self, amax: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.maximum(amax / LEVELS, SMALLEST).astype(self.scale_type)

    def _round_trip(self, name: str, source: str, scale: str, zero: str, **attributes: Any) -> list[onnx.NodeProto]:
        quantize = self._node("QuantizeLinear", [source, scale, zero], f"{name}.quantized", **attributes)
        return [quantize, self._node("DequantizeLinear", [quantize.output[0], scale, zero], name, **attributes)]

    def _node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> onnx.NodeProto:
        full = f"{self.product}.{name}"
        return helper.make_node(operator, inputs, [full], name=full, **attributes)

    def _constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        full = f"{self.product}.{name}"
        self.constants.append(numpy_helper.from_array(values, full))
        return full
