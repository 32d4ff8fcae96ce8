"""RNN-T greedy decoding through the runtime against NeMo's own over whole utterances: small random hybrids, every token."""

import copy
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.architecture import read_transducer
from export.bundle import write_bundle
from export.checkpoint import RANDOM_CONFIG, Checkpoint, random_checkpoint
from export.parity import evaluated_rnnt, nemo_greedy_rnnt, nemo_offline
from runtime import InputError, Recognizer
from runtime.bundle import read_bundle
from runtime.entries import MAX_SYMBOLS
from tests.export.lively import enliven, noise

pytestmark = pytest.mark.nemo

SMALL = {"n_layers": 2, "d_model": 64, "n_heads": 4, "subsampling_conv_channels": 16}
VOCABULARY = 20


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], float | None]] = {
    "as published": ({}, {}, None),
    "two layers, tanh, dropout": ({"pred_rnn_layers": 2}, {"activation": "tanh", "dropout": 0.2}, None),
    "three layers, sigmoid": ({"pred_rnn_layers": 3}, {"activation": "sigmoid"}, None),
    "as many tokens as may be": ({}, {}, -100.0),
    "blanks alone": ({}, {}, 100.0),
}
"""Of a transducer: changes to the prediction network's configuration and to the joint's, and the bias of the blank, see `enliven`."""


@cache
def hybrid(kind: str) -> Checkpoint:
    """Two Conformer layers and a transducer that emits tokens."""
    network, joint, blank_bias = KINDS[kind]
    config = copy.deepcopy(RANDOM_CONFIG)
    config["encoder"] |= SMALL
    config["decoder"]["prednet"] |= {"pred_hidden": 48} | network
    config["joint"]["jointnet"] |= {"joint_hidden": 32} | joint
    made = random_checkpoint("hybrid", "0" * 64, config, VOCABULARY)
    enliven(made, blank_bias)
    return made


# Two frames a chunk each; of the published kind one and seven, too.
@pytest.mark.parametrize(
    ("kind", "lookahead_ms"), [*((kind, 80) for kind in KINDS), ("as published", 0), ("as published", 480)]
)
def test_tokens_are_nemo_s(kind: str, lookahead_ms: int, tmp_path: Path) -> None:
    checkpoint, blank_bias = hybrid(kind), KINDS[kind][2]
    bundle = write_bundle(checkpoint, lookahead_ms, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle") == bundle
    assert bundle.decoders == ["rnnt", "ctc"]
    assert bundle.parity["fp32"].rnnt_identical
    emitted, frames, difference = 0, 0, 0.0
    kinds: set[int] = set()
    generator = np.random.default_rng(7)
    with Recognizer(tmp_path / "bundle", precision="fp32", backend="onnxruntime-cpu") as recognizer:
        stream = recognizer.stream()
        # From none to 40 chunks and more, one utterance after the other on one stream.
        for samples in [0, 1, 1_481, 2_960, 16_000, 48_000, 80_485, 40 * bundle.chunk_samples + 777]:
            audio = noise(samples, samples)
            pushed = int(generator.integers(100, 5_000))
            for start in range(0, samples, pushed):
                stream.push(audio[start : start + pushed])
            final = stream.end_utterance()
            if samples == 0:
                assert final.tokens == ()
                continue
            encoded = nemo_offline(checkpoint, lookahead_ms // 80, audio).encoded
            expected = nemo_greedy_rnnt(checkpoint, encoded)
            assert final.tokens == expected.tokens, samples
            found = evaluated_rnnt(tmp_path / "bundle", "fp32", encoded)
            assert found.tokens == expected.tokens
            difference = max(difference, float(np.abs(found.log_probs - expected.log_probs).max(initial=0)))
            emitted, frames, kinds = emitted + len(final.tokens), frames + len(encoded), kinds | set(final.tokens)
    print(
        f"{emitted} tokens, {len(kinds)} different ones, in {frames} frames; log-probabilities within {difference:.1e}"
    )
    assert difference < 1e-4
    if blank_bias is None:
        assert 0.1 * frames < emitted < 3 * frames, "no mix of blanks and tokens"
        assert len(kinds) > VOCABULARY // 4
    else:
        assert emitted == (MAX_SYMBOLS * frames if blank_bias < 0 else 0)


def test_fp16_and_what_is_not_of_the_bundle(tmp_path: Path) -> None:
    checkpoint = hybrid("as published")
    folder = tmp_path / "bundle"
    parity = write_bundle(checkpoint, 80, folder).parity["fp16"]
    assert parity.rnnt_tokens
    encoded = nemo_offline(checkpoint, 1, noise(160_000, 3)).encoded
    found, expected = evaluated_rnnt(folder, "fp16", encoded), nemo_greedy_rnnt(checkpoint, encoded)
    alike = SequenceMatcher(None, found.tokens, expected.tokens, autojunk=False).ratio()
    print(f"FP16: {100 * alike:.1f} % of {len(expected.tokens)} tokens as in FP32")
    assert alike > 0.8  # with random weights a token that rounding decides changes those behind it
    events = {}
    for decoder in ("ctc", "rnnt"):
        with Recognizer(folder, precision="fp32", backend="onnxruntime-cpu", decoder=decoder) as recognizer:
            stream = recognizer.stream()
            partials = stream.push(noise(48_000, 1))
            events[decoder] = (partials, stream.end_utterance())
            assert partials
    assert events["ctc"] != events["rnnt"]
    with pytest.raises(InputError, match=r"expected a decoder of the bundle \(rnnt, ctc\), found beam"):
        Recognizer(folder, precision="fp32", backend="onnxruntime-cpu", decoder="beam")
    (folder / "rnnt.fp32.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"rnnt\.fp32\.onnx with sha256"):
        Recognizer(folder, precision="fp32", backend="onnxruntime-cpu")
    Recognizer(folder, precision="fp32", backend="onnxruntime-cpu", decoder="ctc").close()  # which needs no transducer


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("decoder", {"_target_": "nemo.collections.asr.modules.StatelessTransducerDecoder"}),
        ("decoder", {"normalization_mode": "layer"}),
        ("decoder", {"prednet": {"pred_hidden": 64, "pred_rnn_layers": 1, "rnn_hidden_size": 128}}),
        ("joint", {"num_extra_outputs": 5}),  # TDT's durations
        ("joint", {"_target_": "nemo.collections.asr.modules.HATJoint"}),
        ("decoder", {"_target_": "nemo.collections.asr.modules.ConvASRDecoder"}),
    ],
)
def test_another_transducer_is_none(part: str, changes: dict[str, Any]) -> None:
    config = copy.deepcopy(RANDOM_CONFIG)
    assert read_transducer(config) is not None
    config[part] |= changes
    assert read_transducer(config) is None


def test_ctc_bundle_has_no_rnnt(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"expected a decoder of the bundle \(ctc\), found rnnt; choose one"):
        Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", decoder="rnnt")
