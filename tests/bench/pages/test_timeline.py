"""Words on a line of time; waveforms as loud as their samples; sounds as long as their clips."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from bench.pages.sound import BARS, HEIGHT, _source, bars
from bench.pages.timeline import Timeline, timeline
from bench.rows import UtteranceRecord
from runtime.words import Word


def line(*words: Word, reference: str = "a", audio_s: float = 10.0, **more: object) -> Timeline:
    hypothesis = " ".join(word.text for word in words)
    known = {"data": "set_en", "mode": "utterance", "audio": "a.wav", "reference": reference, "audio_s": audio_s}
    record = UtteranceRecord.model_validate(known | {"hypothesis": hypothesis, "words": words} | more)
    return timeline(record, scored=True)


def test_words_at_their_times() -> None:
    found = line(Word("one", 1.0, 1.5, 0.25), Word("two", 9.9, 10.4, 1.0), reference="one to", start_s=None)
    one, two = found.words
    assert (one.left, one.width, one.confidence, one.start_s, one.kind) == (10.0, 5.0, 0.25, 1.0, "equal")
    assert (two.left, two.width, two.start_s, two.kind) == (99.0, 1.0, 9.9, "substitute")
    assert one.said == "one: 1.00 to 1.50 s, 25% sure"
    assert two.said == "two: 9.90 to 10.00 s, 100% sure, wrong: another word was said"


def test_of_a_clip_within_a_stream() -> None:
    words = [Word(text, at_s, at_s + 0.5, 0.5) for text, at_s in (("a", 2.0), ("b", 2.8), ("c", 4.0), ("d", 13.1))]
    found = line(*words, start_s=3.0)
    assert [(word.text, word.start_s) for word in found.words] == [("b", 0.0), ("c", 1.0)]


def test_bars() -> None:
    samples = np.zeros(BARS * 10, np.float32)
    samples[5], samples[-1] = 0.25, -0.5
    heights = [int(height) for height in re.findall(r"-(\d+)V\1", bars(samples))]
    assert (len(heights), heights[0], heights[-1], set(heights[1:-1])) == (BARS, HEIGHT // 2, HEIGHT, {1})
    for count in (1, 7, BARS - 1, BARS + 1, 48_001):
        assert bars(np.full(count, 0.1, np.float32)).count("M") == BARS
        assert set(re.findall(r"V(\d+)", bars(np.zeros(count, np.float32)))) == {"1"}


@pytest.mark.parametrize("samples", [1600, 16_000, 48_123])
def test_a_sound_is_as_long_as_its_clip(samples: int) -> None:
    """Within what a browser shows, and at the place where it was: an encoder's delay would move the words."""
    clip = np.zeros(samples, np.float32)
    clip[samples // 2 : samples // 2 + 160] = np.sin(np.arange(160) / 4)
    kind, _, content = _source(clip).partition(",")
    assert kind == "data:audio/mpeg;base64"
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert (rate, len(heard)) == (16_000, samples)
    assert np.abs(heard).argmax() == pytest.approx(samples // 2 + 80, abs=160)
