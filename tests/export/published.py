"""The cache-aware streaming checkpoints that NVIDIA publishes: NeMo's class and configuration of each, as far as their cards say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.checkpoint import RANDOMS
from tests.export.saved import configuration, with_ctc

MULTI = [[70, 13], [70, 6], [70, 1], [70, 0]]
SMALL = {"n_layers": 2, "d_model": 64, "n_heads": 4, "subsampling_conv_channels": 16}
TOLD, TOLD_PIECES = RANDOMS["multilingual-random"]


@dataclass(frozen=True)
class Published:
    """A checkpoint's kind and sizes."""

    kind: str
    """NeMo's class."""
    encoder: Mapping[str, Any]
    """What differs from hybrid large's encoder."""
    mel: int = 80
    lstm_layers: int = 1
    pieces: int = 1024
    prompts: Mapping[str, int] = field(default_factory=dict)

    @property
    def lookaheads_ms(self) -> list[int]:
        contexts = self.encoder["att_context_size"]
        return sorted(80 * right for _, right in (contexts if isinstance(contexts[0], list) else [contexts]))

    def config(self, tokenizer: Path, *, small: bool) -> dict[str, Any]:
        """NeMo's configuration of the model, or with `small` of one that differs in its widths and number of layers alone."""
        config = configuration(tokenizer)
        hidden = 32 if small else 640
        full = RANDOMS["large-random"][0]["encoder"] | self.encoder
        config["encoder"] = full | SMALL if small else full
        config["encoder"]["feat_in"] = config["preprocessor"]["features"] = self.mel
        config["decoder"]["prednet"] = {"pred_hidden": hidden, "pred_rnn_layers": self.lstm_layers, "dropout": 0.2}
        config["joint"]["jointnet"] = {"joint_hidden": hidden, "activation": "relu", "dropout": 0.2}
        config["model_defaults"] = {"pred_hidden": hidden, "joint_hidden": hidden}
        config["model_defaults"]["enc_hidden"] = config["encoder"]["d_model"]
        if self.prompts:
            told = {"initialize_prompt_feature": True, "num_prompts": 128, "prompt_dictionary": dict(self.prompts)}
            config["model_defaults"] |= told
        return with_ctc(config) if "Hybrid" in self.kind else config


HYBRID = "EncDecHybridRNNTCTCBPEModel"
MEDIUM = {"n_layers": 16, "d_model": 256, "n_heads": 4}
LARGE_06 = {"n_layers": 24, "d_model": 1024, "use_bias": False, "xscaling": False}
PUBLISHED = {
    "stt_en_fastconformer_hybrid_large_streaming_multi": Published(HYBRID, {"att_context_size": MULTI}),
    "stt_en_fastconformer_hybrid_large_streaming_80ms": Published(HYBRID, {"att_context_size": [70, 1]}),
    "stt_en_fastconformer_hybrid_large_streaming_480ms": Published(HYBRID, {"att_context_size": [70, 6]}),
    "stt_en_fastconformer_hybrid_large_streaming_1040ms": Published(HYBRID, {"att_context_size": [70, 13]}),
    "stt_en_fastconformer_hybrid_medium_streaming_80ms": Published(HYBRID, {**MEDIUM, "att_context_size": [70, 1]}),
    "hybrid medium, as multi": Published(HYBRID, {**MEDIUM, "att_context_size": MULTI}),
    "nemotron-speech-streaming-en-0.6b": Published(
        "EncDecRNNTBPEModel", {**LARGE_06, "att_context_size": MULTI}, mel=128, lstm_layers=2
    ),
    "nemotron-3.5-asr-streaming-0.6b": Published(
        "EncDecRNNTBPEModelWithPrompt",
        {**LARGE_06, "att_context_size": TOLD["encoder"]["att_context_size"]},
        mel=128,
        lstm_layers=2,
        pieces=TOLD_PIECES,
        prompts=TOLD["model_defaults"]["prompt_dictionary"],
    ),
}
"""What the cards leave open is NeMo's example configuration of that size; of the last one see export.checkpoint.RANDOMS."""
