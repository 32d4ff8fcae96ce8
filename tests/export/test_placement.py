"""Which tensors are observed, in the toy step and in the exporter's."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.placement import QUANTISED, expose, quantised_products
from runtime.backends.onnxruntime import open_session
from runtime.errors import InputError


def test_data_input_is_the_one_that_is_no_constant(model: onnx.ModelProto) -> None:
    products = quantised_products(model)
    names = [f"layer{layer}/{suffix}" for layer in range(2) for suffix in QUANTISED]
    order = {"ffn1.in": 0, "ffn1.out": 1, "attention.qkv": 2, "attention.out": 3, "conv.in": 4, "conv.out": 5}
    assert {suffix: index for index, suffix in enumerate(QUANTISED)} == order | {"ffn2.in": 6, "ffn2.out": 7}
    assert products == dict(zip(names, ["start", *names], strict=False))


def test_exported_step(bundle: Path) -> None:
    model = onnx.load(bundle / "step.fp32.onnx")
    products = quantised_products(model)
    layers = max(int(name.split("/")[0].removeprefix("layer")) for name in products) + 1
    assert layers == 14
    assert len(products) == 8 * layers
    assert len(set(products.values())) == len(products)
    made = {output: node.op_type for node in model.graph.node for output in node.output}
    assert all(
        tensor in made for tensor in products.values()
    )  # each is another node's output, not the product's own constant
    reads = {suffix: {made[products[f"layer{layer}/{suffix}"]] for layer in range(layers)} for suffix in QUANTISED}
    for suffix in ("ffn1.in", "attention.qkv", "conv.in", "ffn2.in"):
        assert reads[suffix] == {"LayerNormalization"}, suffix


def test_exposed_tensors_come_out_beside_unchanged_outputs(toy: Path, model: onnx.ModelProto) -> None:
    tensors = list(quantised_products(model).values())
    plain = open_session(str(toy / "step.fp32.onnx"), "onnxruntime-cpu")
    expose(model, tensors)
    observed = open_session(model.SerializeToString(), "onnxruntime-cpu")
    rng = np.random.default_rng(2)
    feeds = {
        each.name: rng.integers(-8, 8, each.shape).astype(np.float32 if "float" in each.type else np.int32)
        for each in plain.get_inputs()
    }
    names = [each.name for each in plain.get_outputs()]
    for name, before, after in zip(names, plain.run(names, feeds), observed.run(names, feeds), strict=True):
        assert (before == after).all(), name
    assert [each.name for each in observed.get_outputs()] == names + tensors
    assert all(np.isfinite(each).all() for each in observed.run(tensors, feeds))


@pytest.mark.parametrize(
    ("rename", "to", "says"),
    [
        pytest.param(
            "layer1/conv.out", "layer1/other", "product layer1/conv.out of one activation, found 0", id="missing"
        ),
        pytest.param("layer", "block", "nodes named layer0/..., found none", id="no layers"),
    ],
)
def test_another_exporters_step_is_refused(model: onnx.ModelProto, rename: str, to: str, says: str) -> None:
    for node in model.graph.node:
        node.name = node.name.replace(rename, to)
    with pytest.raises(InputError) as error:
        quantised_products(model)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_product_of_two_activations_is_refused(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "layer0/ffn2.in")
    node.input[1] = "start"
    with pytest.raises(InputError, match=r"layer0/ffn2.in of one activation, found 2"):
        quantised_products(model)
