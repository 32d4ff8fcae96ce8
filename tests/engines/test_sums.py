"""Products of few rows as sums: the same step, in onnxruntime, and compiled for Turing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from engines.build import BuildOptions, PlanBuild
from engines.sums import MOST_ROWS, products_as_sums
from engines.target import turing_without_gpu
from export.placement import quantised_products
from export.quantise import quantised
from runtime.backends.onnxruntime import open_session
from runtime.bundle import read_bundle

ROUNDED = {np.float32: 1e-5, np.float16: 2e-2}


def outputs_of(model: bytes, feeds: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    return list(open_session(model, "onnxruntime-cpu").run(None, feeds))


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("rows", "transposed", "biased"),
    [(1, False, True), (2, False, True), (2, True, True), (2, False, False), (MOST_ROWS + 1, False, True)],
)
def test_a_product_against_numpy(rows: int, transposed: bool, biased: bool, dtype: type[np.floating]) -> None:
    generator = np.random.default_rng(0)
    x, weight, bias = (generator.normal(size=shape).astype(dtype) for shape in ((rows, 40), (40, 24), (24,)))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    fed = x.T if transposed else x
    node = helper.make_node("Gemm", ["x", "w", *(["b"] if biased else [])], ["y"], name="p", transA=int(transposed))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, fed.shape)],
        [helper.make_tensor_value_info("y", kind, [rows, 24])],
        [numpy_helper.from_array(weight, "w"), *([numpy_helper.from_array(bias, "b")] if biased else [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    rewritten = products_as_sums(model)
    assert ("Gemm" in operators(rewritten)) == (rows > MOST_ROWS)
    expected = x.astype(np.float64) @ weight.astype(np.float64) + (bias if biased else 0)
    (found,) = outputs_of(rewritten, {"x": np.ascontiguousarray(fed)})
    largest = float(np.abs(found.astype(np.float64) - expected).max())
    print(f"largest difference {largest:.1e}")
    assert largest < ROUNDED[dtype]


@pytest.mark.parametrize("lookahead_ms", [80, 480])
def test_a_step_is_the_same(bundle_at: Callable[[int], Path], lookahead_ms: int) -> None:
    """Every product at 80 ms; none at 480 ms, where each has 7 rows."""
    folder = bundle_at(lookahead_ms)
    entry = read_bundle(folder).steps["fp32"]
    model = (folder / entry.file).read_bytes()
    rewritten = products_as_sums(model)
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    generator = np.random.default_rng(1)
    whole = {"valid": 1000, "length": 70}
    feeds = {
        each.name: np.full(each.shape, whole[each.name], np.int32)
        if each.name in whole
        else (0.1 * generator.normal(size=each.shape)).astype(each.dtype)
        for each in entry.inputs
    }
    differences = {
        each.name: float(np.abs(a.astype(np.float64) - b).max())
        for each, a, b in zip(entry.outputs, outputs_of(model, feeds), outputs_of(rewritten, feeds), strict=True)
    }
    print(differences)
    assert max(differences.values()) < 1e-4
    assert differences["tokens"] == 0
    assert operators(rewritten).count("Gemm") == (0 if lookahead_ms == 80 else operators(model).count("Gemm"))


def test_an_evaluation_is_the_same(bundle_of: Callable[[str, int], Path]) -> None:
    bundle = bundle_of("large-random", 80)
    model = (bundle / "rnnt.fp32.onnx").read_bytes()
    rewritten = products_as_sums(model)
    assert "Gemm" not in operators(rewritten)
    entry = (read_bundle(bundle).rnnt or {})["fp32"]
    feeds = {each.name: np.zeros(each.shape, each.dtype) for each in entry.inputs}
    feeds["encoded"] = np.random.default_rng(2).normal(size=feeds["encoded"].shape).astype(np.float32)
    for a, b in zip(outputs_of(model, feeds), outputs_of(rewritten, feeds), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_quantised_products_stay(bundle: Path) -> None:
    step = onnx.load(bundle / "step.fp16.onnx")
    products = quantised_products(step)
    model = quantised(step, dict.fromkeys(products, 2.0)).SerializeToString()
    gemms = [each for each in onnx.load_from_string(products_as_sums(model)).graph.node if each.op_type == "Gemm"]
    assert {each.name for each in gemms} == set(products)


@pytest.mark.own_process
def test_turing_compiles_it(shallow_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is only there on Linux x86-64: run `make test` on it")
    folder = Path(shutil.copytree(shallow_bundle, tmp_path / "bundle"))
    build = PlanBuild(folder, "fp16", turing_without_gpu("fp16"), BuildOptions(level=0, products="sum"))
    assert build.run().options["products"] == "sum"
    assert build.plan.stat().st_size > 1.5 * build.entry.parameters, "the weights are in it"
