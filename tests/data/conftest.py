"""A Common Voice release made of constant clips, for the tests that need one."""

import io
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def make_release() -> Callable[..., Path]:
    """Make a language's folder: `make_release(folder, clips_of_speakers, lang="en", sentences=1000)`."""
    return _make_release


@cache
def _clip(samples: int, form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(samples, 0.1), 48_000 if form == "mp3" else 16_000, format=form)
    return file.getvalue()


def _make_release(folder: Path, clips_of_speakers: list[int], lang: str = "en", sentences: int = 1000) -> Path:
    """Speakers with so many clips each, MP3 and WAV in turn, their sentences out of a pool of that size."""
    rng = np.random.default_rng(3)
    (folder / "clips").mkdir(parents=True)
    lines = ["client_id\tpath\tsentence\tup_votes\tlocale"]
    number = count()
    for speaker, clips in enumerate(clips_of_speakers):
        for _ in range(clips):
            index = next(number)
            name = f"clip_{index:03d}.{'mp3' if index % 2 else 'wav'}"
            (folder / "clips" / name).write_bytes(_clip(1600 * (2 + index % 5), name.partition(".")[2]))
            sentence = f'"Sentence" number {rng.integers(sentences)}{rng.choice(["", ".", "!", "  "])}'
            said = sentence.upper() if rng.random() < 0.5 else sentence
            lines.append(f"speaker{speaker:02d}\t{name}\t{said}\t2\t{lang}")
    (folder / "validated.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder
