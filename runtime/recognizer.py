"""Recognizer and Stream: push audio, get partials; end the utterance, get the final."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from typing_extensions import Self

from .audio import Pcm, Samples, checked
from .backends import Backend, open_backend
from .bundle import Bundle, Decoding, checked_file, read_bundle
from .decoders.beam import BeamCtc
from .decoders.decoder import Decoder
from .decoders.greedy import GreedyCtc, GreedyRnnt
from .decoders.ngram import LmChoice, language_model_file, open_language_model
from .endpoint import EndedBy, Endpointer, EndpointRules
from .errors import ClosedError, InputError
from .events import Event, Final, Partial
from .files import check_spelling
from .processes import OfOneProcess
from .vad import SAMPLE_RATE, WINDOW_SAMPLES, Vad

ALL_VALID = 1 << 30  # mel frames: the end of the audio is not known yet


class Recognizer(OfOneProcess):
    """A bundle opened on a backend; makes any number of streams. A context manager: leaving it frees the backend.

    It belongs to the process that opened it, and so do its streams: a process forked from that one opens a recogniser of its own.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        precision: str | None = None,
        backend: str | Backend | None = None,
        lm: LmChoice = "default",
        decoder: str | None = None,
    ) -> None:
        """Open the bundle in the folder `bundle`.

        `backend` is a name, an open backend, or None for this machine's best; `precision` None is the named backend's usual one, and
        an open backend has its own. `lm` is a KenLM file with its word list beside it, "default" for the one that the bundle carries,
        if any, or None or "none" for none; it goes with CTC. `decoder` is ctc, rnnt or None for the bundle's best (CTC where `lm` is a
        file); an open backend's is ctc unless named, or where there is no CTC head.

        Raises InputError for a bundle that is missing, broken or not for this backend, and for a language model that is so.
        """
        super().__init__()
        folder = Path(bundle)
        check_spelling(folder)
        self.bundle = read_bundle(folder)
        self._folder = folder.absolute()  # the working folder may change
        self._detector: Path | None = None
        name, opened = (backend, None) if isinstance(backend, str) else (None, backend)
        self.decoder = choose_decoder(self.bundle, decoder, lm, best=opened is None)
        self.ngram = None if self.decoder == "rnnt" else open_language_model(lm, folder, self.bundle)
        self.backend = opened or open_backend(folder, self.bundle, name, precision, self.decoder)
        self._opening = threading.Lock()  # no stream is made while the streams are closed
        self._closed = False
        self._streams: WeakSet[Stream] = WeakSet()

    def stream(self, endpoints: EndpointRules | None = None) -> "Stream":
        """A new stream at an utterance's start. With rules it ends utterances itself, without only `end_utterance` does.

        Raises InputError where rules are given for a bundle without a voice activity detector; ClosedError after `close`.
        """
        self._check_process()
        with self._opening:
            if self._closed:
                raise ClosedError("expected an open recogniser, found a closed one; open it again")
            stream = self._new_stream(endpoints)
            self._streams.add(stream)
        return stream

    def _new_stream(self, endpoints: EndpointRules | None) -> "Stream":
        return Stream(self, endpoints)

    def new_decoder(self) -> Decoder:
        """A decoder at an utterance's start."""
        if self.decoder == "rnnt":
            return GreedyRnnt(self.bundle.vocabulary, self.bundle.blank)
        if self.ngram:
            return BeamCtc(self.bundle.vocabulary, self.bundle.blank, self.ngram)
        return GreedyCtc(self.bundle.vocabulary, self.bundle.blank)

    def new_detector(self) -> Vad:
        """A voice activity detector at a stream's start. Raises InputError for a bundle that has none, or is at another rate."""
        if self.bundle.voice_activity is None:
            raise InputError(
                f"expected voice activity in the bundle {self._folder} for endpoints and barge-in, found none; install silero-vad and make "
                f"the bundle again with `make export`"
            )
        if self.bundle.sample_rate != SAMPLE_RATE:
            raise InputError(
                f"expected a bundle at {SAMPLE_RATE} Hz for endpoints and barge-in, found one at {self.bundle.sample_rate} Hz; end its "
                f"utterances yourself"
            )
        self._detector = self._detector or checked_file(self._folder, self.bundle.voice_activity)
        return Vad(self._detector)

    def close(self) -> None:
        """Close the streams, each after the step that it is in, and free the backend; safe to call twice. In a fork nothing happens."""
        if self._forked:
            return
        with self._opening:
            self._closed = True
            for stream in list(self._streams):
                stream.close()
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream(OfOneProcess):
    """One speaker's audio. `push` frames of any length, `end_utterance` at the end of an utterance; then the next one may begin.

    Steps run as soon as their window is full: the first after `first_step_samples`, then every `chunk_samples`. Between steps only
    the samples that the next window overlaps are kept.

    With endpoint rules `push` returns finals too. The audio after an endpoint belongs to the next utterance, which begins as in a new
    stream; the lengths of the finals add up to the audio. Decisions depend on the audio alone, not on how it was cut into frames.

    Any method may be called from any thread: one at a time has its turn, a step and its decoding are never parted. `reset` and `close`
    cut a longer `push` short after the step that it is in. After a step that failed the utterance is lost: the next
    call begins a new one.
    """

    def __init__(self, recognizer: Recognizer, endpoints: EndpointRules | None = None) -> None:
        super().__init__()
        self._bundle = recognizer.bundle
        self._backend = recognizer.backend
        self._new_decoder = recognizer.new_decoder
        self.new_detector = recognizer.new_detector
        self._vad = None if endpoints is None else self.new_detector()
        self._endpointer = Endpointer(endpoints or EndpointRules())
        self._one_at_a_time = threading.Lock()
        self._cancelled = self._closed = False
        self._state: Any = None
        self._start()

    def reset(self) -> None:
        """Forget the utterance: equal to a new stream. A push in progress in another thread returns nothing.

        Raises ClosedError after `close`.
        """
        self._cancelled = True  # before it is our turn: what is in progress stops, and whoever is next starts anew
        with self._turn():
            pass

    def close(self) -> None:
        """Give the state back, after the step in progress; every later call raises ClosedError, and so does a push in progress.

        In a fork nothing happens.
        """
        if self._forked:
            return
        self._closed = True
        with self._one_at_a_time:
            self._state = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._check_process()
        with self._one_at_a_time:
            self._check_open()
            try:
                if self._cancelled:
                    self._cancelled = False
                    self._start()
                yield
            except BaseException:
                self._cancelled = True
                raise
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("expected an open stream, found a closed one; make another")

    @property
    def _interrupted(self) -> bool:
        return self._cancelled or self._closed

    def _start(self) -> None:
        bundle = self._bundle
        self._decoder = self._new_decoder()
        self._state = None  # given back before the next is asked for: a backend may reuse it
        self._state = self._backend.new_state()
        self._steps = 0
        self._received = 0
        # Before the first sample lies silence: that part of the first window is zero.
        self._audio: Samples = np.zeros(bundle.window_samples - bundle.first_step_samples, np.float32)
        self._endpointer.reset()
        if self._vad:
            self._vad.reset()

    def push(self, samples: Samples | Pcm) -> list[Event]:
        """Take mono samples [n] at the bundle's rate, FP32 in -1..1 or INT16; return a partial per step that changed the text.

        With endpoint rules also a final per utterance that ended, flushed at once, `audio_s` counted from each one's start.

        Raises InputError, and changes nothing, for another type or shape and for samples that are not finite; ClosedError after `close`.
        """
        heard = checked(samples)
        with self._turn():
            bundle, events = self._bundle, list[Event]()
            while len(heard) and not self._interrupted:
                # With endpoints a decision falls on a window's last sample.
                piece = heard[: WINDOW_SAMPLES - self._received % WINDOW_SAMPLES] if self._vad else heard
                heard = heard[len(piece) :]
                events += self._hear(piece)
                for probability in self._vad.push(piece) if self._vad else ():
                    blank_samples = self._decoder.blank_frames * bundle.chunk_samples // bundle.chunk_frames
                    tokenless = self._received - self._steps * bundle.chunk_samples + blank_samples
                    if ended_by := self._endpointer.push(probability, tokenless, bool(self._decoder.tokens)):
                        events.append(self._end(ended_by))
            return [] if self._cancelled else events

    def end_utterance(self, silence_ms: int = 0) -> Final:
        """End the utterance: flush the tail with synthesised silence at once, return the final, be ready for the next.

        The look-ahead is computed, not waited for: the frames that remain are computed with the end of the audio masked as in
        NeMo's offline forward of the same audio. Where a speaker is cut off at the last sample, as when a push-to-talk button is let
        go early, CTC often owes the last word: `silence_ms` of exact silence, computed too, brings it out. 160 is enough; it costs a
        step or two, counts in no `audio_s`, and is not what NeMo's offline forward does. Raises InputError for less than 0,
        ClosedError after `close`.
        """
        if silence_ms < 0:
            raise InputError(f"expected silence_ms of at least 0, found {silence_ms}; 160 is enough for a last word")
        with self._turn():
            return self._end("caller", silence_ms)

    def _end(self, ended_by: EndedBy, silence_ms: int = 0) -> Final:
        bundle = self._bundle
        audio_s = self._received / bundle.sample_rate
        if silence_ms and self._received:
            self._hear(self._silence(bundle.sample_rate * silence_ms // 1000), to_the_end=True)
        owed = bundle.encoder_frames(self._received) - self._steps * bundle.chunk_frames
        if owed > 0:
            self._audio = np.concatenate([self._audio, self._silence(bundle.window_samples - len(self._audio))])
            mel_frames = (self._received - self._steps * bundle.chunk_samples) // bundle.hop_samples
            self._step(mel_frames, owed)
        self._decoder.finish()
        final = Final(self._decoder.text, self._decoder.tokens, audio_s, ended_by)
        self._start()
        return final

    def _silence(self, samples: int) -> Samples:
        # x[n] = a x[n-1] is what the pre-emphasis y[n] = x[n] - a x[n-1] turns into exact silence: no click at the end.
        decay = self._bundle.preemphasis ** np.arange(1, samples + 1, dtype=np.float32)
        last = self._audio[-1] if len(self._audio) else 0.0  # windows that do not overlap keep nothing
        silence: Samples = decay * np.float32(last)
        return silence

    def _hear(self, samples: Samples, to_the_end: bool = False) -> list[Event]:
        bundle = self._bundle
        self._audio = np.concatenate([self._audio, samples])
        self._received += len(samples)
        partials: list[Event] = []
        while len(self._audio) >= bundle.window_samples and (to_the_end or not self._interrupted):
            if self._step(ALL_VALID, bundle.chunk_frames):
                heard = (self._steps - 1) * bundle.chunk_samples + bundle.first_step_samples
                partials.append(Partial(self._decoder.text, self._decoder.tokens, heard / bundle.sample_rate))
            self._audio = self._audio[bundle.chunk_samples :]
        return partials

    def _step(self, valid: int, frames: int) -> bool:
        result = self._backend.step(self._audio[: self._bundle.window_samples], valid, self._state)
        self._state = result.state
        self._steps += 1
        return self._decoder.push(getattr(result, self._decoder.fed)[:frames])


def choose_decoder(bundle: Bundle, asked: str | None, lm: LmChoice, *, best: bool) -> Decoding:
    """The decoder that is asked for; else, without a language model of the caller's, the bundle's `best`, or what needs least.

    Raises InputError for a decoder that the bundle has not, or that a language model does not go with.
    """
    file = language_model_file(lm)
    if file:
        bundle.check_ctc(f"the language model {file}")
    decoder = bundle.decoder(asked or (None if best and not file else bundle.step_decoder))
    if decoder == "rnnt" and file:
        raise InputError(
            f"expected the decoder ctc with a language model, found rnnt and {file}; leave one of them out"
        )
    return decoder
