"""What a step moves and computes: every kind of node by hand, the embedded checkpoint by formula and by its file."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.step.workload import GroupWork, step_work
from runtime.bundle import read_bundle
from runtime.errors import InputError

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


@dataclass(frozen=True)
class Case:
    """A graph from x to y, and what is in it by hand."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, Any]
    dtype: int
    x: tuple[int, ...]
    y: tuple[int, ...]
    constant_bytes: int
    products: Counter[str]
    node_bytes: int | None = None  # None: x and y

    @property
    def expected(self) -> GroupWork:
        ends = (2 if self.dtype == HALF else 4) * (math.prod(self.x) + math.prod(self.y))
        return GroupWork(
            name="ffn",
            constant_bytes=self.constant_bytes,
            io_bytes=ends,
            node_bytes=self.node_bytes or ends,
            multiply_adds=self.products,
        )


def node(kind: str, inputs: Sequence[str], output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"layer3/ffn1.{output}", **attributes)


def quantised(weight_dtype: type[np.generic], *chain: str) -> Case:
    """x through Q and DQ, a weight through the chain, and their product."""
    ends = ["w", *(f"w{index}" for index in range(len(chain)))]
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], "q"),
        node("DequantizeLinear", ["q", "scale", "zero"], "dq"),
        *(node(kind, [ends[i], "scale", "zero"], ends[i + 1]) for i, kind in enumerate(chain)),
        node("MatMul", ["dq", ends[-1]]),
    ]
    constants = {"w": ONES.astype(weight_dtype), "scale": np.float32(0.1), "zero": np.int8(0)}
    # x is read in FP32, written and read in INT8, written and read in FP32; y is written.
    moved = 128 * (4 + 1 + 1 + 4 + 4) + 256 * 4
    return Case(nodes, constants, FLOAT, (2, 64), (2, 128), 64 * 128 + 5, Counter(int8=2 * 64 * 128), moved)


ONES = np.ones((64, 128), np.float32)
PLANES = np.ones((5, 3, 3, 3), np.float32)
GEMM = {"w": ONES.T.astype(np.float16), "b": np.ones(128, np.float16)}
HEADS = {"w": np.ones((1, 4, 8, 16), np.float16)}
DEPTHWISE = {"w": np.ones((6, 1, 9), np.float16)}
CASES = {
    "Gemm": Case(
        [node("Gemm", ["x", "w", "b"], transB=1)],
        GEMM,
        HALF,
        (2, 64),
        (2, 128),
        2 * (64 * 128 + 128),
        Counter(fp16=2 * 64 * 128),
    ),
    "Gemm of a transposed": Case(
        [node("Gemm", ["x", "w"], transA=1)],
        {"w": ONES},
        FLOAT,
        (64, 2),
        (2, 128),
        4 * 64 * 128,
        Counter(fp32=2 * 64 * 128),
    ),
    "MatMul of heads": Case(
        [node("MatMul", ["x", "w"])], HEADS, HALF, (1, 4, 3, 8), (1, 4, 3, 16), 2 * 512, Counter(fp16=4 * 3 * 8 * 16)
    ),
    "Conv, depthwise": Case(
        [node("Conv", ["x", "w"], group=6)],
        DEPTHWISE,
        HALF,
        (1, 6, 10),
        (1, 6, 2),
        2 * 54,
        Counter(fp16=6 * 2 * 9),
    ),
    "Conv, strided, of planes": Case(
        [node("Conv", ["x", "w"], strides=[2, 2])],
        {"w": PLANES},
        FLOAT,
        (1, 3, 7, 9),
        (1, 5, 3, 4),
        4 * 135,
        Counter(fp32=60 * 27),
    ),
    "a view moves nothing": Case(
        [node("Relu", ["x"], "r"), node("Reshape", ["r", "s"])],
        {"s": np.array([4, 3])},
        FLOAT,
        (3, 4),
        (4, 3),
        16,
        Counter(),
    ),
    "INT8, stored quantised": quantised(np.int8, "DequantizeLinear"),
    "INT8, quantised in the graph": quantised(np.float32, "QuantizeLinear", "DequantizeLinear"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_counts_by_hand(case: Case, tmp_path: Path) -> None:
    ends = {
        name: helper.make_tensor_value_info(name, case.dtype, shape) for name, shape in (("x", case.x), ("y", case.y))
    }
    weights = [numpy_helper.from_array(np.asarray(values), name) for name, values in case.constants.items()]
    graph = helper.make_graph(case.nodes, "g", [ends["x"]], [ends["y"]], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    assert step_work(tmp_path / "m.onnx") == [case.expected]


def test_no_onnx(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no onnx")
    with pytest.raises(InputError, match=r"expected an ONNX step in .*m.onnx"):
        step_work(tmp_path / "m.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("lookahead_ms", [0, 80])
def test_counts_of_the_embedded_checkpoint(bundle_at: Callable[[int], Path], lookahead_ms: int, precision: str) -> None:
    width, layers, kernel, cached, tokens = 192, 14, 9, 70, 257
    folder = bundle_at(lookahead_ms)
    groups = {each.name: each for each in step_work(folder / f"step.{precision}.onnx")}
    frames = lookahead_ms // 80 + 1
    keys = cached + frames
    linear = {
        "ffn": layers * frames * 2 * 2 * width * 4 * width,
        "attention": layers * frames * width * 4 * width,
        "convolution": layers * frames * width * 3 * width,
        "ctc": frames * width * tokens,
    }
    # Products over few frames may be written as sums, which are no products to the count; tokens may be padded to eights.
    optional = {
        "attention": layers * frames * width * (2 * keys + keys + frames - 1),
        "convolution": layers * frames * width * kernel,
        "ctc": frames * width * 7,
    }
    counted = {name: groups[name].multiply_adds.total() for name in linear}
    print({name: (counted[name], linear[name], optional.get(name, 0)) for name in linear})
    for name, number in linear.items():
        assert number <= counted[name] <= number + optional.get(name, 0)
    assert groups["ffn"].multiply_adds.keys() == groups["ctc"].multiply_adds.keys() == {precision}
    assert groups["mel"].multiply_adds.keys() == {"fp32"}


def test_many_streams_read_the_weights_once_and_the_rest_as_often_as_they_are(batched_bundle: Path) -> None:
    one, many = (step_work(batched_bundle / "batched.fp16.onnx", streams) for streams in (1, 7))
    alone = step_work(batched_bundle / "step.fp16.onnx")
    for of_one, of_many, of_step in zip(one, many, alone, strict=True):
        assert of_many.constant_bytes == of_one.constant_bytes
        assert of_many.io_bytes == 7 * of_one.io_bytes
        assert of_many.multiply_adds == {kind: 7 * number for kind, number in of_one.multiply_adds.items()}
        assert of_many.node_bytes == pytest.approx(7 * of_one.node_bytes, rel=0.01)  # but masks that all streams share
        if of_one.name != "mel":  # there the sum over bins is a matrix product
            assert of_one.multiply_adds == of_step.multiply_adds


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bytes_of_the_embedded_checkpoint(bundle: Path, precision: str) -> None:
    groups = step_work(bundle / f"step.{precision}.onnx")
    step = read_bundle(bundle).step(precision)
    constants = sum(each.constant_bytes for each in groups)
    size = (bundle / step.file).stat().st_size
    print(f"constants {constants} bytes, file {size}, difference {size - constants}")
    assert constants < size < constants * 1.02  # the rest is the nodes
    ends = [*step.inputs, *step.outputs]
    assert sum(each.io_bytes for each in groups) == sum(each.zeros().nbytes for each in ends)
    state = sum(each.zeros().nbytes for each in ends if "cache" in each.name or "length" in each.name)
    by_name = {each.name: each for each in groups}
    assert by_name["state"].io_bytes == pytest.approx(state, abs=8)  # the length goes to the mask first
    assert by_name["other"].constant_bytes < 0.01 * constants
    assert all(each.node_bytes >= each.io_bytes for each in groups)
