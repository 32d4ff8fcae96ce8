"""TensorRT 8.6 has no typed networks: flags let it choose, so the front end is held to FP32 there.

In FP16 it parses step.fp16.onnx too. Its Myelin compiler, which takes the layers of the Conformer as one block each, keeps the types that
the ONNX casts between; told types layer by layer (OBEY_PRECISION_CONSTRAINTS on all of them) it finds no implementation, and given
step.fp32.onnx it stays in FP32. Seen on an H100. In INT8 it gets step.fp16.onnx with the thresholds of step.int8.onnx, the quantised
products in FP32 between two Casts, since it knows no FP16 scales.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph import GraphSizeError, check_size
from export.placement import quantised_products
from export.quantise import quantised, thresholds_of
from runtime.bundle import Bundle, Precision, step_file
from runtime.errors import InputError

FRONT_END = ("mel/", "subsampling/stage")  # nodes before the Conformer's layers, FP32 in every precision


def with_fp32_scales(folder: Path, bundle: Bundle) -> bytes:
    """step.fp16.onnx of the bundle in `folder` with the Q/DQ of its step.int8.onnx, where that has any, in FP32.

    Raises InputError where an ONNX file cannot hold the FP32 weights.
    """
    fp16, int8 = (onnx.load(step_file(folder, bundle, precision)[0]) for precision in ("fp16", "int8"))
    thresholds = thresholds_of(int8)
    products = quantised_products(fp16)
    _widen(fp16, {name: products[name] for name in thresholds})
    try:
        check_size(fp16.graph.initializer)
    except GraphSizeError as error:
        raise InputError(
            f"expected quantised products that TensorRT 8.6 can be given in FP32, found {error}; use TensorRT 10, or --precision fp16"
        ) from error
    return bytes(quantised(fp16, thresholds, kept=products.keys() - thresholds.keys()).SerializeToString())


def _widen(model: onnx.ModelProto, products: Mapping[str, str]) -> None:
    """Make products FP32, in place: a Cast before and behind each, and its constants."""
    constants = {each.name: each for each in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.name not in products:
            nodes.append(node)
            continue
        data, output = f"{node.name}.input.float32", node.output[0]
        before = helper.make_node("Cast", [products[node.name]], [data], name=data, to=TensorProto.FLOAT)
        node.input[0], node.output[0] = data, f"{node.name}.output.float32"
        for name in node.input[1:]:
            values = numpy_helper.to_array(constants[name]).astype(np.float32)
            constants[name].CopyFrom(numpy_helper.from_array(values, name))
        behind = helper.make_node("Cast", [*node.output], [output], name=f"{node.name}.output", to=TensorProto.FLOAT16)
        nodes += [before, node, behind]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def set_flags(trt: Any, config: Any, network: Any, precision: Precision) -> None:  # noqa: ANN401
    """Allow the precision, and hold the FP32 layers of the front end to FP32: log-mel in FP16 loses the quiet bands.

    In INT8 the block of all layers exists in FP32 too, where its Casts to FP16 mean nothing and its weights are stored in FP32. Timed
    without the reformats around it, that one wins: 68 us against 72 for one layer of the 114 M model on an H100. So the caches, FP16,
    must enter and leave the block as they are.
    """
    if precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if not layer.name.startswith(FRONT_END) or layer.type == trt.LayerType.CONSTANT:
            continue
        if layer.get_output(0).dtype == trt.float32:
            layer.precision = trt.float32
            layer.set_output_type(0, trt.float32)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
        config.set_flag(trt.BuilderFlag.DIRECT_IO)
        tensors = [network.get_input(index) for index in range(network.num_inputs)]
        tensors += [network.get_output(index) for index in range(network.num_outputs)]
        for tensor in tensors:
            if tensor.dtype == trt.float16:
                tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)
