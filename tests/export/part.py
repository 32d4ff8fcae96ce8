"""The part of a step that some of its tensors follow from: a product of an early layer takes a tenth of the step's time."""

import onnx
from onnx import helper


def part(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """Return a model with these outputs alone, all inputs, and the nodes and constants that they follow from."""
    made = {name: node for node in model.graph.node for name in node.output}
    reached, open_ends, needed = set(tensors), list(tensors), list[str]()
    while open_ends:
        node = made.get(open_ends.pop())
        if node is not None and node.output[0] not in needed:
            needed.append(node.output[0])
            open_ends += [name for name in node.input if name not in reached]
            reached |= set(node.input)
    graph = helper.make_graph(
        [node for node in model.graph.node if node.output[0] in needed],
        model.graph.name,
        model.graph.input,
        [helper.make_empty_tensor_value_info(name) for name in tensors],
        [constant for constant in model.graph.initializer if constant.name in reached],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
