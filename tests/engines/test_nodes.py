from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.nodes import Node, load_without_weights, read_nodes


def test_a_small_graph(tmp_path: Path) -> None:
    shared = np.zeros((200, 200), np.float16)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["half"], "cast", to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["half", "w"], ["once"], "one"),
            helper.make_node("MatMul", ["once", "w"], ["twice"], "two"),
            helper.make_node("Reshape", ["twice", "shape"], ["flat"], "flat"),
            helper.make_node("ArgMax", ["flat"], ["best"], "best", axis=0, keepdims=0),
            helper.make_node("Greater", ["flat", "zero"], ["y"], "above"),
            helper.make_node("Unheard", ["flat"], ["z"], "own", domain="own"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 200])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [200])],
        [
            numpy_helper.from_array(shared, "w"),
            numpy_helper.from_array(np.array([200]), "shape"),
            numpy_helper.from_array(np.array(0, np.float16), "zero"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "step.onnx")
    assert read_nodes(tmp_path / "step.onnx") == [
        Node("cast", "Cast", "fp16", 0),
        Node("one", "MatMul", "fp16", 80_000),
        Node("two", "MatMul", "fp16", 0),
        Node("flat", "Reshape", "fp16", 8),
        Node("best", "ArgMax", "int64", 0),
        Node("above", "Greater", "bool", 2),
        Node("own", "Unheard", "unknown", 0),
    ]


def test_small_constants_are_kept_and_large_ones_lose_their_data(tmp_path: Path) -> None:
    arrays = {"shape": np.arange(1024), "weight": np.ones(1025, np.int64)}  # 8 bytes each: up to KEPT_BYTES, and above
    constants = [numpy_helper.from_array(values, name) for name, values in arrays.items()]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], constants)), tmp_path / "step.onnx")
    shape, weight = load_without_weights(tmp_path / "step.onnx").graph.initializer
    assert np.array_equal(numpy_helper.to_array(shape), arrays["shape"])
    assert (weight.raw_data, list(weight.dims)) == (b"", [1025])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_bundle_s_step(bundle: Path, precision: str) -> None:
    graph = onnx.load(bundle / f"step.{precision}.onnx").graph
    nodes = read_nodes(bundle / f"step.{precision}.onnx")
    assert [(each.name, each.kind) for each in nodes] == [(each.name, each.op_type) for each in graph.node]
    assert sum(each.weight_bytes for each in nodes) == sum(
        numpy_helper.to_array(each).nbytes for each in graph.initializer
    )
    casts = {each.name: each.attribute[0].i for each in graph.node if each.op_type == "Cast"}
    names = {
        TensorProto.FLOAT: "fp32",
        TensorProto.FLOAT16: "fp16",
        TensorProto.INT32: "int32",
        TensorProto.BOOL: "bool",
    }
    assert {each.name: each.precision for each in nodes if each.kind == "Cast"} == {
        name: names[to] for name, to in casts.items()
    }
    assert {each.precision for each in nodes if each.kind == "Gemm"} == {precision}
    found = Counter(each.precision for each in nodes)
    print(precision, dict(found))
    assert found.keys() <= {"fp32", "fp16", "int32", "int64", "bool"}
    assert ("fp16" in found) == (precision == "fp16")
