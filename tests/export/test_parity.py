"""The streaming step against NeMo's offline forward under the same mask, through the runtime's own Stream."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.checkpoint import Checkpoint
from export.parity import Recorder, Reference, compare, nemo_offline, stream_frames
from runtime import Recognizer
from runtime.backends import open_backend
from runtime.bundle import read_bundle

pytestmark = pytest.mark.nemo

ENCODED, LOG_PROBS_FP16 = 1e-4, 0.05
TIE = 0.005  # best two log-probabilities this close: rounding in FP16 decides


def recorded(folder: Path, precision: str) -> tuple[Recognizer, Recorder]:
    recorder = Recorder(open_backend(folder, read_bundle(folder), "onnxruntime-cpu", precision))
    return Recognizer(folder, backend=recorder, lm=None), recorder


def noise(samples: int, seed: int) -> np.ndarray:
    """Gaussian noise whose loudness comes and goes."""
    loudness = 0.1 * np.sin(np.arange(samples) * (2 * np.pi / 20_000)) ** 2
    audio: np.ndarray = (np.random.default_rng(seed).standard_normal(samples) * loudness).astype(np.float32)
    return audio


LENGTHS = [1, 159, 160, 1279, 1280, 1481, 2960, 16_000, 48_000, 120_037]
"""Samples: none of a mel frame, one, around a frame's and a chunk's edges, seconds, more than the left context."""


@pytest.mark.parametrize("lookahead_ms", [0, 80, 480, 1040])
def test_every_frame_from_the_first_to_the_flushed_last(
    lookahead_ms: int, checkpoint: Checkpoint, bundle_at: Callable[[int], Path]
) -> None:
    recognizer, recorder = recorded(bundle_at(lookahead_ms), "fp32")
    generator = np.random.default_rng(lookahead_ms)
    worst = 0.0
    for samples in [*LENGTHS, *generator.integers(2_000, 100_000, 3)]:
        audio = noise(int(samples), int(samples))
        reference = nemo_offline(checkpoint, lookahead_ms // 80, audio)
        found = stream_frames(recognizer, recorder, audio, int(generator.integers(1, 5_000)))
        parity = compare(reference, found)
        worst = max(worst, parity.encoded)
        assert len(found.encoded) == len(reference.encoded), samples
        assert parity.encoded <= ENCODED, samples
        assert parity.tokens_identical, samples
    print(f"look-ahead {lookahead_ms} ms: encoded frames within {worst:.1e}")


def test_hundreds_of_steps(checkpoint: Checkpoint, bundle: Path) -> None:
    recognizer, recorder = recorded(bundle, "fp32")
    audio = noise(300 * recognizer.bundle.chunk_samples + 777, 1)
    found = stream_frames(recognizer, recorder, audio, 320)
    parity = compare(nemo_offline(checkpoint, 1, audio), found)
    print(
        f"{parity.frames} frames: encoded within {parity.encoded:.1e}, log-probabilities within {parity.log_probs:.1e}"
    )
    assert parity.frames >= 600
    assert parity.encoded <= ENCODED
    assert parity.tokens_identical


def test_sample_speech(checkpoint: Checkpoint, streamed: list[Reference], sample: list[tuple[str, np.ndarray]]) -> None:
    worst = 0.0
    for (text, audio), found in zip(sample, streamed, strict=True):
        parity = compare(nemo_offline(checkpoint, 1, audio), found)
        worst = max(worst, parity.encoded)
        assert parity.tokens_identical, text
    print(f"sample: encoded frames within {worst:.1e}")
    assert worst <= ENCODED


def test_fp16_differs_from_fp32_by_rounding(
    bundle: Path, streamed: list[Reference], sample: list[tuple[str, np.ndarray]]
) -> None:
    """Best tokens are the same wherever FP32 itself is decided: its best two further apart than rounding moves them."""
    fp16 = recorded(bundle, "fp16")
    clips = list(zip(streamed, sample, strict=True))[::2]
    pairs = [(each, stream_frames(*fp16, audio, 320)) for each, (_, audio) in clips]
    full, half = (np.concatenate([each.log_probs for each in column]) for column in zip(*pairs, strict=True))
    difference = np.abs(full - half).max(-1)  # [frames]
    second, best = np.sort(full)[:, -2:].T
    decided = best - second > TIE
    print(
        f"FP16 against FP32 over {len(full)} frames: root mean square {np.sqrt(((full - half) ** 2).mean()):.1e}, 99.5 % of frames "
        f"within {np.quantile(difference, 0.995):.1e}, all within {difference.max():.1e}; {(~decided).sum()} frames undecided, best token "
        f"another in {(full.argmax(-1) != half.argmax(-1)).sum()}"
    )
    assert difference.max() <= LOG_PROBS_FP16
    assert (full.argmax(-1) == half.argmax(-1))[decided].all()
    assert (~decided).sum() <= 2


@pytest.mark.parametrize("samples", [*range(0, 6_000, 37), 100_000])
def test_encoder_frames_as_nemo_counts_them(samples: int, bundle: Path) -> None:
    import torch
    from nemo.collections.asr.parts.submodules.subsampling import calc_length

    mel_frames = torch.tensor([samples // 160])
    expected = int(calc_length(mel_frames, all_paddings=3, kernel_size=3, stride=2, ceil_mode=False, repeat_num=3)[0])
    assert read_bundle(bundle).encoder_frames(samples) == (expected if samples else 0)
