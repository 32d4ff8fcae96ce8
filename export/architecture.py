"""What of a checkpoint's configuration decides the graph, and the refusal of what is no streaming Conformer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import InputError

# Key of the encoder's configuration -> the values this exporter implements.
SUPPORTED: dict[str, tuple[object, ...]] = {
    "subsampling": ("dw_striding",),
    "subsampling_factor": (8,),
    "causal_downsampling": (True,),
    "self_attention_model": ("rel_pos",),
    "att_context_style": ("chunked_limited",),
    "conv_context_size": ("causal",),
    "conv_norm_type": ("layer_norm", "batch_norm"),
    "reduction": (None,),
    "feat_out": (-1,),
}
DEFAULTS: dict[str, object] = {
    "self_attention_model": "rel_pos",
    "conv_norm_type": "batch_norm",
    "feat_out": -1,
    "sample_rate": 16000,
    "window_stride": 0.01,
    "frame_splicing": 1,
}
"""NeMo's for what a configuration leaves out, where this exporter implements it."""
FRONT_END: dict[str, tuple[object, ...]] = {
    "sample_rate": (16000,),
    "window_size": (0.025,),
    "window_stride": (0.01,),
    "normalize": ("NA", None),
    "frame_splicing": (1,),
}


@dataclass(frozen=True)
class Transducer:
    """Sizes of an RNN-T's prediction network (an LSTM) and joint."""

    layers: int
    """Of the LSTM."""
    width: int
    """Of its hidden state, and of the embedding."""
    activation: str
    """Of the joint: relu, tanh or sigmoid."""
    output: int
    """Place of the joint's last product in its joint_net: 1, or 2 behind a dropout."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a cache-aware FastConformer, and of its transducer where the checkpoint has one."""

    layers: int
    width: int
    """Model width, d_model."""
    heads: int
    kernel: int
    """Taps of the depthwise convolution."""
    convolution_norm: str
    """layer_norm or batch_norm, after the depthwise convolution."""
    subsampling_channels: int
    mel: int
    """Mel bands."""
    input_scale: float
    """sqrt(width) where the checkpoint scales its input (xscaling), else 1."""
    vocabulary: int
    """Tokens without the blank; the blank's id is this number."""
    lookaheads_ms: tuple[int, ...]
    """Trained look-aheads, ascending."""
    left_context_frames: int
    transducer: Transducer | None = None
    """None where there is none, or none that this exporter implements."""
    norm_epsilon: float = 1e-5

    def lookahead_frames(self, lookahead_ms: int) -> int:
        """Encoder frames of `lookahead_ms`; raises InputError for one that the checkpoint was not trained for."""
        if lookahead_ms not in self.lookaheads_ms:
            trained = ", ".join(map(str, self.lookaheads_ms))
            raise InputError(
                f"expected a look-ahead that the checkpoint was trained for ({trained} ms), found {lookahead_ms}; "
                f"choose one of them with LOOKAHEAD="
            )
        return lookahead_ms // ENCODER_FRAME_MS


ENCODER_FRAME_MS = 80


def read_architecture(name: str, config: Mapping[str, Any], vocabulary: int) -> Architecture:
    """Architecture from a NeMo model configuration (`encoder` and `preprocessor` parts, NeMo's defaults for what they leave out).

    Raises InputError for another kind, and for a configuration that NeMo would not take.
    """
    try:
        return _read(name, config, vocabulary)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"expected a configuration that NeMo builds a model from, found one with {found} in {name}; fetch the checkpoint again"
        ) from error


def _read(name: str, config: Mapping[str, Any], vocabulary: int) -> Architecture:
    encoder, front_end = config.get("encoder"), config.get("preprocessor")
    if not encoder or not str(encoder.get("_target_", "")).endswith("ConformerEncoder"):
        found = encoder.get("_target_", "no encoder") if encoder else "no encoder"
        raise InputError(
            f"expected a streaming FastConformer checkpoint, found {found} in {name}; "
            f"choose a cache-aware one such as stt_en_fastconformer_hybrid_large_streaming_multi"
        )
    for part, wanted in ((encoder, SUPPORTED), (front_end or {}, FRONT_END)):
        for key, values in wanted.items():
            if part.get(key, DEFAULTS.get(key)) not in values:
                raise InputError(
                    f"expected {key} {' or '.join(map(str, values))} as cache-aware streaming checkpoints have it, found "
                    f"{part.get(key)} in {name}; choose a streaming FastConformer checkpoint"
                )
    contexts = encoder.get("att_context_size") or [-1, -1]
    contexts = [contexts] if isinstance(contexts[0], int) else [list(context) for context in contexts]
    lefts = {left for left, _ in contexts}
    if len(lefts) != 1 or min(map(min, contexts)) < 0:
        raise InputError(
            f"expected attention contexts [[left, look-ahead], ...] with one limited left context, found {contexts} in "
            f"{name}; choose a checkpoint trained for cache-aware streaming"
        )
    width, channels = int(encoder["d_model"]), int(encoder.get("subsampling_conv_channels", -1))
    return Architecture(
        layers=int(encoder["n_layers"]),
        width=width,
        heads=int(encoder.get("n_heads", 4)),
        kernel=int(encoder.get("conv_kernel_size", 31)),
        convolution_norm=str(encoder.get("conv_norm_type", DEFAULTS["conv_norm_type"])),
        subsampling_channels=channels if channels > 0 else width,
        mel=int(encoder["feat_in"]),
        input_scale=width**0.5 if encoder.get("xscaling", True) else 1.0,
        vocabulary=vocabulary,
        lookaheads_ms=tuple(sorted(right * ENCODER_FRAME_MS for _, right in contexts)),
        left_context_frames=lefts.pop(),
        transducer=read_transducer(config),
    )


def read_transducer(config: Mapping[str, Any]) -> Transducer | None:
    """The transducer of a NeMo model configuration (`decoder` and `joint` parts).

    None for a model without one, and for what is no RNN-T over a plain LSTM: TDT and multi-blank, which have outputs beside the tokens,
    a stateless or normalised prediction network, one with a projection.
    """
    decoder, joint = config.get("decoder") or {}, config.get("joint") or {}
    network = decoder.get("prednet") or {}
    kinds = [str(part.get("_target_", "")).rpartition(".")[2] for part in (decoder, joint)]
    projected = (network.get("rnn_hidden_size") or -1) > 0
    if kinds != ["RNNTDecoder", "RNNTJoint"] or projected:
        return None
    if decoder.get("normalization_mode") or joint.get("num_extra_outputs"):
        return None
    return Transducer(
        layers=int(network["pred_rnn_layers"]),
        width=int(network["pred_hidden"]),
        activation=str(joint["jointnet"]["activation"]).lower(),
        output=2 if joint["jointnet"].get("dropout") else 1,
    )
