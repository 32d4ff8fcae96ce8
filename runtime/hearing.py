"""What a stream does with its audio, as work that asks: see `runtime.asking`."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from .arrivals import Arrivals
from .asking import Asking
from .audio import Samples
from .backends import ALL_VALID, Step, StepResult
from .decoders.decoder import Decoder, Search
from .decoders.hotwords import HotwordChoice, Hotwords
from .early import Early, EarlyTokens, early_tokens
from .endpoint import EndedBy, Endpointer, EndpointRules
from .errors import ClosedError
from .events import Event, Final, Partial
from .prefix import common_prefix
from .vad import WINDOW_SAMPLES, Vad

if TYPE_CHECKING:
    from .recognizer import Recognizer

T = TypeVar("T")


class Arrived(NamedTuple):
    """Samples [n], FP32 in -1..1, that were pushed together."""

    samples: Samples
    at_s: float
    """When, by the stream's clock."""


@dataclass(frozen=True)
class StreamOptions:
    """How a stream hears, see Recognizer.stream."""

    endpoints: EndpointRules | None = None
    hotwords: HotwordChoice = ()
    early: Early | None = None
    language: str | None = None
    language_model: bool = True


class Hearing:
    """One speaker's audio on its way to events. One piece of work at a time; what it needs of a recogniser it takes from there."""

    def __init__(self, recognizer: "Recognizer", options: StreamOptions) -> None:
        """At an utterance's start. Raises as Recognizer.stream does."""
        self._recognizer, self._bundle, self._backend = recognizer, recognizer.bundle, recognizer.backend
        self._vad = None if options.endpoints is None else recognizer.new_detector()
        self._endpointer = Endpointer(options.endpoints or EndpointRules())
        self._hotwords = recognizer.hotwords(options.hotwords)
        self._prompt = recognizer.prompt(options.language)
        self._language_model = options.language_model
        self._early = early_tokens(options.early, self._bundle, can_peek=self._backend.can_peek)
        self.now: Callable[[], float] = time.perf_counter
        """The clock by which audio arrives, in seconds."""
        self.sample_rate = self._bundle.sample_rate
        self._arrivals = Arrivals()
        self._cancelled = self._closed = False
        self._taken = 0  # samples of the stream, those that a failed step lost included
        self._at = 0  # of them before the utterance
        self._state: Any = self._backend.new_state()
        self._audio: Samples  # of the next window
        self._begin()

    def turn(self, work: Asking[T]) -> Asking[T]:
        """Do the work in this stream's turn: on a new utterance where the last one was cancelled, or lost in work that failed.

        Raises ClosedError once closed.
        """
        self.check_open()
        try:
            if self._cancelled:
                self._at = self._taken
                self._begin_anew()
                self._cancelled = False
            result = yield from work
        except BaseException:
            self._cancelled = True
            raise
        self.check_open()
        return result

    def check_open(self) -> None:
        """Raise ClosedError once closed."""
        if self._closed:
            raise ClosedError("expected an open stream, found a closed one; make another")

    def cancel(self) -> None:
        """Give the utterance up: work in progress ends after the step that it is in. From any thread."""
        self._cancelled = True

    def close(self) -> None:
        """All that follows raises ClosedError, and work in progress once its step is done. From any thread."""
        self._closed = True

    def forget(self) -> None:
        """Give the state back, once closed and out of work; safe to call twice."""
        if self._state is not None:
            self._backend.give_back(self._state)
        self._state = None

    def push(self, pieces: Sequence[Arrived], *, more_waits: bool) -> Asking[list[Event]]:
        """Hear these pieces; return what became known. `more_waits`: more audio is there, and early text is not worth a step."""
        for samples, at_s in pieces:
            self._taken += len(samples)
            self._arrivals.add(self._taken, at_s)
        if self._vad:
            events = yield from self._hear_to_endpoints(self._vad, pieces)
        else:
            events = yield from self._hear(*(piece.samples for piece in pieces))
        if self._early and not more_waits and not self._interrupted:
            events += yield from self._hear_early(self._early)
        return [] if self._cancelled else events

    def end(self, ended_by: EndedBy, asked_s: float, silence_ms: int = 0) -> Asking[Final]:
        """End the utterance, which was asked for at `asked_s` by the clock; see Stream.end_utterance."""
        bundle, heard = self._bundle, self._received
        if silence_ms and self._received:
            yield from self._hear(self._silence(bundle.sample_rate * silence_ms // 1000), to_the_end=True)
        owed, window, mel_frames = self._tail()
        if owed > 0:
            self._audio = window
            yield from self._step(mel_frames, owed)
        yield Search(self._decoder)
        end_s = round(self._start_s + round(heard / bundle.sample_rate, 3), 3)
        final = Final(
            self._decoder.text,
            self._decoder.tokens,
            heard / bundle.sample_rate,
            self._start_s,
            tuple(word.within(end_s) for word in self._decoder.words),  # one may be decided in silence that was added
            self._since_ms(asked_s),
            ended_by=ended_by,
        )
        self._at += heard  # without silence that was added
        self._begin_anew()
        return final

    def nothing_left(self) -> Final:
        """The final of an utterance that was lost with all of its audio."""
        return Final("", (), 0.0, round(self._taken / self._bundle.sample_rate, 3))

    def restart(self, start_s: float) -> Asking[None]:
        """Forget the utterance, and begin one at `start_s` of the stream."""
        self._taken = self._at = round(start_s * self._bundle.sample_rate)
        self._arrivals.clear()
        self._begin_anew()  # another thread's turn may have come first
        self._cancelled = False
        yield from ()

    def favour(self, hotwords: Hotwords) -> Asking[None]:
        """Take these hotwords from the next utterance on, or from now on where this one has no audio yet."""
        self._hotwords = hotwords
        if not self._received:
            self._decoder = self._new_decoder()
        yield from ()

    def speak(self, prompt: int | None) -> Asking[None]:
        """Hear the language of this prompt from the next utterance on, or from now on where this one has no audio yet."""
        self._prompt = prompt
        if not self._received:
            self._tell_language()
        yield from ()

    def nothing(self) -> Asking[None]:
        """Do nothing in this stream's turn."""
        yield from ()

    @property
    def needed(self) -> float:
        """Samples that must come before there is anything to do."""
        needed: float = self._bundle.window_samples - len(self._audio)
        if self._vad:
            needed = min(needed, WINDOW_SAMPLES - self._received % WINDOW_SAMPLES)
        if self._early:
            needed = min(needed, self._early.needed(self._received, self._decoder.text))
        return needed

    @property
    def _interrupted(self) -> bool:
        return self._cancelled or self._closed

    def _new_decoder(self) -> Decoder:
        return self._recognizer.new_decoder(self._start_s, self._hotwords, language_model=self._language_model)

    @property
    def _start_s(self) -> float:
        return round(self._at / self._bundle.sample_rate, 3)

    def _begin_anew(self) -> None:
        self._state = self._backend.restart(self._state)
        self._begin()

    def _tell_language(self) -> None:
        if self._prompt is not None:
            self._state = self._backend.prompted(self._state, self._prompt)

    def _begin(self) -> None:
        bundle = self._bundle
        self._tell_language()
        self._decoder = self._new_decoder()
        self._shown = "", ""  # text, and its early end
        self._steps = 0
        self._received: int = 0
        # Before the first sample lies silence: that part of the first window is zero.
        self._audio = np.zeros(bundle.window_samples - bundle.first_step_samples, np.float32)
        self._endpointer.reset()
        if self._vad:
            self._vad.reset()
        if self._early:
            self._early.begin_chunk(0)

    def _silence(self, samples: int) -> Samples:
        # x[n] = a x[n-1] is what the pre-emphasis y[n] = x[n] - a x[n-1] turns into exact silence: no click at the end.
        decay = self._bundle.preemphasis ** np.arange(1, samples + 1, dtype=np.float32)
        last = self._audio[-1] if len(self._audio) else 0.0  # windows that do not overlap keep nothing
        silence: Samples = decay * np.float32(last)
        return silence

    def _hear_to_endpoints(self, vad: Vad, pieces: Sequence[Arrived]) -> Asking[list[Event]]:
        """Hear them, and end the utterance wherever the rules say so."""
        bundle, events = self._bundle, list[Event]()
        for piece in self._windows(pieces):
            if self._interrupted:
                break
            events += yield from self._hear(piece)
            for voice in vad.voices(piece):
                probability = yield voice
                blank_samples = self._decoder.blank_frames * bundle.chunk_samples // bundle.chunk_frames
                tokenless = self._received - self._steps * bundle.chunk_samples + blank_samples
                if ended_by := self._endpointer.push(probability, tokenless, bool(self._decoder.tokens)):
                    events.append((yield from self.end(ended_by, self._arrived_s(self._received))))
                elif self._endpointer.tells_voice and not self._shown[0]:
                    events.append(self._partial(self._decoder, self._received, self._arrived_s(self._received)))
        return events

    def _windows(self, pieces: Sequence[Arrived]) -> Iterator[Samples]:
        """The same samples cut where a window of voice activity ends: there a decision falls."""
        for heard, _ in pieces:
            left = heard
            while len(left):
                cut = WINDOW_SAMPLES - self._received % WINDOW_SAMPLES  # what was cut before has been heard
                yield left[:cut]
                left = left[cut:]

    def _hear(self, *samples: Samples, to_the_end: bool = False) -> Asking[list[Event]]:
        bundle = self._bundle
        before = len(self._audio)
        self._audio = np.concatenate([self._audio, *samples])
        self._received += len(self._audio) - before
        partials: list[Event] = []
        while len(self._audio) >= bundle.window_samples and (to_the_end or not self._interrupted):
            changed = yield from self._step(ALL_VALID, bundle.chunk_frames)
            heard = (self._steps - 1) * bundle.chunk_samples + bundle.first_step_samples
            arrived_s = self._arrived_s(heard)
            if changed or self._shown[1]:
                partials += self._show(self._decoder, heard, arrived_s)
            self._audio = self._audio[bundle.chunk_samples :]
        if self._audio.base is not None:
            self._audio = self._audio.copy()  # not all that was pushed
        return partials

    def _tail(self) -> tuple[int, Samples, int]:
        """Frames that the audio so far has beyond the steps, the window that computes them, and its valid mel frames."""
        bundle = self._bundle
        owed = bundle.encoder_frames(self._received) - self._steps * bundle.chunk_frames
        window = np.concatenate([self._audio, self._silence(bundle.window_samples - len(self._audio))])
        return owed, window, (self._received - self._steps * bundle.chunk_samples) // bundle.hop_samples

    def _step(self, valid: int, frames: int) -> Asking[bool]:
        """Run a step and decode it; return whether the text changed."""
        result: StepResult = yield Step(self._audio[: self._bundle.window_samples], valid, self._state)
        self._state = result.state
        self._steps += 1
        changed: bool = yield Search(self._decoder, result, frames)
        if self._early:
            self._early.begin_chunk(self._received)
        return changed

    def _hear_early(self, early: EarlyTokens) -> Asking[list[Event]]:
        """Run a step on what is there of the next chunk, without its state, and show what keeps the rules."""
        if not early.is_due(self._received, self._decoder.text):
            return []
        owed, window, mel_frames = self._tail()
        frames = min(owed, self._bundle.chunk_frames)
        result: StepResult = yield Step(window, mel_frames, self._state, peek=True)
        if not (shown := early.shown(result, frames)):
            return []
        decoder = self._decoder.copy()
        yield Search(decoder, result, shown)
        return self._show(decoder, self._received, self._arrived_s(self._received))

    def _show(self, decoder: Decoder, heard: int, arrived_s: float) -> list[Event]:
        """A partial of what a decoder has by `heard` samples of the utterance, where that, or what of it is early, was not shown yet."""
        committed, text = self._decoder.text, decoder.text
        kept = len(committed) if text.startswith(committed) else common_prefix(committed, text)
        shown = text, text[kept:]
        if shown == self._shown:
            return []
        self._shown = shown
        return [self._partial(decoder, heard, arrived_s)]

    def _partial(self, decoder: Decoder, heard: int, arrived_s: float) -> Partial:
        return Partial(
            decoder.text,
            decoder.tokens,
            heard / self._bundle.sample_rate,
            self._start_s,
            decoder.words,
            self._since_ms(arrived_s),
            stable=self._decoder.stable,
            early=self._shown[1],
        )

    def _arrived_s(self, heard: int) -> float:
        """When the utterance's sample number `heard` came."""
        return self._arrivals.at_s(self._at + heard)

    def _since_ms(self, at_s: float) -> float:
        return round(1e3 * (self.now() - at_s), 3)
