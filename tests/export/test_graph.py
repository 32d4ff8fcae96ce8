"""The shape of the exported graph: few nodes, typed by construction, compiled for Turing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from export.checkpoint import EMBEDDED, RANDOM, RANDOM_CONFIG
from export.report import ENCODER, LAYERS, count_nodes
from runtime.bundle import read_bundle
from tests.export.part import part

pytestmark = pytest.mark.nemo

FP32_ONLY = {"LayerNormalization", "Softmax", "LogSoftmax", "Log"}


@pytest.fixture(scope="module", params=[EMBEDDED, RANDOM], ids=["embedded", "large-random"])
def folder(request: pytest.FixtureRequest, bundle_of: Callable[[str, int], Path]) -> Path:
    return bundle_of(request.param, 80)


def test_large_encoder_has_at_most_800_nodes(bundle_of: Callable[[str, int], Path]) -> None:
    step = bundle_of(RANDOM, 80) / "step.fp32.onnx"
    nodes, _ = count_nodes(step, ENCODER)
    _, products = count_nodes(step, LAYERS)
    print(f"{nodes} nodes in the encoder, {products} products in its layers")
    assert nodes <= 800
    assert products == 8 * RANDOM_CONFIG["encoder"]["n_layers"]  # 4 FFN, QKV, out, 2 pointwise


def test_types_by_construction(folder: Path) -> None:
    check_types(folder / "step.fp16.onnx")


def test_types_over_many_streams(batched_bundle: Path) -> None:
    check_types(batched_bundle / "batched.fp16.onnx")


def check_types(path: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True)
    types = {
        each.name: each.type.tensor_type.elem_type
        for each in [*model.graph.value_info, *model.graph.input, *model.graph.output]
    }
    types |= {each.name: each.data_type for each in model.graph.initializer}
    for node in model.graph.node:
        floats = {
            types[each]
            for each in [*node.input, *node.output]
            if types[each] in (TensorProto.FLOAT, TensorProto.FLOAT16)
        }
        if node.op_type in FP32_ONLY:
            assert floats == {TensorProto.FLOAT}, node.name
        if node.op_type in ("Gemm", "MatMul"):
            assert floats == {TensorProto.FLOAT16}, node.name
        if node.op_type != "Cast":
            assert len(floats) <= 1, node.name


def test_static_shapes_batch_first(folder: Path) -> None:
    for step in read_bundle(folder).steps.values():
        for each in [*step.inputs, *step.outputs]:
            assert each.shape[0] == 1, each.name


@pytest.mark.own_process
def test_turing_compiles_the_fp16_step(bundle: Path) -> None:
    check_turing_compiles(onnx.load(bundle / "step.fp16.onnx"))


@pytest.mark.own_process
def test_turing_compiles_layers_as_wide_as_the_large_model_s(bundle_of: Callable[[str, int], Path]) -> None:
    """All that stands before them and two, which the others are like."""
    model = part(onnx.load(bundle_of(RANDOM, 80) / "step.fp16.onnx"), ["layer1/norm_out"])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT  # which TensorRT does not infer
    check_turing_compiles(model)


def check_turing_compiles(model: onnx.ModelProto) -> None:
    trt = pytest.importorskip(
        "tensorrt_rtx_bindings", reason="TensorRT-RTX is only there on Linux x86-64: run `make test` on it"
    )
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM75, 0)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, "TensorRT-RTX refused the graph for SM75"
    weights = sum(int(np.prod(each.dims)) for each in model.graph.initializer) * np.dtype(np.float16).itemsize
    print(f"SM75 plan of {plan.nbytes / 1e6:.0f} MB for {weights / 1e6:.0f} MB of weights")
    assert plan.nbytes >= 0.9 * weights
