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
    """[1, C or T, 1, H, D/H]."""
    values: str
    """[1, C or T, 1, H, D/H]."""
    gated: str
    """Input of the depthwise convolution [1, k - 1 or T, D]."""


class ConformerLayers:
    """Adds layers to a graph. T: the chunk's frames, C: left context, keys: C + T, H: heads, D: model width, k: kernel."""

    def __init__(
        self, architecture: Architecture, frames: int, context: int, weights: Weights, graph: GraphBuilder
    ) -> None:
        self.architecture, self.weights, self.graph = architecture, weights, graph
        self.frames, self.keys = frames, context + frames
        self.query_scale = float((architecture.width / architecture.heads) ** -0.5)

    def add(self, layer: int, x: str, cached: LayerFrames, score_bias: str) -> tuple[str, LayerFrames]:
        """Layer number `layer` over x [T, D]: its output [T, D], and what the next steps need of the chunk's frames.

        In a graph of many streams, here and below, T of a first axis is the frames of all of them, and 1 is their number.
        """
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
        """x + attention over the cached and the chunk's own frames; also the chunk's keys and values [1, T, 1, H, D/H].

        A chunk has few queries, and however many streams there are, keys and values meet those of their own stream alone: written as
        sums in FP32, keys before heads, their products with keys and values need no transpose and fuse with the softmax, where
        TensorRT would launch a matrix product of two rows.
        """
        g, a, source = self.graph, self.architecture, f"encoder.layers.{layer}.self_attn"
        y = self.norm(x, f"encoder.layers.{layer}.norm_self_att", "attention.norm")
        y = g.linear(y, *self.qkv(source), "attention.qkv")
        y = g.reshape(y, [1, self.frames, 3, a.heads, a.width // a.heads], "attention.heads")
        query, key, value = g.split(y, [1] * 3, 2, "attention.parts")
        weights = g.one("Softmax", [self.scores(query, key, cached.keys, layer, bias)], "attention.softmax", axis=1)
        values = g.cast(g.one("Concat", [cached.values, value], "attention.values", axis=1), np.float32)
        y = g.sum_of_products(weights, values, [1], "attention.context")  # [1, T, H, D/H]
        y = g.reshape(y, [self.frames, a.width], "attention.joined")
        y = self.project(y, f"{source}.linear_out", "attention.out")
        return self.add_residual(x, y, "attention.residual"), key, value

    def scores(self, query: str, key: str, cached_keys: str, layer: int, bias: str) -> str:
        """Of content and of relative position, with `bias`: FP32 [1, keys, T, H, 1].

        One sum gives both, over query * (key + position): the table holds the position of each key as each query sees it, so that no
        scores are moved to their keys afterwards, which TensorRT would do in a kernel of its own.
        """
        g, a = self.graph, self.architecture
        shape = [1, 1, self.frames, a.heads, a.width // a.heads]
        query = g.cast(g.reshape(query, shape, "attention.query"), np.float32)
        seen = self.projected_positions(layer)[:, self.relative_columns()]  # [H, T, keys, D/H]
        positions = g.constant("attention.positions", seen.transpose(2, 1, 0, 3)[None], np.float32)
        keys = g.cast(g.one("Concat", [cached_keys, key], "attention.keys", axis=1), np.float32)
        placed = g.one("Add", [keys, positions], "attention.placed")  # [1, keys, T, H, D/H]
        products = g.sum_of_products(query, placed, [4], "attention.products", keepdims=1)
        return g.one("Add", [products, bias], "attention.scores")

    def qkv(self, attention: str) -> tuple[Array, Array]:
        """Weight [3D, D] and bias [3D] of the joint projection; the query scaled by 1/sqrt(D/H), with pos_bias_u in its bias.

        The keys' bias is left out: it adds the same to all scores of a query, which a softmax ignores, and smaller keys round less.
        """
        a = self.architecture
        weights = [self.weights[f"{attention}.linear_{key}.weight"] for key in "qkv"]
        query, _, value = (self.weights.get(f"{attention}.linear_{key}.bias", np.zeros(a.width)) for key in "qkv")
        query = (query + self.weights[f"{attention}.pos_bias_u"].reshape(-1)) * self.query_scale
        weight = np.concatenate([weights[0] * self.query_scale, *weights[1:]])
        return weight, np.concatenate([query, np.zeros(a.width), value])

    def score_biases(self, key_mask: str) -> list[str]:
        """Per layer FP32 [1, keys, T, H, 1]: what the second attention bias adds to the scores, and MASKED where a key is none.

        NeMo adds pos_bias_u to the query for the content term and pos_bias_v for the position term. Here the query carries u in
        its bias, so the position term lacks (v - u) P^T, which is constant.
        """
        g, a = self.graph, self.architecture
        columns = self.relative_columns()
        constants = []
        for layer in range(a.layers):
            u, v = (self.weights[f"encoder.layers.{layer}.self_attn.pos_bias_{key}"] for key in "uv")  # [H, D/H]
            rows = np.einsum("hd,hnd->hn", (v - u) * self.query_scale, self.projected_positions(layer))
            constants.append(rows[:, columns].transpose(2, 1, 0))  # [keys, T, H]
        exists = g.one("Cast", [key_mask], "keys", to=onnx.TensorProto.BOOL)
        exists = g.reshape(exists, [1, self.keys, 1, 1, 1], "keys.shaped")
        biases = g.constant("score_bias", np.concatenate(constants, axis=2)[None, ..., None], np.float32)
        masked = g.one("Where", [exists, biases, g.constant("masked", [MASKED], np.float32)], "score_biases")
        return g.split(masked, [a.heads] * a.layers, 3, "layers")

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
        """x + convolution module; also the gated input [1, T, D] that the next steps' depthwise convolution needs."""
        g, a, convolution = self.graph, self.architecture, f"{prefix}.conv"
        y = self.norm(x, f"{prefix}.norm_conv", "conv.norm")
        y = self.project(y, f"{convolution}.pointwise_conv1", "conv.in")
        value, gate = g.split(
            g.reshape(y, [1, self.frames, 2 * a.width], "conv.frames"), [a.width] * 2, 2, "conv.halves"
        )
        gated = g.one("Mul", [value, g.one("Sigmoid", [gate], "conv.gate")], "conv.glu")
        y = self.depthwise(convolution, [cache, gated])
        if a.convolution_norm == "layer_norm":
            y = self.norm(y, f"{convolution}.batch_norm", "conv.depthwise_norm")
        y = self.project(g.silu(y, "conv.silu"), f"{convolution}.pointwise_conv2", "conv.out")
        return self.add_residual(x, y, "conv.residual"), gated

    def depthwise(self, convolution: str, history: list[str]) -> str:
        """Depthwise convolution over the frames of `history` [1, ., D], k - 1 + T in all: FP32 [T, D].

        A sum over its taps in FP32, which fuses with what stands around it; a Conv node would be a kernel of its own between two
        reformats. Of one stream its bias is one more frame, with a tap of 1; of many that frame would be copied for each.
        """
        g, a = self.graph, self.architecture
        kernel, bias = self.depthwise_weights(convolution)
        weights = kernel[:, 0].T  # [k, D]
        taps = np.arange(self.frames)[:, None] + np.arange(a.kernel)  # [T, k]
        if not g.many:
            history = [*history, g.constant("conv.depthwise.bias", bias[None, None])]
            weights = np.concatenate([weights, np.ones((1, a.width))])
            taps = np.pad(taps, ((0, 0), (0, 1)), constant_values=self.frames + a.kernel - 1)
        frames = g.cast(g.one("Concat", history, "conv.history", axis=1), np.float32)
        windows = g.one("Gather", [frames, g.shared("taps", taps, np.int64)], "conv.windows", axis=1)  # [1, T, taps, D]
        factors = g.constant("conv.depthwise.weight", weights, np.float32)
        if not g.many:
            return g.sum_of_products(windows, factors, [0, 2], "conv.depthwise")
        sums = g.sum_of_products(windows, factors, [2], "conv.depthwise.sums")  # [streams, T, D]
        rows = g.reshape(sums, [self.frames, a.width], "conv.depthwise.rows")
        return g.one("Add", [rows, g.constant("conv.depthwise.bias", bias, np.float32)], "conv.depthwise")

    def depthwise_weights(self, convolution: str) -> tuple[Array, Array]:
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
