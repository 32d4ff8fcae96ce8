"""Recordings that a result file names: found by name and length, whole or as parts; what is missing, broken or another is left out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.manifest import Utterance, write_manifest
from data.recordings import Named, recordings

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two whole recordings, one of them twice by its name, one of two parts, and a broken one."""
    random = np.random.default_rng(0)
    utterances = []
    for name, length_s, offset in (
        ("a/1.wav", 1.0, None),
        ("b/1.wav", 1.5, None),
        ("long.wav", 1.0, 0.0),
        ("long.wav", 1.0, 1.0),
        ("broken.wav", 1.0, None),
    ):
        path = tmp_path / "sets" / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_s = 2.0 if offset is not None else length_s
        if name == "broken.wav":
            path.write_bytes(b"no audio")
        elif not path.exists():
            soundfile.write(path, random.normal(0, 0.1, round(RATE * whole_s)), RATE)
        utterances.append(Utterance(path, "words", length_s, offset=offset))
    write_manifest(tmp_path / "sets" / "set" / "manifest_en.jsonl", utterances)
    return tmp_path / "sets"


@pytest.mark.parametrize(
    ("clip", "file", "begin"),
    [
        (Named("set_en", "en", "a/1.wav", 1.0), "a/1.wav", 0),
        (Named("set_en", "en", "1.wav", 1.5), "b/1.wav", 0),  # as audio outside the manifest's folder is called
        (Named("set_en", "en", "a/1.wav", 1.1), None, 0),  # another recording by that name
        (Named("set_en", "en", "/1.wav", 1.0), None, 0),
        (Named("set_en", "en", "long.wav@0s", 1.0), "long.wav", 0),
        (Named("set_en", "en", "long.wav@1s", 1.0), "long.wav", 1),
        (Named("set_en", "en", "long.wav", 2.0), None, 0),
        (Named("set_en", "en", "broken.wav", 1.0), None, 0),
        (Named("set_en", "en", "none.wav", 1.0), None, 0),
        (Named("other_en", "en", "a/1.wav", 1.0), None, 0),
        (Named("set_de", "de", "a/1.wav", 1.0), None, 0),
    ],
    ids=str,
)
def test_a_clip(clip: Named, file: str | None, begin: int, folder: Path) -> None:
    found = dict(recordings([clip], [folder / "none", folder, folder], RATE))
    if file is None:
        assert found == {}
    else:
        samples, _ = soundfile.read(folder / "set" / file, dtype="float32")
        first = begin * RATE
        assert np.array_equal(found[clip], samples[first : first + round(RATE * clip.audio_s)])


def test_what_is_broken_keeps_nothing_from_the_others(folder: Path) -> None:
    clips = [
        Named("set_en", "en", name, 1.0) for name in ("broken.wav", "long.wav@1s", "none.wav", "long.wav@0s", "a/1.wav")
    ]
    (folder / "set" / "manifest_en.jsonl").open("a").write("{\n")
    assert {clip.audio for clip, _ in recordings(clips, [folder], RATE)} == {"long.wav@0s", "long.wav@1s", "a/1.wav"}
