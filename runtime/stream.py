"""Stream: push audio, get partials; end the utterance, get the final."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .audio import Pcm, Samples, checked
from .backends import ALL_VALID
from .decoders.decoder import Decoder
from .decoders.hotwords import HotwordChoice
from .early import BUSY, Early, EarlyTokens, early_tokens
from .endpoint import EndedBy, Endpointer, EndpointRules
from .errors import ClosedError, InputError
from .events import Event, Final, Partial
from .processes import OfOneProcess
from .vad import WINDOW_SAMPLES

if TYPE_CHECKING:
    from .recognizer import Recognizer


@dataclass(frozen=True)
class StreamOptions:
    """How a stream hears, see Recognizer.stream."""

    endpoints: EndpointRules | None = None
    hotwords: HotwordChoice = ()
    early: Early | None = None


class Stream(OfOneProcess):
    """One speaker's audio. `push` frames of any length, `end_utterance` at the end of an utterance; then the next one may begin.

    Steps run as soon as their window is full: the first after `first_step_samples`, then every `chunk_samples`. Between steps only
    the samples that the next window overlaps are kept.

    With endpoint rules `push` returns finals too. The audio after an endpoint belongs to the next utterance, which begins as in a new
    stream; the lengths of the finals add up to the audio. Endpoints and finals depend on the audio alone, not on how it was cut into
    frames; early text also on when it came.

    Any method may be called from any thread: one at a time has its turn, a step and its decoding are never parted. `reset` and `close`
    cut a longer `push` short after the step that it is in. After a step that failed the utterance is lost: the next
    call begins a new one.
    """

    def __init__(self, recognizer: "Recognizer", options: StreamOptions = StreamOptions()) -> None:
        """See Recognizer.stream."""
        super().__init__()
        self._bundle = recognizer.bundle
        self._backend = recognizer.backend
        self._recognizer = recognizer
        self.new_detector = recognizer.new_detector
        self._vad = None if options.endpoints is None else self.new_detector()
        self._endpointer = Endpointer(options.endpoints or EndpointRules())
        self._hotwords = recognizer.hotwords(options.hotwords)
        self._early = early_tokens(options.early, self._bundle, can_peek=self._backend.can_peek)
        self.now = time.perf_counter
        """The clock by which a caller is seen to have more audio waiting."""
        self._left_s = self.now()
        self._one_at_a_time = threading.Lock()
        self._cancelled = self._closed = False
        self._state: Any = None
        self._taken = 0  # samples of the stream, those that a failed step lost included
        self._at = 0  # of them before the utterance
        self._start()

    def reset(self, start_s: float = 0.0) -> None:
        """Forget the utterance: equal to a new stream, whose time begins at `start_s`. A push in progress returns nothing.

        Raises InputError for a start that is no time from 0 on, ClosedError after `close`.
        """
        if not 0 <= start_s < math.inf:
            raise InputError(f"expected a stream's start from 0 s on, found {start_s}; without one it is 0")
        self._cancelled = True  # before it is our turn: what is in progress stops, and whoever is next starts anew
        with self._turn():
            self._taken = self._at = round(start_s * self._bundle.sample_rate)
            self._start()  # another thread's turn may have come first

    def set_hotwords(self, hotwords: HotwordChoice) -> None:
        """Favour these from the next utterance on, or from now on where the utterance has no audio yet; an empty list: none.

        Raises InputError as Recognizer.stream does, and ClosedError after `close`.
        """
        found = self._recognizer.hotwords(hotwords)
        with self._turn():
            self._hotwords = found
            if not self._received:
                self._decoder = self._new_decoder()

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
                    self._at = self._taken
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

    def _new_decoder(self) -> Decoder:
        return self._recognizer.new_decoder(self._start_s, self._hotwords)

    @property
    def _start_s(self) -> float:
        return round(self._at / self._bundle.sample_rate, 3)

    def _start(self) -> None:
        bundle = self._bundle
        self._decoder = self._new_decoder()
        self._shown = "", ""  # text, and its early end
        self._state = None  # given back before the next is asked for: a backend may reuse it
        self._state = self._backend.new_state()
        self._steps = 0
        self._received: int = 0
        # Before the first sample lies silence: that part of the first window is zero.
        self._audio: Samples = np.zeros(bundle.window_samples - bundle.first_step_samples, np.float32)
        self._endpointer.reset()
        if self._vad:
            self._vad.reset()
        if self._early:
            self._early.begin_chunk(0)

    def push(self, samples: Samples | Pcm) -> list[Event]:
        """Take mono samples [n] at the bundle's rate, FP32 in -1..1 or INT16; return a partial per step that changed the text.

        With endpoint rules also a final per utterance that ended, flushed at once, `audio_s` counted from each one's start.

        Raises InputError, and changes nothing, for another type or shape and for samples that are not finite; ClosedError after `close`.
        """
        heard = checked(samples)
        waiting = self.now() - self._left_s < (1 - BUSY) * len(heard) / self._bundle.sample_rate
        with self._turn():
            bundle, events = self._bundle, list[Event]()
            self._taken += len(heard)
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
            if self._early and not waiting and not self._interrupted:
                events += self._hear_early(self._early)
            self._left_s = self.now()
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
        bundle, heard = self._bundle, self._received
        if silence_ms and self._received:
            self._hear(self._silence(bundle.sample_rate * silence_ms // 1000), to_the_end=True)
        owed, window, mel_frames = self._tail()
        if owed > 0:
            self._audio = window
            self._step(mel_frames, owed)
        self._decoder.finish()
        end_s = round(self._start_s + round(heard / bundle.sample_rate, 3), 3)
        final = Final(
            self._decoder.text,
            self._decoder.tokens,
            heard / bundle.sample_rate,
            self._start_s,
            tuple(word.within(end_s) for word in self._decoder.words),  # one may be decided in silence that was added
            ended_by,
        )
        self._at += heard  # without silence that was added
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
            self._step(ALL_VALID, bundle.chunk_frames)
            heard = (self._steps - 1) * bundle.chunk_samples + bundle.first_step_samples
            partials += self._show(self._decoder, heard)
            self._audio = self._audio[bundle.chunk_samples :]
        return partials

    def _tail(self) -> tuple[int, Samples, int]:
        """Frames that the audio so far has beyond the steps, the window that computes them, and its valid mel frames."""
        bundle = self._bundle
        owed = bundle.encoder_frames(self._received) - self._steps * bundle.chunk_frames
        window = np.concatenate([self._audio, self._silence(bundle.window_samples - len(self._audio))])
        return owed, window, (self._received - self._steps * bundle.chunk_samples) // bundle.hop_samples

    def _step(self, valid: int, frames: int) -> None:
        result = self._backend.step(self._audio[: self._bundle.window_samples], valid, self._state)
        self._state = result.state
        self._steps += 1
        self._decoder.push(result, frames)
        if self._early:
            self._early.begin_chunk(self._received)

    def _hear_early(self, early: EarlyTokens) -> list[Event]:
        """Run a step on what is there of the next chunk, without its state, and show what keeps the rules."""
        if not early.is_due(self._received, self._decoder.text):
            return []
        owed, window, mel_frames = self._tail()
        frames = min(owed, self._bundle.chunk_frames)
        result = self._backend.peek(window, mel_frames, self._state)
        if not (shown := early.shown(result, frames)):
            return []
        decoder = self._decoder.copy()
        decoder.push(result, shown)
        return self._show(decoder, self._received)

    def _show(self, decoder: Decoder, heard: int) -> list[Event]:
        """A partial of what a decoder has by `heard` samples of the utterance, where that, or what of it is early, was not shown yet."""
        committed = self._decoder.text
        kept = len(committed)
        if not decoder.text.startswith(committed):
            pairs = enumerate(zip(committed, decoder.text, strict=False))
            kept = next((place for place, (before, after) in pairs if before != after), len(decoder.text))
        shown = decoder.text, decoder.text[kept:]
        if shown == self._shown:
            return []
        self._shown = shown
        return [
            Partial(
                decoder.text,
                decoder.tokens,
                heard / self._bundle.sample_rate,
                self._start_s,
                decoder.words,
                self._decoder.stable,
                shown[1],
            )
        ]
