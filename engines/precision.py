"""TensorRT 8.6 has no typed networks: the FP16 flag lets it choose, so the front end is held to FP32 there.

It parses step.fp16.onnx too. Its Myelin compiler, which takes the layers of the Conformer as one block each, keeps the types that
the ONNX casts between; told types layer by layer (OBEY_PRECISION_CONSTRAINTS on all of them) it finds no implementation, and given
step.fp32.onnx it stays in FP32. Seen on an H100.
"""

from typing import Any

FRONT_END = ("mel/", "subsampling/stage")  # nodes before the Conformer's layers, FP32 in every precision


def hold_front_end(trt: Any, config: Any, network: Any) -> None:  # noqa: ANN401
    """Allow FP16, and hold the FP32 layers of the front end to FP32: log-mel in FP16 loses the quiet bands."""
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if not layer.name.startswith(FRONT_END) or layer.type == trt.LayerType.CONSTANT:
            continue
        if layer.get_output(0).dtype == trt.float32:
            layer.precision = trt.float32
            layer.set_output_type(0, trt.float32)
