"""TensorRT 8.6 has no typed networks: flags let it choose, so the front end is held to FP32 there.

In FP16 it parses step.fp16.onnx too. Its Myelin compiler, which takes the layers of the Conformer as one block each, keeps the types that
the ONNX casts between; told types layer by layer (OBEY_PRECISION_CONSTRAINTS on all of them) it finds no implementation, and given
step.fp32.onnx it stays in FP32. Seen on an H100. In INT8 it gets step.fp32.onnx with the Q/DQ of step.int8.onnx, since it knows no
FP16 scales.
"""

from pathlib import Path
from typing import Any

import onnx

from calibration.placement import quantised_products
from calibration.quantise import quantised, thresholds_of
from runtime.bundle import Bundle, Precision, step_file
from runtime.entries import STATE

FRONT_END = ("mel/", "subsampling/stage")  # nodes before the Conformer's layers, FP32 in every precision


def with_fp32_scales(folder: Path, bundle: Bundle) -> bytes:
    """step.fp32.onnx of the bundle in `folder` with the Q/DQ of its step.int8.onnx, where that has any."""
    fp32, int8 = (onnx.load(step_file(folder, bundle, precision)[0]) for precision in ("fp32", "int8"))
    thresholds = thresholds_of(int8)
    model = quantised(fp32, thresholds, kept=quantised_products(fp32).keys() - thresholds.keys())
    return bytes(model.SerializeToString())


def set_flags(trt: Any, config: Any, network: Any, precision: Precision) -> None:  # noqa: ANN401
    """Allow the precision, and hold the FP32 layers of the front end to FP32: log-mel in FP16 loses the quiet bands.

    In INT8 the caches become FP16, as they are in the bundle's INT8 step.
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
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        for tensor in (*inputs, *outputs):
            if tensor.name.removeprefix("next_") in STATE and tensor.dtype == trt.float32:
                tensor.dtype = trt.float16
