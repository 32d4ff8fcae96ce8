"""The streaming step of a cache-aware FastConformer with a CTC head as one static ONNX graph.

Source of the arithmetic: NeMo 3.0.0, nemo/collections/asr/modules/conformer_encoder.py and parts/submodules. What differs is only
what is constant at export: relative positions are projected, scales are folded into weights, keys and values are cached after
their projection (NeMo caches before it and projects 70 frames again at each step).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.architecture import Architecture
from export.geometry import Geometry
from export.graph import Array, Floating, GraphBuilder
from export.mel import MelFrontEnd

Weights = Mapping[str, Array]
"""NeMo's state dict of the encoder and the CTC head, by NeMo's names."""

MASKED = -1e4  # added to the scores of what must not be seen; NeMo's INF_VAL; its exponential is 0 in FP32


def build_step(
    architecture: Architecture, geometry: Geometry, mel: MelFrontEnd, weights: Weights, compute: Floating
) -> onnx.ModelProto:
    """One step: audio window and state in, tokens, log-probabilities, encoded frames and next state out. `compute`: FP32 or FP16.

    Shapes (T: chunk frames, C: left context, L: layers, H: heads, D: model width, k: convolution kernel, V: vocabulary):
    in  audio FP32 [1, window], valid INT32 [1] (mel frames from the chunk's start to the end of the audio; any large number
        before the end), length INT32 [1], kv_cache [1, 2LH, C, D/H] (per layer the keys' heads, then the values'),
        time_cache [1, LD, k-1], both in the compute type, all zero at the start of an utterance;
    out tokens INT32 [1, T], log_probs FP32 [1, T, V+1], encoded FP32 [1, T, D], next_length, next_kv_cache, next_time_cache.
    """
    return _Step(architecture, geometry, mel, weights, GraphBuilder(compute)).build()


class _Step:
    def __init__(
        self, architecture: Architecture, geometry: Geometry, mel: MelFrontEnd, weights: Weights, graph: GraphBuilder
    ) -> None:
        self.architecture, self.geometry, self.mel, self.weights, self.graph = (
            architecture,
            geometry,
            mel,
            weights,
            graph,
        )
        self.frames, self.context = geometry.chunk_frames, geometry.left_context_frames
        self.keys = self.frames + self.context

    def build(self) -> onnx.ModelProto:
        g, a = self.graph, self.architecture
        layers, width, heads = a.layers, a.width, a.heads
        kv_shape = [1, 2 * layers * heads, self.context, width // heads]
        time_shape = [1, layers * width, a.kernel - 1]
        audio = g.input("audio", np.float32, [1, self.geometry.window_samples])
        valid = g.input("valid", np.int32, [1])
        length = g.input("length", np.int32, [1])
        kv_cache = g.input("kv_cache", g.compute, kv_shape)
        time_cache = g.input("time_cache", g.compute, time_shape)

        with g.scoped("mask"):
            stage_masks, key_mask = self.masks(length, valid)
            biases = self.score_biases(key_mask)
        with g.scoped("mel"):
            features = self.mel.add_to(g, audio, self.geometry.window_samples)
        with g.scoped("subsampling"):
            x = self.subsample(features, stage_masks)
        kv_layers = g.split(kv_cache, [heads] * (2 * layers), 1, "kv_layers")
        time_layers = g.split(time_cache, [width] * layers, 1, "time_layers")
        new_kv, new_time = [], []
        for layer in range(layers):
            with g.scoped(f"layer{layer}"):
                prefix = f"encoder.layers.{layer}"
                x = self.feed_forward(x, prefix, 1)
                x, key, value = self.attention(x, prefix, kv_layers[2 * layer], kv_layers[2 * layer + 1], biases[layer])
                x, gated = self.convolution(x, prefix, time_layers[layer])
                x = self.feed_forward(x, prefix, 2)
                x = self.norm(x, f"{prefix}.norm_out", "norm_out")
            new_kv += [key, value]
            new_time.append(gated)

        g.output(
            "encoded", g.reshape(x, [1, self.frames, width], "encoded_frames"), np.float32, [1, self.frames, width]
        )
        with g.scoped("ctc"):
            logits = g.cast(self.project(x, "ctc.decoder_layers.0", "logits"), np.float32)
            log_probs = g.one("LogSoftmax", [logits], "log_softmax", axis=-1)
            best = g.one(
                "Cast",
                [g.one("ArgMax", [logits], "best", axis=-1, keepdims=0)],
                "best.int32",
                to=onnx.TensorProto.INT32,
            )
            classes = a.vocabulary + 1
            g.output(
                "log_probs",
                g.reshape(log_probs, [1, self.frames, classes], "frames"),
                np.float32,
                [1, self.frames, classes],
            )
            g.output("tokens", g.reshape(best, [1, self.frames], "tokens"), np.int32, [1, self.frames])
        with g.scoped("state"):
            longer = g.one("Add", [length, g.constant("chunk", [self.frames], np.int32)], "longer")
            g.output(
                "next_length",
                g.one("Min", [longer, g.constant("context", [self.context], np.int32)], "length"),
                np.int32,
                [1],
            )
            g.output("next_kv_cache", self.shifted(kv_cache, new_kv, self.context, 2, "kv"), g.compute, kv_shape)
            g.output(
                "next_time_cache", self.shifted(time_cache, new_time, a.kernel - 1, 2, "time"), g.compute, time_shape
            )
        return g.model(f"step_{np.dtype(g.compute).name}")

    def masks(self, length: str, valid: str) -> tuple[list[str], str]:
        """FP32 masks (1: exists) of each stride-2 convolution's input [frames] and of the attention keys [keys]."""
        g = self.graph
        begins, ends, sizes = self.geometry.visible()
        start = g.one("Mul", [length, g.constant("minus_subsampling", [-self.geometry.subsampling], np.int32)], "start")
        begun = g.one("GreaterOrEqual", [g.constant("begins", begins, np.int32), start], "begun")
        ended = g.one("LessOrEqual", [g.constant("ends", ends, np.int32), valid], "ended")
        exists = g.one("And", [begun, ended], "exists")
        return (parts := g.split(g.one("Cast", [exists], "float", to=onnx.TensorProto.FLOAT), sizes, 0, "parts"))[
            :-1
        ], parts[-1]

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

    def subsample(self, features: str, masks: list[str]) -> str:
        """Log-mel [1, mel, 1, frames] to [T, D]: causal dw_striding over frequency x time, time last so that masks broadcast.

        The convolutions are FP32 in every precision: they hold 0.1 % of the weights, and log-mel near silence has a spacing of
        2^-7 in FP16, the largest single source of FP16 error in the log-probabilities.
        """
        g, a, convolutions = self.graph, self.architecture, "encoder.pre_encode.conv"
        x = g.reshape(features, [1, 1, a.mel, self.geometry.mel_frames], "mel")
        frequencies = a.mel
        for stage, mask in enumerate(masks):
            name, source = f"stage{stage}", f"{convolutions}.{max(0, 3 * stage - 1)}"
            x = g.one("Mul", [x, mask], f"{name}.masked")
            groups = a.subsampling_channels if stage else 1
            x = self.convolve(x, source, f"{name}.strided", group=groups, strides=[2, 2], pads=[2, 0, 1, 0])
            if stage:
                x = self.convolve(x, f"{convolutions}.{3 * stage}", f"{name}.pointwise")
            x = g.one("Relu", [x], f"{name}.relu")
            frequencies = frequencies // 2 + 1
        flat = g.reshape(x, [a.subsampling_channels * frequencies, self.frames], "flat")
        weight, bias = (self.weights[f"encoder.pre_encode.out.{key}"] * a.input_scale for key in ("weight", "bias"))
        return g.cast(g.linear(flat, weight, bias, "out", transposed=True), np.float32)

    def convolve(self, x: str, source: str, name: str, **attributes: Any) -> str:
        """A 2-D convolution in FP32 with NeMo's weights [out, in, time, frequency], laid out as frequency x time."""
        kernel = self.graph.constant(f"{name}.weight", self.weights[f"{source}.weight"].swapaxes(2, 3), np.float32)
        bias = self.graph.constant(f"{name}.bias", self.weights[f"{source}.bias"], np.float32)
        return self.graph.one("Conv", [x, kernel, bias], name, **attributes)

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

    def add(self, residual: str, x: str, name: str) -> str:
        """The residual stream, FP32 in every precision."""
        return self.graph.one("Add", [residual, self.graph.cast(x, np.float32)], name)

    def feed_forward(self, x: str, prefix: str, index: int) -> str:
        """x + 0.5 * FFN(LN(x)), the half folded into the second weight."""
        name = f"ffn{index}"
        y = self.norm(x, f"{prefix}.norm_feed_forward{index}", f"{name}.norm")
        y = self.project(y, f"{prefix}.feed_forward{index}.linear1", f"{name}.in")
        y = self.project(
            self.graph.silu(y, f"{name}.silu"), f"{prefix}.feed_forward{index}.linear2", f"{name}.out", 0.5
        )
        return self.add(x, y, f"{name}.residual")

    def attention(self, x: str, prefix: str, key_cache: str, value_cache: str, bias: str) -> tuple[str, str, str]:
        """x + attention over the cached and the chunk's own frames; also the chunk's keys and values [1, H, T, D/H]."""
        g, a, attention = self.graph, self.architecture, f"{prefix}.self_attn"
        y = self.norm(x, f"{prefix}.norm_self_att", "attention.norm")
        qkv = g.reshape(
            g.linear(y, *self.qkv(attention), "attention.qkv"),
            [1, self.frames, 3 * a.heads, a.width // a.heads],
            "attention.heads",
        )
        query, key, value = g.split(
            g.one("Transpose", [qkv], "attention.by_head", perm=[0, 2, 1, 3]), [a.heads] * 3, 1, "attention.parts"
        )
        keys = g.one("Concat", [key_cache, key], "attention.keys", axis=2)
        values = g.one("Concat", [value_cache, value], "attention.values", axis=2)
        content = g.one(
            "MatMul", [query, g.one("Transpose", [keys], "attention.keys_t", perm=[0, 1, 3, 2])], "attention.content"
        )
        positions = g.constant(
            "attention.positions", self.projected_positions(int(prefix.rsplit(".", 1)[1])).transpose(0, 2, 1)[None]
        )
        position = g.one("MatMul", [query, positions], "attention.position")
        if self.frames > 1:  # for one query, column j is key j already
            columns = np.broadcast_to(self.relative_columns(), (1, a.heads, self.frames, self.keys))
            position = g.one(
                "GatherElements",
                [position, g.shared("relative_columns", columns, np.int64)],
                "attention.shifted",
                axis=3,
            )
        if g.compute is np.float32:
            scores = g.one("Sum", [content, position, bias], "attention.scores")
        else:
            products = g.one("Add", [content, position], "attention.products")
            scores = g.one("Add", [g.cast(products, np.float32), bias], "attention.scores")
        weights = g.one("Softmax", [scores], "attention.softmax", axis=-1)
        context = g.one("MatMul", [g.cast(weights, g.compute), values], "attention.context")
        joined = g.reshape(
            g.one("Transpose", [context], "attention.by_frame", perm=[0, 2, 1, 3]),
            [self.frames, a.width],
            "attention.joined",
        )
        y = self.project(joined, f"{attention}.linear_out", "attention.out")
        return self.add(x, y, "attention.residual"), key, value

    def qkv(self, attention: str) -> tuple[Array, Array]:
        """Weight [3D, D] and bias [3D] of the joint projection; the query scaled by 1/sqrt(D/H), with pos_bias_u in its bias.

        The keys' bias is left out: it adds the same to all scores of a query, which a softmax ignores, and smaller keys round less.
        """
        a = self.architecture
        weights = [self.weights[f"{attention}.linear_{key}.weight"] for key in "qkv"]
        query, _, value = (self.weights.get(f"{attention}.linear_{key}.bias", np.zeros(a.width)) for key in "qkv")
        query = (query + self.weights[f"{attention}.pos_bias_u"].reshape(-1)) * a.query_scale
        return np.concatenate([weights[0] * a.query_scale, *weights[1:]]), np.concatenate(
            [query, np.zeros(a.width), value]
        )

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
        return self.add(x, y, "conv.residual"), gated

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

    def shifted(self, cache: str, new: list[str], size: int, axis: int, name: str) -> str:
        """The last `size` frames (along `axis`) of the cache followed by the chunk's, for all layers at once."""
        g = self.graph
        chunk = g.one("Concat", new, f"{name}.chunk", axis=1)
        if self.frames >= size:
            return g.slice_from(chunk, -size, axis, f"{name}.last") if self.frames > size else chunk
        return g.one(
            "Concat", [g.slice_from(cache, self.frames, axis, f"{name}.kept"), chunk], f"{name}.next", axis=axis
        )
