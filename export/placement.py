"""Which products of the step are quantised, and the activations that they read."""

import re
from collections.abc import Iterable

import onnx
from onnx import helper

from runtime.errors import InputError

QUANTISED = ("ffn1.in", "ffn1.out", "attention.qkv", "attention.out", "conv.in", "conv.out", "ffn2.in", "ffn2.out")
"""Names of a layer's products, after `layerN/`. Attention's own products, the depthwise convolution and the front end stay out."""


def quantised_products(model: onnx.ModelProto) -> dict[str, str]:
    """Product -> the tensor that it reads, of every layer in order: of a node's inputs the one that is no constant.

    Raises InputError for a step without layers, or with a layer that lacks one of QUANTISED.
    """
    constants = {constant.name for constant in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    layers = {int(found[1]) for name in nodes if (found := re.match(r"layer(\d+)/", name))}
    if not layers:
        raise InputError(
            "expected a step with nodes named layer0/..., found none; make the bundle again with `make export`"
        )
    products = {}
    for name in (f"layer{layer}/{suffix}" for layer in sorted(layers) for suffix in QUANTISED):
        data = [tensor for tensor in nodes[name].input if tensor not in constants] if name in nodes else []
        if len(data) != 1:
            raise InputError(
                f"expected the step with a product {name} of one activation, found {len(data)}; make the bundle again with `make export`"
            )
        products[name] = data[0]
    return products


def expose(model: onnx.ModelProto, tensors: Iterable[str]) -> None:
    """Make tensors outputs of the model too, in place."""
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
