"""Marks of speech: the rule on given probabilities, the detector on real silence and the committed sample."""

from pathlib import Path

import numpy as np
import pytest

from data.manifest import read_manifest
from data.voiced import Speech, find_speech, marks
from export.companions import silero_file
from runtime.audio import load_audio
from runtime.vad import Vad

RATE = 16_000
WINDOW_S = 0.032


@pytest.fixture
def detector() -> Vad:
    return Vad(silero_file())


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0, 0, 0.5, 0.9, 0.9, 0.1, 0], (2, 5)),
        ([0.9, 0.9, 0.9], (0, 3)),
        ([0, 0.9, 0, 0.9, 0.9, 0.9, 0.9, 0], (3, 7)),  # a click is no onset
        ([0, 0.6, 0.6, 0.6, 0, 0, 0.7, 0.7, 0.7, 0, 0.9, 0.9], (1, 9)),
        ([0.49, 0.49, 0.49, 0.49], None),
        ([0.9, 0.9], None),
        ([], None),
    ],
)
def test_marks(probabilities: list[float], expected: tuple[int, int] | None) -> None:
    found = marks(np.array(probabilities), WINDOW_S, audio_s=100.0)
    assert found == (None if expected is None else Speech(expected[0] * WINDOW_S, expected[1] * WINDOW_S))


def test_speech_ends_with_the_clip_at_the_latest() -> None:
    assert marks(np.ones(4), WINDOW_S, audio_s=0.1) == Speech(0.0, 0.1)


def test_silence_before_a_clip_moves_its_onset(detector: Vad) -> None:
    samples = load_audio(read_manifest(Path("data/sample/manifest_en.jsonl"))[0].audio)
    plain = find_speech(detector, samples, RATE)
    later = find_speech(detector, np.concatenate([np.zeros(RATE, np.float32), samples]), RATE)
    assert plain is not None
    assert later is not None
    print(f"onset {plain.onset_s:.3f} s, after one second of silence {later.onset_s:.3f} s")
    assert later.onset_s - plain.onset_s == pytest.approx(1.0, abs=2 * WINDOW_S)
    assert 0 <= plain.onset_s < plain.end_s <= len(samples) / RATE


def test_silence_has_no_speech(detector: Vad) -> None:
    assert find_speech(detector, np.zeros(RATE, np.float32), RATE) is None


def test_another_rate_is_refused(detector: Vad) -> None:
    with pytest.raises(ValueError, match=r"16000 Hz, not 8000"):
        find_speech(detector, np.zeros(8000, np.float32), 8000)
