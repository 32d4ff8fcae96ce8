"""The streaming step of a cache-aware FastConformer, with its CTC head where it has one, as one ONNX graph.

Source of the arithmetic: NeMo 3.0.0, nemo/collections/asr/modules/conformer_encoder.py and parts/submodules. What differs is only
what is constant at export.
"""

from typing import Any

import numpy as np
import onnx

from export.architecture import Architecture
from export.conformer import ConformerLayers, LayerFrames, Weights
from export.geometry import Geometry
from export.graph import Floating, GraphBuilder
from export.mel import MelFrontEnd
from runtime.entries import PROMPT

CTC_HEAD = "ctc.decoder_layers.0"
"""Its weights, where the checkpoint has one."""
PROMPT_KERNEL = ("prompt.0", "prompt.2")
"""Its linear layers' weights, where the checkpoint is told the language."""


def build_step(
    architecture: Architecture,
    geometry: Geometry,
    mel: MelFrontEnd,
    weights: Weights,
    compute: Floating,
    *,
    many: bool = False,
) -> onnx.ModelProto:
    """One step: audio window and state in, tokens, log-probabilities, encoded frames and next state out. `compute`: FP32 or FP16.

    Shapes (T: chunk frames, C: left context, L: layers, H: heads, D: model width, k: convolution kernel, V: vocabulary):
    in  audio FP32 [1, window], valid INT32 [1] (mel frames from the chunk's start to the end of the audio; any large number
        before the end), length INT32 [1], kv_cache [1, C, 2L, H, D/H] (per layer the keys, then the values),
        time_cache [1, k-1, LD], both in the compute type, all zero at the start of an utterance; of weights with a prompt kernel
        prompt INT32 [1], the number of the language;
    out encoded FP32 [1, T, D], next_length, next_kv_cache, next_time_cache, and of weights with a CTC head tokens INT32 [1, T] and
        log_probs FP32 [1, T, V+1].

    `many`: the first axis of all of these is that of the streams, each of which is masked by its own `valid` and `length`. How many
    there are is known when the graph runs.
    """
    return _Step(architecture, geometry, mel, weights, GraphBuilder(compute, many=many)).build()


class _Step:
    def __init__(
        self, architecture: Architecture, geometry: Geometry, mel: MelFrontEnd, weights: Weights, graph: GraphBuilder
    ) -> None:
        self.architecture, self.geometry, self.mel = architecture, geometry, mel
        self.weights, self.graph = weights, graph
        self.frames, self.context = geometry.chunk_frames, geometry.left_context_frames
        self.layers = ConformerLayers(architecture, self.frames, self.context, weights, graph)

    def build(self) -> onnx.ModelProto:
        g, a = self.graph, self.architecture
        kv_shape = [1, self.context, 2 * a.layers, a.heads, a.width // a.heads]
        time_shape = [1, a.kernel - 1, a.layers * a.width]
        audio = g.input("audio", np.float32, [1, self.geometry.window_samples])
        valid = g.input("valid", np.int32, [1])
        length = g.input("length", np.int32, [1])
        kv_cache = g.input("kv_cache", g.compute, kv_shape)
        time_cache = g.input("time_cache", g.compute, time_shape)

        with g.scoped("mask"):
            *stage_masks, key_mask = self.masks(length, valid)
            biases = self.layers.score_biases(key_mask)
        with g.scoped("mel"):
            features = self.mel.add_to(g, audio, self.geometry.window_samples)
        with g.scoped("subsampling"):
            x = self.subsample(features, stage_masks)
        key_values = g.split(kv_cache, [1] * (2 * a.layers), 2, "kv_layers")
        times = g.split(time_cache, [a.width] * a.layers, 2, "time_layers")
        new_kv, new_time = [], []
        for layer in range(a.layers):
            with g.scoped(f"layer{layer}"):
                cached = LayerFrames(key_values[2 * layer], key_values[2 * layer + 1], times[layer])
                x, new = self.layers.add(layer, x, cached, biases[layer])
            new_kv += [new.keys, new.values]
            new_time.append(new.gated)

        if f"{PROMPT_KERNEL[0]}.weight" in self.weights:
            prompt = g.input(PROMPT, np.int32, [1])
            with g.scoped("prompt"):
                x = self.prompted(x, prompt)
        encoded_shape = [1, self.frames, a.width]
        g.output("encoded", g.reshape(x, encoded_shape, "encoded_frames"), np.float32, encoded_shape)
        if f"{CTC_HEAD}.weight" in self.weights:
            with g.scoped("ctc"):
                self.decode(x)
        with g.scoped("state"):
            longer = g.one("Add", [length, g.constant("chunk", [self.frames], np.int32)], "longer")
            most = g.constant("context", [self.context], np.int32)
            g.output("next_length", g.one("Min", [longer, most], "length"), np.int32, [1])
            g.output("next_kv_cache", self.shifted(kv_cache, new_kv, self.context, "kv"), g.compute, kv_shape)
            g.output("next_time_cache", self.shifted(time_cache, new_time, a.kernel - 1, "time"), g.compute, time_shape)
        return g.model(f"step_{np.dtype(g.compute).name}")

    def masks(self, length: str, valid: str) -> list[str]:
        """FP32 masks (1: exists) of each stride-2 convolution's input [frames] and, last, of the attention keys [keys].

        Of many streams [streams, 1, 1, frames] and [streams, keys].
        """
        g = self.graph
        begins, ends, sizes = self.geometry.visible()
        if g.many:
            length, valid = (g.reshape(each, [1, 1], f"{each}.column") for each in (length, valid))
        start = g.one("Mul", [length, g.constant("minus_subsampling", [-self.geometry.subsampling], np.int32)], "start")
        begun = g.one("GreaterOrEqual", [g.constant("begins", begins, np.int32), start], "begun")
        ended = g.one("LessOrEqual", [g.constant("ends", ends, np.int32), valid], "ended")
        exists = g.one("Cast", [g.one("And", [begun, ended], "exists")], "float", to=onnx.TensorProto.FLOAT)
        if not g.many:
            return g.split(exists, sizes, 0, "parts")
        *stages, keys = g.split(exists, sizes, 1, "parts")
        shaped = [
            g.reshape(each, [1, 1, 1, size], f"stage{stage}")
            for stage, (each, size) in enumerate(zip(stages, sizes, strict=False))
        ]
        return [*shaped, keys]

    def subsample(self, features: str, masks: list[str]) -> str:
        """Log-mel of `features`, see MelFrontEnd, to [T, D]: causal dw_striding over frequency x time, time last so that masks broadcast.

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
        weight, bias = (self.weights[f"encoder.pre_encode.out.{key}"] * a.input_scale for key in ("weight", "bias"))
        columns = a.subsampling_channels * frequencies
        if g.many:
            x = g.one("Transpose", [g.reshape(x, [1, columns, self.frames], "columns")], "rows", perm=[0, 2, 1])
            flat = g.reshape(x, [self.frames, columns], "flat")
        else:
            flat = g.reshape(x, [columns, self.frames], "flat")
        return g.cast(g.linear(flat, weight, bias, "out", transposed=not g.many), np.float32)

    def convolve(self, x: str, source: str, name: str, **attributes: Any) -> str:
        """A 2-D convolution in FP32 with NeMo's weights [out, in, time, frequency], laid out as frequency x time."""
        kernel = self.graph.constant(f"{name}.weight", self.weights[f"{source}.weight"].swapaxes(2, 3), np.float32)
        bias = self.graph.constant(f"{name}.bias", self.weights[f"{source}.bias"], np.float32)
        return self.graph.one("Conv", [x, kernel, bias], name, **attributes)

    def prompted(self, x: str, prompt: str) -> str:
        """Encoded frames [T, D] through the prompt kernel: [T, D].

        It reads a frame and a one-hot vector side by side, so that the prompt is a row of a table, the same for all frames of a stream.
        """
        g, width = self.graph, self.architecture.width
        (both, out), (bias, out_bias) = (
            [self.weights[f"{each}.{key}"] for each in PROMPT_KERNEL] for key in ("weight", "bias")
        )
        table = g.constant("prompts", both[:, width:].T + bias)
        row = g.cast(g.one("Gather", [table, prompt], "row", axis=0), np.float32)
        inner = g.cast(g.linear(x, both[:, :width], None, "in"), np.float32)
        if g.many:
            row = g.reshape(row, [1, 1, 2 * width], "row_of_stream")
            inner = g.reshape(inner, [1, self.frames, 2 * width], "frames")
        inner = g.one("Relu", [g.one("Add", [inner, row], "told")], "relu")
        if g.many:
            inner = g.reshape(inner, [self.frames, 2 * width], "rows")
        return g.cast(g.linear(inner, out, out_bias, "out"), np.float32)

    def decode(self, x: str) -> None:
        """CTC head over encoded frames [T, D]: the outputs log_probs [1, T, V+1] and tokens [1, T]."""
        g, classes = self.graph, self.architecture.vocabulary + 1
        logits = g.logits(x, *self.layers.linear_weights(CTC_HEAD), "logits")
        tokens, most = g.first_maximum(logits, self.architecture.vocabulary, "best")
        log_probs = g.one("Sub", g.below_maximum(logits, most), "log_softmax")
        shape = [1, self.frames, classes]
        g.output("log_probs", g.reshape(log_probs, shape, "frames"), np.float32, shape)
        g.output("tokens", g.reshape(tokens, shape[:2], "tokens"), np.int32, shape[:2])

    def shifted(self, cache: str, new: list[str], size: int, name: str) -> str:
        """The last `size` frames (axis 1) of the cache followed by the chunk's, for all layers (axis 2) at once."""
        g = self.graph
        chunk = g.one("Concat", new, f"{name}.chunk", axis=2)
        if self.frames == size:
            return chunk
        if self.frames > size:
            return g.slice_from(chunk, -size, 1, f"{name}.last")
        return g.one("Concat", [g.slice_from(cache, self.frames, 1, f"{name}.kept"), chunk], f"{name}.next", axis=1)
