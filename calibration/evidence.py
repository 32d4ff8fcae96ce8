"""What is known of the words that a bundle recognises in calibration speech: their evidence, and which of them are right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from bench.score.words import matches
from calibration.speech import Selection
from data.speech import load_speech
from data.voiced import Speech, find_speech
from export.parity import Recorder
from runtime.audio import Samples
from runtime.backends import StepResult, open_backend
from runtime.bundle import Bundle, Decoding
from runtime.console import progress_console
from runtime.decoders.beam import BeamCtc
from runtime.decoders.decoder import Decoder
from runtime.decoders.greedy import GreedyCtc, GreedyRnnt
from runtime.decoders.ngram import NGram, open_language_model
from runtime.recognizer import Recognizer
from runtime.word_models import Search, WordModel, known_words
from runtime.words import NOTHING, Evidence, Found, Spelled, Word, WordMaker

BACKEND = "onnxruntime-cpu"
NOISE_DB = -10.0
"""Power of the noise over the clip's. Clips may be of the checkpoint's training data, and their sentences in the language model's
text: clean, more of them is right than of other speech."""


@dataclass(frozen=True)
class Weighed(Word):
    """A word with what speaks for it."""

    spelled: Spelled
    evidence: Evidence


class WeighedMaker(WordMaker):
    """Makes words that keep their evidence."""

    def word(self, spelled: Spelled, found: Found = NOTHING, following: int | None = None) -> Weighed:
        """See WordMaker."""
        made = super().word(spelled, found, following)
        return Weighed(**vars(made), spelled=spelled, evidence=self.evidence(spelled, found))


@dataclass(frozen=True)
class Heard:
    """What one search found in a clip."""

    words: tuple[Weighed, ...]
    right: tuple[bool | None, ...]
    """Of each word; None for one without letters."""
    speech: Speech | None
    """Where the clip's speech lies; None for one with noise, and where the detector finds none."""


class Ear:
    """Recognises clips by all searches of a bundle."""

    def __init__(self, folder: Path, bundle: Bundle, lang: str) -> None:
        """Open the bundle. Raises InputError for one that is not whole, of another language or without a voice activity detector."""
        self._folder, self._bundle, self._lang = folder, bundle, lang
        self._ngram: NGram | None = None
        if "ctc" in bundle.decoders:
            self._ngram = open_language_model("default", folder, bundle)
        self._recognizers = [self._opened(decoding) for decoding in bundle.decoders]
        self._detector = self._recognizers[0].new_detector()
        self._make = WeighedMaker(WordModel(), bundle.encoder_frame_ms / 1e3, known=known_words(folder, bundle))

    def _opened(self, decoding: Decoding) -> Recognizer:
        recorder = Recorder(open_backend(self._folder, self._bundle, BACKEND, self._bundle.widest, decoding))
        return Recognizer(self._folder, backend=recorder, lm=None, decoder=decoding, language=self._lang)

    def clips(self, selection: Selection) -> Iterator[Mapping[Search, Heard]]:
        """Yield what each search finds in each clip, first as it is and then with noise. Clips are loaded one at a time."""
        rate = self._bundle.sample_rate
        utterances = track(selection.utterances, "recognising", console=progress_console(), transient=True)
        for number, samples in enumerate(load_speech(utterances, rate)):
            reference = selection.utterances[number].text
            yield self._hear(samples, reference, find_speech(self._detector, samples, rate))
            yield self._hear(with_noise(samples, number), reference, None)

    def _hear(self, samples: Samples, reference: str, speech: Speech | None) -> dict[Search, Heard]:
        heard: dict[Search, Heard] = {}
        for recognizer in self._recognizers:
            steps = _steps(recognizer, samples)
            for search, decoder in self._searches(recognizer.decoder).items():
                words = self._decode(decoder, steps, self._bundle.encoder_frames(len(samples)))
                kinds = [word.kind for word in matches(reference, [word.text for word in words], self._lang)]
                right = tuple(None if kind is None else kind == "equal" for kind in kinds)
                heard[search] = Heard(words, right, speech)
        return heard

    def _searches(self, decoding: Decoding) -> dict[Search, Decoder]:
        vocabulary, blank = self._bundle.vocabulary, self._bundle.blank
        if decoding == "rnnt":
            return {"rnnt": GreedyRnnt(vocabulary, blank, self._make)}
        searches: dict[Search, Decoder] = {"ctc": GreedyCtc(vocabulary, blank, self._make)}
        if self._ngram:
            searches["ctc with language model"] = BeamCtc(vocabulary, blank, self._make, ngram=self._ngram)
        return searches

    def _decode(self, decoder: Decoder, steps: Sequence[StepResult], frames: int) -> tuple[Weighed, ...]:
        for number, step in enumerate(steps):
            decoder.push(step, min(self._bundle.chunk_frames, frames - number * self._bundle.chunk_frames))
        decoder.finish()
        return tuple(word for word in decoder.words if isinstance(word, Weighed))

    def close(self) -> None:
        """Free the backends."""
        for recognizer in self._recognizers:
            recognizer.close()


def _steps(recognizer: Recognizer, samples: Samples) -> list[StepResult]:
    recorder = recognizer.backend
    if not isinstance(recorder, Recorder):
        raise TypeError(f"expected a backend that keeps its steps, found {recorder.name}")
    recorder.steps.clear()
    stream = recognizer.stream(early="off")
    stream.push(samples)
    stream.end_utterance()
    return [*recorder.steps]


def with_noise(samples: Samples, seed: int) -> Samples:
    """Return the samples with pink noise at NOISE_DB of their power, the same for a seed each time."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(samples)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))  # power falls with frequency
    noise = np.fft.irfft(spectrum, len(samples))
    power = np.mean(np.square(samples, dtype=np.float64)) * 10 ** (NOISE_DB / 10)
    noisy: Samples = (samples + noise * np.sqrt(power / np.mean(np.square(noise)))).astype(np.float32)
    return noisy
