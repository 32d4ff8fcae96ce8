"""The committed sample is what its README says."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.manifest import Utterance, find_manifests, read_manifest
from runtime.audio import load_audio

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample"
UTTERANCES = read_manifest(SAMPLE / "manifest_en.jsonl")


def test_it_is_found_small_and_two_to_three_minutes_long() -> None:
    assert list(find_manifests(SAMPLE, "en")) == ["sample"]
    files = [SAMPLE / "README.md", SAMPLE / "manifest_en.jsonl", *(SAMPLE / "clips").iterdir()]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    assert 120 <= sum(utterance.duration for utterance in UTTERANCES) <= 180
    assert len({utterance.speaker for utterance in UTTERANCES}) == 9
    assert {utterance.audio for utterance in UTTERANCES} == set((SAMPLE / "clips").iterdir())


@pytest.mark.parametrize("utterance", UTTERANCES, ids=lambda utterance: utterance.audio.stem)
def test_clip(utterance: Utterance) -> None:
    info = soundfile.info(utterance.audio)
    assert (info.samplerate, info.channels) == (16_000, 1)
    samples = load_audio(utterance.audio)
    assert samples.size / 16_000 == pytest.approx(utterance.duration, abs=1e-3)
    assert 2 <= utterance.duration <= 10.5
    assert not any(character.isdigit() for character in utterance.text)
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    silences = loud[0] / 16_000, (samples.size - loud[-1]) / 16_000
    loudness = 20 * np.log10(np.sqrt(np.mean(samples[loud[0] : loud[-1]] ** 2)))
    print(f"{utterance.audio.name}: silence {silences[0]:.2f} s, {silences[1]:.2f} s, loudness {loudness:.1f} dB")
    assert all(0.15 <= seconds <= 0.6 for seconds in silences)
    assert -25 < loudness < -21
