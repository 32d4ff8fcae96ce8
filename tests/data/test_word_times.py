"""words.jsonl: written and read, what is refused, and the sample's own against the manifest and an alignment by PocketSphinx."""

from pathlib import Path

import numpy as np
import pytest

from bench.score.normalise import normalise
from bench.speech.alignment import align, open_aligner
from data.manifest import read_manifest
from data.word_times import FILE, SpokenClip, SpokenWord, read_word_times, write_word_times
from runtime.audio import SAMPLE_RATE, load_audio
from runtime.errors import InputError

SAMPLE = Path("data/sample")


def test_round_trip(tmp_path: Path) -> None:
    words = [SpokenWord(text="in", start_s=None, end_s=None), SpokenWord(text="größe", start_s=0.25, end_s=0.5)]
    path = tmp_path / FILE
    write_word_times(path, [SpokenClip(audio_filepath="clips/1.mp3", words=words)])
    assert read_word_times(path) == {tmp_path / "clips" / "1.mp3": words}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the words' times: No such file"),
        (b"{", ":1: expected a clip's words, found at the file: Invalid JSON"),
        (
            b'{"audio_filepath": "a", "words": []}\n{"words": []}',
            ":2: expected a clip's words, found at audio_filepath: Field required",
        ),
        (b'{"audio_filepath": "a", "words": [{"text": "a", "start_s": 0.5}]}', "words.0.end_s: Field required"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / FILE
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_word_times(path)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_sample_s_are_its_transcripts_in_order() -> None:
    told = read_word_times(SAMPLE / FILE)
    known = total = 0
    for clip in read_manifest(SAMPLE / "manifest_en.jsonl"):
        words = told[clip.audio]
        assert [word.text for word in words] == normalise(clip.text, "en").split()
        times = [each for word in words if word.start_s is not None for each in (word.start_s, word.end_s)]
        assert all(each is not None for each in times)
        rising = np.array(times, float)
        assert (np.diff(rising) >= 0).all()
        assert rising[0] >= 0.15
        assert rising[-1] <= clip.duration - 0.1
        known, total = known + len(times) // 2, total + len(words)
    print(f"{known} of {total} words")
    assert known > 0.95 * total


def test_the_sample_s_agree_with_an_alignment() -> None:
    """Of synthesisers and of an aligner, whose ideas of a boundary differ: no clip is off as a whole."""
    told, aligner = read_word_times(SAMPLE / FILE), open_aligner("en", SAMPLE_RATE)
    starts, ends, by_clip = list[float](), list[float](), list[float]()
    for clip in read_manifest(SAMPLE / "manifest_en.jsonl"):
        words = told[clip.audio]
        aligned = align(aligner, load_audio(clip.audio), [word.text for word in words])
        if aligned is None:
            continue
        assert [word.text for word in aligned] == [word.text for word in words]
        pairs = [(a, b) for a, b in zip(aligned, words, strict=True) if b.start_s is not None]
        differences = [float(a.start_s) - float(b.start_s) for a, b in pairs]  # type: ignore[arg-type]
        starts += differences
        ends += [float(a.end_s) - float(b.end_s) for a, b in pairs]  # type: ignore[arg-type]
        by_clip.append(float(np.median(differences)))
    print(
        f"{len(by_clip)} clips; starts {np.percentile(np.abs(starts), [50, 95])}, ends {np.percentile(np.abs(ends), [50, 95])}"
    )
    print(f"medians by clip {np.round(sorted(by_clip), 3)}")
    assert len(by_clip) >= 25
    assert np.median(np.abs(starts)) < 0.03
    assert np.median(np.abs(ends)) < 0.03
    assert np.abs(by_clip).max() < 0.05
