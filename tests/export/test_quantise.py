"""Explicit Q/DQ: where it stands, what it computes against numpy, and that Turing's compiler takes it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from export.placement import QUANTISED, quantised_products
from export.quantise import LEVELS, quantised, thresholds_of
from runtime.backends.onnxruntime import open_session
from runtime.bundle import read_bundle
from runtime.errors import InputError
from tests.export.part import part

AMAX = 6.0


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def step(request: pytest.FixtureRequest, bundle: Path) -> onnx.ModelProto:
    return onnx.load(bundle / f"step.{request.param}.onnx")


def _types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info} | {
        each.name: each.data_type for each in model.graph.initializer
    }


def axes_moved(before: onnx.NodeProto, after: onnx.NodeProto) -> bool:
    """Whether a reduction has its axes as an input, as opset 19 asks for."""
    if before.op_type not in ("ReduceMax", "ReduceMin"):
        return False
    old = onnx.NodeProto()
    old.CopyFrom(before)
    old.attribute.remove(next(each for each in old.attribute if each.name == "axes"))
    old.input.append(f"{before.name}.axes")
    return old == after


def test_only_the_products_are_touched(step: onnx.ModelProto) -> None:
    products = quantised_products(step)
    model = quantised(step, dict.fromkeys(products, AMAX))
    added = Counter(node.op_type for node in model.graph.node) - Counter(node.op_type for node in step.graph.node)
    half = any(each.data_type == TensorProto.FLOAT16 for each in step.graph.initializer)
    assert added == {"QuantizeLinear": (1 if half else 2) * len(products), "DequantizeLinear": 2 * len(products)}
    before = {node.name: node for node in step.graph.node}
    for node in model.graph.node:
        if node.name in before and node.name not in products:
            assert node == before[node.name] or (half and axes_moved(before[node.name], node)), node.name
    types = _types(model)
    for name in products:
        assert types[f"{name}.input"] == types[f"{name}.weight8"] == types[name], name
    assert model.opset_import[0].version == (19 if half else 17), "TensorRT 8.6 parses no more than 17"
    shrunk = model.ByteSize() / step.ByteSize()
    print(f"{'FP16' if half else 'FP32'}: {len(products)} products, {shrunk:.2f} of the bytes")
    assert shrunk < 0.6 if half else shrunk < 1.02


def test_the_model_that_was_given_stays(step: onnx.ModelProto) -> None:
    before = step.SerializeToString()
    quantised(step, dict.fromkeys(quantised_products(step), AMAX))
    assert step.SerializeToString() == before


def test_products_kept_and_thresholds_found_again(step: onnx.ModelProto) -> None:
    products = quantised_products(step)
    kept = {name for name in products if "ffn1" in name}
    amax = {name: 1.0 + index / 7 for index, name in enumerate(products)}
    found = thresholds_of(quantised(step, amax, kept))
    assert found.keys() == products.keys() - kept
    worst = max(abs(found[name] / amax[name] - 1) for name in found)
    print(f"thresholds by their scales: within {worst:.1e}")
    assert worst <= 2**-11  # half a step of FP16
    assert thresholds_of(step) == {}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("suffix", QUANTISED)
def test_arithmetic_against_numpy(
    suffix: str, precision: str, shallow_bundle: Path, request: pytest.FixtureRequest
) -> None:
    """Of one product in 8 bits: numpy's own rounding of its input and weight, summed as integers."""
    if precision == "fp16":
        request.getfixturevalue("rounding")
    original = onnx.load(shallow_bundle / f"step.{precision}.onnx")
    name = f"layer1/{suffix}"
    data = quantised_products(original)[name]
    model = quantised(original, {name: AMAX}, quantised_products(original).keys() - {name})
    feeds = {each.name: each.zeros() for each in read_bundle(shallow_bundle).step(precision).inputs}
    feeds["audio"][:] = np.random.default_rng(0).standard_normal(feeds["audio"].shape) * 0.1
    feeds["valid"][:] = 10_000
    x, y = open_session(part(model, [data, name]).SerializeToString(), "onnxruntime-cpu").run([data, name], feeds)
    constants = {each.name: numpy_helper.to_array(each) for each in original.graph.initializer}
    node = next(each for each in original.graph.node if each.name == name)
    weight, bias = (constants[each].astype(np.float64) for each in node.input[1:])
    scale, scales = (
        each.astype(x.dtype).astype(np.float64) for each in (np.array(AMAX / LEVELS), np.abs(weight).max(0) / LEVELS)
    )
    integers = np.rint(x / scale).clip(-128, 127) @ np.rint(weight / scales).clip(-LEVELS, LEVELS)
    expected = integers * scale * scales + bias
    difference = np.abs(y - expected)
    one_level = float((scale * np.abs(weight)).max())
    rounded = {"fp32": 1e-4, "fp16": 2**-10 * float(np.abs(expected).max())}[precision]
    print(f"{name}: within {difference.max():.1e}; one level of the input is worth up to {one_level:.1e}")
    assert difference.max() <= max(rounded, one_level)  # x / scale may round to either side of a tie
    assert np.quantile(difference, 0.9) <= rounded


def test_a_missing_threshold_is_one_line(step: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match=r"expected a threshold for layer0/attention\.out, found none; make them with"):
        quantised(step, {})


@pytest.mark.own_process
def test_turing_compiles_it(shallow_bundle: Path) -> None:
    trt = pytest.importorskip(
        "tensorrt_rtx_bindings", reason="TensorRT-RTX is only there on Linux x86-64: run `make test` on it"
    )
    step = onnx.load(shallow_bundle / "step.fp16.onnx")
    model = quantised(step, dict.fromkeys(quantised_products(step), AMAX))
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM75, 0)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, "TensorRT-RTX refused the INT8 step for SM75"
    print(f"SM75 plan of {plan.nbytes / 1e6:.0f} MB for a step of {model.ByteSize() / 1e6:.0f} MB")
