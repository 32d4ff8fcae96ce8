"""Configurations as NeMo's models are made from them, at a small size, and the tokenizer that they name."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.checkpoint import RANDOM_CONFIG, Checkpoint, load_checkpoint

MODULES = "nemo.collections.asr.modules"
WIDTH, HIDDEN = 64, 32
PIECES = 64
"""Few: NeMo's configurations have each piece in three lists, which take most of the time that a small checkpoint takes to load."""


def load(file: Path) -> Checkpoint:
    """Load a file that NeMo has just saved, without the trial in a process of its own: tests/export/test_bombs.py is about that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.checkpoint.tried", lambda load, file: None)  # noqa: ARG005
        return load_checkpoint(str(file))


def train_tokenizer(folder: Path, pieces: int) -> Path:
    """Put a tokenizer of so many pieces, of seeded words, into a folder."""
    import sentencepiece

    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzäöüß"))
    words = ["".join(generator.choice(letters, generator.integers(2, 12))) for _ in range(4 * pieces)]
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "words.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=pieces,
        bos_id=-1,
        eos_id=-1,
        model_type="bpe",
        minloglevel=2,
    )
    listed = (folder / "tokenizer.vocab").read_text(encoding="utf-8").splitlines()
    (folder / "vocab.txt").write_text("\n".join(line.partition("\t")[0] for line in listed[1:]), encoding="utf-8")
    return folder


def configuration(tokenizer: Path) -> dict[str, Any]:
    """Of a transducer: one layer of the published architecture."""
    config: dict[str, Any] = copy.deepcopy(RANDOM_CONFIG)
    config["preprocessor"]["_target_"] = f"{MODULES}.AudioToMelSpectrogramPreprocessor"
    config["encoder"] |= {"n_layers": 1, "d_model": WIDTH, "n_heads": 4, "subsampling_conv_channels": 16}
    network = {"pred_hidden": HIDDEN, "pred_rnn_layers": 1, "dropout": 0.0}
    joint = {"joint_hidden": HIDDEN, "activation": "relu", "dropout": 0.0}
    return config | {
        "sample_rate": 16000,
        "labels": [],
        "model_defaults": {"enc_hidden": WIDTH, "pred_hidden": HIDDEN, "joint_hidden": HIDDEN},
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "decoder": {"_target_": f"{MODULES}.RNNTDecoder", "blank_as_pad": True, "prednet": network},
        "joint": {"_target_": f"{MODULES}.RNNTJoint", "jointnet": joint},
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
        "train_ds": None,
        "validation_ds": None,
    }


def with_ctc(config: dict[str, Any]) -> dict[str, Any]:
    """Of a hybrid: the same transducer, with the auxiliary CTC head."""
    head = {
        "_target_": f"{MODULES}.ConvASRDecoder",
        "feat_in": config["encoder"]["d_model"],
        "num_classes": -1,
        "vocabulary": [],
    }
    auxiliary = {
        "ctc_loss_weight": 0.3,
        "use_cer": False,
        "ctc_reduction": "mean_batch",
        "decoder": head,
        "decoding": {"strategy": "greedy"},
    }
    return config | {"aux_ctc": auxiliary}
