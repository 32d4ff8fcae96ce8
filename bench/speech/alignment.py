"""When the words of a reference are spoken: as its data set tells, or by PocketSphinx's forced alignment."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.score.normalise import normalise
from bench.speech.clips import Audio, Clip, DataSet
from data.word_times import FILE, SpokenWord, read_word_times
from runtime.errors import InputError, imported

SAMPLE_RATE = 16_000  # Hz, of PocketSphinx's English model
FRAME_S = 0.01
OF_DATA = f"{FILE} of the data set"
OF_POCKETSPHINX = "PocketSphinx 5, forced alignment with its en-us model and CMU's dictionary"
BEAMS = {"beam": 1e-100, "wbeam": 1e-80, "pbeam": 1e-100}
"""So wide that an alignment is found in noise and with an accent."""
ALTERNATIVE = re.compile(r"\(\d+\)$")
"""Behind a word in the dictionary: another way to say it."""


class SpokenTimes:
    """The words of a data set's clips, and when each is spoken."""

    def __init__(self, data_set: DataSet, sample_rate: int) -> None:
        """Raises InputError for a broken file of times, and where PocketSphinx is needed and missing, or not for this speech."""
        path = data_set.manifest.parent / FILE
        self._lang = data_set.lang
        self._told: dict[str, list[SpokenWord]] | None = None
        self.source = OF_DATA if path.is_file() else OF_POCKETSPHINX
        """Who tells the times."""
        if path.is_file():
            names = {data_set.names[each.audio]: each.audio.resolve() for each in data_set.utterances}
            told = {audio.resolve(): words for audio, words in read_word_times(path).items()}
            self._told = {name: told[audio] for name, audio in names.items() if audio in told}
        else:
            self._aligner = open_aligner(data_set.lang, sample_rate)

    def of(self, clip: Clip) -> list[SpokenWord] | None:
        """Return the words of a clip's normalised reference, in order; None where they are not all told, or not in the dictionary."""
        words = normalise(clip.reference, self._lang).split()
        found = self._told.get(clip.name) if self._told is not None else align(self._aligner, clip.samples, words)
        return found if found and [each.text for each in found] == words else None


def open_aligner(lang: str, sample_rate: int) -> Any:  # noqa: ANN401 -- PocketSphinx's
    """Return PocketSphinx's decoder. Raises InputError for speech that is not for its model, and where it is not installed."""
    if (lang, sample_rate) != ("en", SAMPLE_RATE):
        raise InputError(
            f"expected speech that PocketSphinx aligns, en at {SAMPLE_RATE} Hz, found {lang} at {sample_rate} Hz; put words' times into "
            f"{FILE} beside the manifest"
        )
    remedy = "`build/python -m pip install -c requirements/constraints-cpu.txt pocketsphinx`"
    sphinx = imported("pocketsphinx", "PocketSphinx, which aligns words with speech", remedy)
    folder = Path(sphinx.get_model_path("en-us"))
    model = {"hmm": str(folder / "en-us"), "dict": str(folder / "cmudict-en-us.dict"), "lm": None}
    return sphinx.Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", bestpath=False, **model, **BEAMS)


def align(aligner: Any, samples: Audio, words: Sequence[str]) -> list[SpokenWord] | None:  # noqa: ANN401
    """Align words with speech, float32 [samples] in -1..1 at 16 kHz; None where the dictionary lacks one, or no alignment is found."""
    if any(aligner.lookup_word(word) is None for word in words):
        return None
    try:
        aligner.reinit_feat()  # or the mean that it subtracts is still that of the clips before
        aligner.set_align_text(" ".join(words))
        aligner.start_utt()
        aligner.process_raw((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        aligner.end_utt()
    except RuntimeError:
        return None
    return spoken_words(aligner.seg() or ())


def spoken_words(segments: Any) -> list[SpokenWord]:  # noqa: ANN401
    """Return the words of PocketSphinx's segments, whose `end_frame` is their last one, without silence and noise."""
    spoken = [each for each in segments if each.word[0] not in "<["]
    return [
        SpokenWord(
            text=ALTERNATIVE.sub("", each.word),
            start_s=round(FRAME_S * each.start_frame, 3),
            end_s=round(FRAME_S * (each.end_frame + 1), 3),
        )
        for each in spoken
    ]
