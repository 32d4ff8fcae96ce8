"""The layers of a FastConformer over one chunk, with their caches.

Source of the arithmetic: NeMo 3.0.0, nemo/collections/asr/parts/submodules/conformer_modules.py and multi_head_attention.py. What is
constant at export is folded: relative positions are projected, scales are in the weights. Keys and values are cached after their
projection; NeMo caches before it and projects the whole left context again at each step.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from export.architecture import Architecture
from export.graph import Array, GraphBuilder

Weights = Mapping[str, Array]
"""NeMo's state dict of the encoder and the CTC head, by NeMo's names."""

MASKED = -1e4  # added to the scores of what must not be seen; NeMo's INF_VAL; its exponential is 0 in FP32


class LayerFrames(NamedTuple):
    """What a layer keeps of frames: of the C cached ones (k - 1 for `gated`), or of the chunk's T."""

    keys: str
    """[1, H, C or T, D/H]."""
    values: str
    """[1, H, C or T, D/H]."""
    gated: str
    """Input of the depthwise convolution [1, D, k - 1 or T]."""


class ConformerLayers:
    """Adds layers to a graph. T: the chunk's frames, C: left context, keys: C + T, H: heads, D: model width, k: kernel."""

    def __init__(
        self, architecture: Architecture, frames: int, context: int, weights: Weights, graph: GraphBuilder
    ) -> None:
        self.architecture, self.weights, self.graph = architecture, weights, graph
        self.frames, self.keys = frames, context + frames

    def add(self, layer: int, x: str, cached: LayerFrames, score_bias: str) -> tuple[str, LayerFrames]:
        """Layer number `layer` over x [T, D]: its output [T, D], and what the next steps need of the chunk's frames."""
        prefix = f"encoder.layers.{layer}"
        x = self.feed_forward(x, prefix, 1)
        x, keys, values = self.attention(x, layer, cached, score_bias)
        x, gated = self.convolution(x, prefix, cached.gated)
        x = self.feed_forward(x, prefix, 2)
        return self.norm(x, f"{prefix}.norm_out", "norm_out"), LayerFrames(keys, values, gated)

    def norm(self, x: str, source: str, name: str) -> str:
        """NeMo's LayerNorm in FP32."""
        return self.graph.layer_norm(
            x, self.weights[f"{source}.weight"], self.weights[f"{source}.bias"], self.architecture.norm_epsilon, name
        )

    def linear_weights(self, source: str) -> tuple[Array, Array | None]:
        """Weight [out, in] and bias [out] of a Linear or pointwise Conv1d of NeMo's."""
        weight = self.weights[f"{source}.weight"]
        return weight.reshape(weight.shape[:2]), self.weights.get(f"{source}.bias")

    def project(self, x: str, source: str, name: str, scale: float = 1.0) -> str:
        """A linear layer of NeMo's, its output scaled."""
        weight, bias = self.linear_weights(source)
        return self.graph.linear(x, weight * scale, None if bias is None else bias * scale, name)

    def add_residual(self, residual: str, x: str, name: str) -> str:
        """The residual stream, FP32 in every precision."""
        return self.graph.one("Add", [residual, self.graph.cast(x, np.float32)], name)

    def feed_forward(self, x: str, prefix: str, index: int) -> str:
        """x + 0.5 * FFN(LN(x)), the half folded into the second weight."""
        name = f"ffn{index}"
        y = self.norm(x, f"{prefix}.norm_feed_forward{index}", f"{name}.norm")
        y = self.project(y, f"{prefix}.feed_forward{index}.linear1", f"{name}.in")
        y = self.graph.silu(y, f"{name}.silu")
        y = self.project(y, f"{prefix}.feed_forward{index}.linear2", f"{name}.out", 0.5)
        return self.add_residual(x, y, f"{name}.residual")

    def attention(self, x: str, layer: int, cached: LayerFrames, bias: str) -> tuple[str, str, str]:
        """x + attention over the cached and the chunk's own frames; also the chunk's keys and values [1, H, T, D/H]."""
        g, a, source = self.graph, self.architecture, f"encoder.layers.{layer}.self_attn"
        y = self.norm(x, f"encoder.layers.{layer}.norm_self_att", "attention.norm")
        y = g.linear(y, *self.qkv(source), "attention.qkv")
        y = g.reshape(y, [1, self.frames, 3 * a.heads, a.width // a.heads], "attention.heads")
        y = g.one("Transpose", [y], "attention.by_head", perm=[0, 2, 1, 3])
        query, key, value = g.split(y, [a.heads] * 3, 1, "attention.parts")
        keys = g.one("Concat", [cached.keys, key], "attention.keys", axis=2)
        values = g.one("Concat", [cached.values, value], "attention.values", axis=2)
        transposed = g.one("Transpose", [keys], "attention.keys_t", perm=[0, 1, 3, 2])
        content = g.one("MatMul", [query, transposed], "attention.content")
        scores = self.scores(content, self.position_scores(query, layer), bias)
        weights = g.cast(g.one("Softmax", [scores], "attention.softmax", axis=-1), g.compute)
        y = g.one("MatMul", [weights, values], "attention.context")
        y = g.one("Transpose", [y], "attention.by_frame", perm=[0, 2, 1, 3])
        y = g.reshape(y, [self.frames, a.width], "attention.joined")
        y = self.project(y, f"{source}.linear_out", "attention.out")
        return self.add_residual(x, y, "attention.residual"), key, value

    def position_scores(self, query: str, layer: int) -> str:
        """Query times the relative positions, by key: [1, H, T, keys]."""
        g = self.graph
        table = self.projected_positions(layer).transpose(0, 2, 1)[None]  # [1, H, D/H, keys + T - 1]
        products = g.one("MatMul", [query, g.constant("attention.positions", table)], "attention.position")
        if self.frames == 1:  # for one query, column j is key j already
            return products
        columns = np.broadcast_to(self.relative_columns(), (1, self.architecture.heads, self.frames, self.keys))
        shared = g.shared("relative_columns", columns, np.int64)
        return g.one("GatherElements", [products, shared], "attention.shifted", axis=3)

    def scores(self, content: str, position: str, bias: str) -> str:
        """Their sum in FP32."""
        g = self.graph
        if g.compute is np.float32:
            return g.one("Sum", [content, position, bias], "attention.scores")
        products = g.one("Add", [content, position], "attention.products")
        return g.one("Add", [g.cast(products, np.float32), bias], "attention.scores")

    def qkv(self, attention: str) -> tuple[Array, Array]:
        """Weight [3D, D] and bias [3D] of the joint projection; the query scaled by 1/sqrt(D/H), with pos_bias_u in its bias.

        The keys' bias is left out: it adds the same to all scores of a query, which a softmax ignores, and smaller keys round less.
        """
        a = self.architecture
        weights = [self.weights[f"{attention}.linear_{key}.weight"] for key in "qkv"]
        query, _, value = (self.weights.get(f"{attention}.linear_{key}.bias", np.zeros(a.width)) for key in "qkv")
        query = (query + self.weights[f"{attention}.pos_bias_u"].reshape(-1)) * a.query_scale
        weight = np.concatenate([weights[0] * a.query_scale, *weights[1:]])
        return weight, np.concatenate([query, np.zeros(a.width), value])

    def score_biases(self, key_mask: str) -> list[str]:
        """Per layer FP32 [1, heads, T, keys]: what the second attention bias adds to the scores, and MASKED where a key is none.

        NeMo adds pos_bias_u to the query for the content term and pos_bias_v for the position term. Here the query carries u in
        its bias, so the position term lacks (v - u) P^T, which is constant.
        """
        g, a = self.graph, self.architecture
        columns = self.relative_columns()
        constants = []
        for layer in range(a.layers):
            u, v = (self.weights[f"encoder.layers.{layer}.self_attn.pos_bias_{key}"] for key in "uv")  # [heads, D/H]
            rows = np.einsum("hd,hnd->hn", (v - u) * a.query_scale, self.projected_positions(layer))
            constants.append(rows[:, columns])  # [heads, T, keys]
        exists = g.one("Cast", [key_mask], "keys", to=onnx.TensorProto.BOOL)
        biases = g.constant("score_bias", np.concatenate(constants)[None], np.float32)
        masked = g.one("Where", [exists, biases, g.constant("masked", [MASKED], np.float32)], "score_biases")
        return g.split(masked, [a.heads] * a.layers, 1, "layers")

    def projected_positions(self, layer: int) -> Array:
        """linear_pos of the sinusoids of distances C+T-1 .. -(T-1), less their mean: [heads, C+2T-1, D/H].

        The mean adds the same to all scores of a query, which a softmax ignores; smaller scores round less in FP16.
        """
        a = self.architecture
        distances = np.arange(self.keys - 1, -self.frames, -1)
        frequencies = np.exp(np.arange(0, a.width, 2) * -(np.log(10000.0) / a.width))
        table = np.zeros((len(distances), a.width))
        table[:, 0::2] = np.sin(distances[:, None] * frequencies)
        table[:, 1::2] = np.cos(distances[:, None] * frequencies)
        projected = table @ self.weights[f"encoder.layers.{layer}.self_attn.linear_pos.weight"].T
        projected -= projected.mean(0)
        return projected.reshape(len(distances), a.heads, -1).transpose(1, 0, 2)

    def relative_columns(self) -> npt.NDArray[np.int64]:
        """[T, keys]: the column of `projected_positions` that holds the distance from query i (at C+i) to key j."""
        queries, keys = np.arange(self.frames)[:, None], np.arange(self.keys)
        return self.frames - 1 - queries + keys

    def convolution(self, x: str, prefix: str, cache: str) -> tuple[str, str]:
        """x + convolution module; also the gated input [1, D, T] that the next steps' depthwise convolution needs."""
        g, a, convolution = self.graph, self.architecture, f"{prefix}.conv"
        weight, bias = self.linear_weights(f"{convolution}.pointwise_conv1")
        y = g.linear_by_channel(self.norm(x, f"{prefix}.norm_conv", "conv.norm"), weight, bias, "conv.in")
        channels = g.reshape(y, [1, 2 * a.width, self.frames], "conv.channels")
        value, gate = g.split(channels, [a.width] * 2, 1, "conv.halves")
        gated = g.one("Mul", [value, g.one("Sigmoid", [gate], "conv.gate")], "conv.glu")
        history = g.one("Concat", [cache, gated], "conv.history", axis=2)
        kernel, shift = self.depthwise(convolution)
        inputs = [history, g.constant("conv.depthwise.weight", kernel), g.constant("conv.depthwise.bias", shift)]
        y = g.one("Conv", inputs, "conv.depthwise", group=a.width)
        y = g.one("Transpose", [g.reshape(y, [a.width, self.frames], "conv.flat")], "conv.by_frame", perm=[1, 0])
        if a.convolution_norm == "layer_norm":
            y = g.cast(self.norm(y, f"{convolution}.batch_norm", "conv.depthwise_norm"), g.compute)
        y = self.project(g.silu(y, "conv.silu"), f"{convolution}.pointwise_conv2", "conv.out")
        return self.add_residual(x, y, "conv.residual"), gated

    def depthwise(self, convolution: str) -> tuple[Array, Array]:
        """Depthwise kernel [D, 1, k] and bias [D]; a batch norm (constant at inference) folded in."""
        kernel = self.weights[f"{convolution}.depthwise_conv.weight"]
        bias = self.weights.get(f"{convolution}.depthwise_conv.bias", np.zeros(len(kernel)))
        if self.architecture.convolution_norm == "batch_norm":
            weight, shift, mean, variance = (
                self.weights[f"{convolution}.batch_norm.{key}"]
                for key in ("weight", "bias", "running_mean", "running_var")
            )
            scale = weight / np.sqrt(variance + self.architecture.norm_epsilon)
            return kernel * scale[:, None, None], (bias - mean) * scale + shift
        return kernel, bias
