"""The published checkpoints' ways in: each kind saved by NeMo, exported, compared and heard; small, and as large as it is published."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from export.bundle import write_bundle
from export.checkpoint import RANDOM_BLANK_BIAS, TOLD_BLANK_BIAS, check_choice
from runtime import Recognizer
from runtime.bundle import Bundle
from runtime.errors import InputError
from tests.export.lively import enliven, enliven_kernel, noise
from tests.export.published import PUBLISHED, Published
from tests.export.saved import load, train_tokenizer

pytestmark = pytest.mark.nemo

KINDS = [name for name in PUBLISHED if "medium" not in name and not name.endswith(("480ms", "1040ms"))]
"""Those that differ but for their widths and number of layers."""


def saved(of: Published, folder: Path, tokenizer: Path, *, small: bool) -> tuple[Any, Path]:
    """NeMo's model with seeded weights, and its `.nemo` file."""
    from nemo.collections.asr import models

    torch.manual_seed(0)
    model = getattr(models, of.kind)(cfg=OmegaConf.create(of.config(tokenizer, small=small)))
    file = folder / "saved.nemo"
    if small:
        model.save_to(str(file))
        made = load(file)
        if made.prompts:
            enliven_kernel(made)
            model.prompt_kernel.load_state_dict(made.prompt_kernel.state_dict())
        enliven(made)
        model.joint.load_state_dict(made.joint.state_dict())
    else:
        with torch.no_grad():
            model.joint.joint_net[-1].bias[-1] += TOLD_BLANK_BIAS if of.prompts else RANDOM_BLANK_BIAS
    model.save_to(str(file))
    return model.eval(), file


def nemo_tokens(model: Any, lookahead_frames: int, audio: Any, prompt: int | None) -> list[int]:  # noqa: ANN401
    """What NeMo's own forward and greedy RNN-T give."""
    left = model.encoder.att_context_size[0]
    model.encoder.set_default_att_context_size([left, lookahead_frames])
    told = {} if prompt is None else {"prompt_indices": torch.tensor([prompt])}
    with torch.inference_mode():
        signal, length = torch.from_numpy(audio)[None], torch.tensor([len(audio)])
        encoded, lengths = model(input_signal=signal, input_signal_length=length, **told)
        (found,) = model.decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
    return [int(token) for token in found.y_sequence]


def check(bundle: Bundle, name: str) -> None:
    """Its parity with NeMo, and what it decodes."""
    for precision, parity in bundle.parity.items():
        print(f"{name} {bundle.lookahead_ms} ms {precision}: {parity}")
        assert parity.encoded <= (1e-4 if precision == "fp32" else 3e-2)
        assert parity.rnnt_identical or precision == "fp16"
    assert bundle.decoders == (["rnnt", "ctc"] if "Hybrid" in PUBLISHED[name].kind else ["rnnt"])


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_at_each_look_ahead(name: str, tokenizer: Path, tmp_path: Path) -> None:
    of = PUBLISHED[name]
    model, file = saved(of, tmp_path, tokenizer, small=True)
    checkpoint = load(file)
    assert list(checkpoint.architecture.lookaheads_ms) == of.lookaheads_ms
    audio, emitted = noise(60_000, 1), 0
    for lookahead_ms in of.lookaheads_ms:
        bundle = write_bundle(checkpoint, lookahead_ms, tmp_path / f"{lookahead_ms}")
        check(bundle, name)
        expected = nemo_tokens(model, lookahead_ms // 80, audio, bundle.prompt(None))
        with Recognizer(tmp_path / f"{lookahead_ms}", precision="fp32", backend="onnxruntime-cpu") as recognizer:
            stream = recognizer.stream()
            stream.push(audio)
            assert list(stream.end_utterance().tokens) == expected
        emitted += len(expected)
    print(f"{name}: {emitted} tokens")
    assert emitted > 5 * len(of.lookaheads_ms)
    with pytest.raises(InputError, match="expected a look-ahead that the checkpoint was trained for"):
        check_choice(str(file), 720)


@pytest.mark.soak
@pytest.mark.parametrize("name", PUBLISHED)
def test_each_as_large_as_it_is(name: str, tmp_path: Path) -> None:
    """Up to 15 GB of memory and 5 GB of disk each."""
    of = PUBLISHED[name]
    lookahead_ms = of.lookaheads_ms[0] if len(of.lookaheads_ms) == 1 else 80
    (tmp_path / "tokenizer").mkdir()
    model, file = saved(of, tmp_path, train_tokenizer(tmp_path / "tokenizer", of.pieces), small=False)
    print(
        f"{name}: {sum(each.numel() for each in model.parameters()) / 1e6:.1f} M parameters, {file.stat().st_size / 1e6:.0f} MB"
    )
    del model
    bundle = write_bundle(load(file), lookahead_ms, tmp_path / "bundle")
    check(bundle, name)
    with Recognizer(tmp_path / "bundle", backend="onnxruntime-cpu", precision=bundle.widest) as recognizer:
        stream = recognizer.stream()
        stream.push(noise(60_000, 1))
        print(stream.end_utterance())
