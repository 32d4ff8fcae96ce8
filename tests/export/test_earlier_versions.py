"""Checkpoints as earlier versions of NeMo wrote them: what NeMo 3 restores is exported with its weights, what it does not is refused."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from export.bundle import write_bundle
from export.checkpoint import Checkpoint, check_choice, load_checkpoint
from runtime.errors import InputError
from tests.export.saved import configuration, load, with_ctc

pytestmark = pytest.mark.nemo

Change = Callable[[dict[str, Any], dict[str, Any]], object]
"""Of an archive's configuration and of its weights."""


@pytest.fixture(scope="module")
def hybrid(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("hybrid") / "hybrid.nemo"
    EncDecHybridRNNTCTCBPEModel(cfg=OmegaConf.create(with_ctc(configuration(tokenizer)))).save_to(str(file))
    return file


@pytest.fixture(scope="module")
def as_saved(hybrid: Path) -> Checkpoint:
    return load(hybrid)


def rewritten(source: Path, target: Path, change: Change) -> dict[str, Any]:
    """Write the archive anew with another configuration and other weights; return these."""
    with tarfile.open(source) as archive:
        members = {
            member.name: handle.read()
            for member in archive.getmembers()
            if (handle := archive.extractfile(member)) is not None
        }
    config_name, weights_name = (
        next(name for name in members if name.endswith(each)) for each in ("model_config.yaml", "model_weights.ckpt")
    )
    config = yaml.safe_load(members[config_name])
    weights = torch.load(io.BytesIO(members[weights_name]), weights_only=True)
    change(config, weights)
    written = io.BytesIO()
    torch.save(weights, written)
    members |= {config_name: yaml.safe_dump(config).encode(), weights_name: written.getvalue()}
    with tarfile.open(target, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return dict(weights)


def without(part: str, *keys: str) -> Change:
    return lambda config, _: [config[part].pop(key, None) for key in keys]


def with_(part: str, **values: Any) -> Change:
    return lambda config, _: config[part].update(values)


def renamed(before: str, after: str) -> Change:
    def change(_: dict[str, Any], weights: dict[str, Any]) -> None:
        for name in [*weights]:
            weights[name.replace(before, after)] = weights.pop(name)

    return change


def batch_normed(config: dict[str, Any], weights: dict[str, Any]) -> None:
    """NeMo's default, which a configuration may leave out."""
    del config["encoder"]["conv_norm_type"], config["encoder"]["self_attention_model"], config["encoder"]["feat_out"]
    for name in [*weights]:
        if name.endswith("conv.batch_norm.weight"):
            stem, like = name.removesuffix("weight"), weights[name]
            weights |= {
                f"{stem}running_mean": torch.full_like(like, 0.1),
                f"{stem}running_var": torch.full_like(like, 2),
            }
            weights[f"{stem}num_batches_tracked"] = torch.tensor(1)


RESTORED: dict[str, Change] = {
    "of 1.20": lambda config, _: config.update(nemo_version="1.20.0"),
    "without a version": lambda config, _: config.pop("nemo_version"),
    "before use_bias": without("encoder", "use_bias", "untie_biases", "pos_emb_max_len", "ff_expansion_factor"),
    "before frame_splicing": without(
        "preprocessor", "frame_splicing", "n_fft", "window", "sample_rate", "window_stride"
    ),
    "before conv_norm_type": batch_normed,
    "one look-ahead": with_("encoder", att_context_size=[70, 1]),
    "with no probabilities": with_("encoder", att_context_probs=None, reduction=None, reduction_factor=1),
    "interctc": lambda config, _: config.update(interctc={"loss_weights": [], "apply_at_layers": []}),
    "decoding of 1.x": with_("decoding", preserve_alignments=None, beam={"beam_size": 2, "tsd_max_sym_exp": 50}),
    "before blank_as_pad": without("decoder", "blank_as_pad"),
    "no data": lambda config, _: [config.pop(key, None) for key in ("train_ds", "validation_ds", "test_ds")],
}
REFUSED: dict[str, tuple[Change, str]] = {
    "normalize_batch": (with_("preprocessor", normalize_batch=True), "normalize_batch"),
    "keys that are no more": (with_("encoder", use_cache_of_old=True), "use_cache_of_old"),
    "renamed weights": (renamed("self_attn.linear_pos", "self_attn.pos"), "self_attn"),
    "features of each recording": (with_("preprocessor", normalize="per_feature"), "normalize NA"),
    "not causal": (without("encoder", "conv_context_size"), "conv_context_size causal"),
}


@pytest.mark.parametrize("kind", RESTORED)
def test_what_nemo_restores(kind: str, hybrid: Path, as_saved: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "earlier.nemo"
    written = rewritten(hybrid, file, RESTORED[kind])
    check_choice(str(file), 80)
    checkpoint = load(file)
    names = {name for name in checkpoint.weights if name.startswith("encoder.")}
    assert names == {name for name in written if name.startswith("encoder.")}
    for name in names:
        assert np.array_equal(checkpoint.weights[name], written[name].numpy().astype(np.float64)), name
    assert checkpoint.mel.window.shape == (400,)
    assert checkpoint.mel.hop_samples == 160
    if checkpoint.architecture == as_saved.architecture:
        return  # exported as ever
    parity = write_bundle(checkpoint, 80, tmp_path / "bundle").parity["fp32"]
    print(kind, parity)
    assert parity.encoded <= 1e-4
    assert parity.tokens_identical
    assert parity.rnnt_identical


def check_and_load(file: str) -> None:
    check_choice(file, 80)  # in the first second, where the configuration tells
    load_checkpoint(file)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_it_does_not(kind: str, hybrid: Path, tmp_path: Path) -> None:
    change, named = REFUSED[kind]
    file = tmp_path / "earlier.nemo"
    rewritten(hybrid, file, change)
    with pytest.raises(InputError) as error:
        check_and_load(str(file))
    print(error.value)
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("expected ")
    assert "; " in str(error.value)


def test_tdt(tokenizer: Path, tmp_path: Path) -> None:
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    durations = [0, 1, 2, 3, 4]
    config = configuration(tokenizer)
    config["joint"]["num_extra_outputs"] = len(durations)
    config["model_defaults"] |= {"tdt_durations": durations, "num_tdt_durations": len(durations)}
    config["decoding"] |= {"model_type": "tdt", "durations": durations}
    config["loss"] = {"loss_name": "tdt", "tdt_kwargs": {"durations": durations, "sigma": 0.02, "omega": 0.1}}
    EncDecRNNTBPEModel(cfg=OmegaConf.create(config)).save_to(str(tmp_path / "tdt.nemo"))
    with pytest.raises(InputError) as error:
        load_checkpoint(str(tmp_path / "tdt.nemo"))
    assert str(error.value) == (
        "expected a checkpoint of SentencePiece tokens with a CTC head or an RNN-T with an LSTM, found EncDecRNNTBPEModel with TDT's "
        "durations in tdt; choose one such as stt_en_fastconformer_hybrid_large_streaming_multi"
    )
