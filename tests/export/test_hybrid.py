"""Hybrid and transducer checkpoints, the kinds that are published, saved by NeMo itself at a small size."""

import copy
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from export.bundle import write_bundle
from export.checkpoint import EMBEDDED, RANDOM_CONFIG, load_checkpoint
from export.parity import evaluated_rnnt
from runtime.errors import InputError

WIDTH, HIDDEN = 64, 32
BLANK_BIAS = 1.0  # so that the transducer emits blanks and tokens


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded checkpoint's tokenizer, as NeMo's configurations name one."""
    folder = tmp_path_factory.mktemp("tokenizer")
    with tarfile.open(EMBEDDED) as archive:
        for member in archive.getmembers():
            for ending in ("tokenizer.model", "vocab.txt"):
                if member.name.endswith(ending):
                    content = archive.extractfile(member)
                    assert content is not None
                    (folder / ending).write_bytes(content.read())
    return folder


def configuration(tokenizer: Path) -> dict[str, Any]:
    config: dict[str, Any] = copy.deepcopy(RANDOM_CONFIG)
    modules = "nemo.collections.asr.modules"
    config["preprocessor"]["_target_"] = f"{modules}.AudioToMelSpectrogramPreprocessor"
    config["encoder"] |= {"n_layers": 1, "d_model": WIDTH, "n_heads": 4, "subsampling_conv_channels": 16}
    network = {"pred_hidden": HIDDEN, "pred_rnn_layers": 1, "dropout": 0.0}
    joint = {"joint_hidden": HIDDEN, "activation": "relu", "dropout": 0.0}
    return config | {
        "sample_rate": 16000,
        "labels": [],
        "model_defaults": {"enc_hidden": WIDTH, "pred_hidden": HIDDEN, "joint_hidden": HIDDEN},
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "decoder": {"_target_": f"{modules}.RNNTDecoder", "blank_as_pad": True, "prednet": network},
        "joint": {"_target_": f"{modules}.RNNTJoint", "jointnet": joint},
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
        "train_ds": None,
        "validation_ds": None,
    }


def test_hybrid_gives_its_ctc_head_and_its_transducer(tokenizer: Path, tmp_path: Path) -> None:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel

    decoder = {
        "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
        "feat_in": WIDTH,
        "num_classes": -1,
        "vocabulary": [],
    }
    auxiliary = {
        "ctc_loss_weight": 0.3,
        "use_cer": False,
        "ctc_reduction": "mean_batch",
        "decoder": decoder,
        "decoding": {"strategy": "greedy"},
    }
    torch.manual_seed(0)
    model = EncDecHybridRNNTCTCBPEModel(cfg=OmegaConf.create(configuration(tokenizer) | {"aux_ctc": auxiliary}))
    with torch.no_grad():
        model.joint.enc.weight.mul_(4)
        model.joint.joint_net[-1].bias[-1] += BLANK_BIAS
    model.save_to(str(tmp_path / "hybrid.nemo"))

    checkpoint = load_checkpoint(str(tmp_path / "hybrid.nemo"))
    head = model.ctc_decoder.state_dict()["decoder_layers.0.weight"].numpy()
    assert np.array_equal(checkpoint.weights["ctc.decoder_layers.0.weight"], head)
    assert len(checkpoint.vocabulary) == checkpoint.architecture.vocabulary == 256
    bundle = write_bundle(checkpoint, 80, tmp_path / "bundle")
    print(f"encoded frames within {bundle.parity['fp32'].encoded:.1e}")
    assert bundle.parity["fp32"].encoded <= 1e-4

    assert bundle.decoders == ["rnnt", "ctc"]
    frames = torch.randn(1, WIDTH, 60, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.inference_mode():
        (expected,) = model.decoding.rnnt_decoder_predictions_tensor(frames, torch.tensor([60]), return_hypotheses=True)
    found = evaluated_rnnt(tmp_path / "bundle", "fp32", frames[0].T.numpy())
    print(f"{len(found)} tokens, {len(set(found))} of them different")
    assert found == tuple(expected.y_sequence.tolist())
    assert 30 < len(found) < 600


def test_a_transducer_alone_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    EncDecRNNTBPEModel(cfg=OmegaConf.create(configuration(tokenizer))).save_to(str(tmp_path / "transducer.nemo"))
    with pytest.raises(InputError, match="with a CTC head") as error:
        load_checkpoint(str(tmp_path / "transducer.nemo"))
    assert "\n" not in str(error.value)
