"""Barge-in: a stream that knows when the agent speaks, and hears a user who speaks meanwhile from the first word on."""

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from .audio import Pcm, Samples, checked
from .echo import KEPT_MS, TAIL_MS, EchoCanceller
from .errors import FullError, InputError
from .events import Event, Final, Partial
from .processes import OfOneProcess
from .stream import Stream, check_start
from .vad import SAMPLE_RATE, THRESHOLD, WINDOW_MS

NOTHING: Samples = np.zeros(0, np.float32)
MOST_TO_PLAY_S = 300
"""Of the agent's audio that may wait until it is heard."""
SPARE = 2  # windows before those that decide: some of these may be explained once the path is learned again


@dataclass(frozen=True)
class BargeInRules:
    """What makes the user's voice an interruption."""

    minimum_voiced_ms: int = 96
    """Voiced time, in windows of 32 ms; a window without voice takes one back. A clap has less; for coughs ask for more, or for a token."""
    preroll_ms: int = 500
    """Audio from before the decision that is recognised, in which the first word began."""
    confirming_token: bool = False
    """Whether recognition must also have found a token: later, and surer."""
    echo_margin_db: float = 12.0
    """How far a voice must exceed what may be left of the echo, and the room's noise."""

    def __post_init__(self) -> None:
        whole = all(isinstance(ms, Integral) for ms in (self.minimum_voiced_ms, self.preroll_ms))
        if not whole or not WINDOW_MS <= self.minimum_voiced_ms <= self.preroll_ms <= KEPT_MS:
            raise InputError(
                f"expected minimum_voiced_ms from {WINDOW_MS:g} to preroll_ms, and that to {KEPT_MS}, in whole ms, "
                f"found {self.minimum_voiced_ms} and {self.preroll_ms}"
            )
        if not math.isfinite(self.echo_margin_db):
            raise InputError(f"expected echo_margin_db as a number of dB, found {self.echo_margin_db}; 12 is usual")


@dataclass(frozen=True)
class BargeIn:
    """The user interrupts the agent: stop playing."""

    audio_s: float
    """When it was decided, in seconds of the microphone's audio."""


class Conversation(OfOneProcess):
    """The user's audio through a stream, and the agent's turns. Methods may be called from any thread.

    While the agent speaks nothing is recognised and no partial comes, until the user interrupts: then a BargeIn comes, and from the next
    `push` on the events of a stream that starts with the audio of `preroll_ms` before it, with times of the microphone's audio.
    Finals come by the stream's own rules and from
    `end_utterance`.
    """

    def __init__(self, stream: Stream, rules: BargeInRules = BargeInRules(), *, start_s: float = 0.0) -> None:
        """`stream`: at an utterance's start, and the conversation's from now on; `start_s`: the time at which its audio goes on.

        Raises InputError for what is no stream, for a bundle without a voice activity detector, and for a start that is no time from 0 on.
        """
        if not isinstance(stream, Stream):
            raise InputError(f"expected a stream, found {stream!r}; give a recogniser's stream(...)")
        check_start(start_s)
        super().__init__()
        self._stream, self._rules = stream, rules
        self._needed = int(rules.minimum_voiced_ms // WINDOW_MS)  # windows
        self._canceller = EchoCanceller()
        self._vad = stream.new_detector()
        self._one_at_a_time = threading.Lock()
        self._received = round(start_s * SAMPLE_RATE)
        self._agent_speaks = False
        self._tail = 0  # samples that may still hold echo
        self._confirming: bool  # whether a voice was heard that recognition is to confirm
        self._listen()

    def agent_speaks(self, samples: Samples | Pcm | None = None) -> None:
        """The agent begins to speak, or goes on: `samples` [n] is what is played next, the echo's reference.

        Without samples all that is heard is taken for a user's. An utterance that was not ended is forgotten. Raises InputError for bad
        samples, and FullError, taking none, where more than MOST_TO_PLAY_S of them wait for the microphone's.
        """
        played = None if samples is None else checked(samples)
        with self._turn():
            if played is not None and self._canceller.to_play + len(played) > MOST_TO_PLAY_S * SAMPLE_RATE:
                raise FullError(
                    f"expected at most {MOST_TO_PLAY_S} s of an agent's audio ahead of the microphone, found more; send it as it is played"
                )
            if not self._agent_speaks:
                self._agent_speaks = True
                self._canceller.turn()
                self._listen()
            if played is not None:
                self._canceller.play(played)

    def agent_stops(self) -> None:
        """The agent was heard to the end, or stopped: recognition goes on with what comes next."""
        with self._turn():
            if self._agent_speaks:
                self._stop()
                self._listen()

    def push(self, samples: Samples | Pcm) -> list[Event | BargeIn]:
        """Take the microphone's samples [n], as Stream.push does; return what became known.

        Raises InputError, and changes nothing, for bad samples; ClosedError once the stream is closed.
        """
        heard = checked(samples)
        with self._turn():
            events: list[Event | BargeIn] = []
            while len(heard):
                echoing = self._agent_speaks or self._tail > 0
                piece = heard[: self._canceller.wanting] if echoing else heard
                heard = heard[len(piece) :]
                self._received += len(piece)
                window = self._canceller.push(piece) if echoing else piece
                try:
                    if self._agent_speaks:
                        events += self._watch(window) if len(window) else []
                    else:
                        self._tail -= len(window) if echoing else 0
                        events += self._recognise(window) if len(window) else []
                except BaseException:
                    self._skip(heard)
                    raise
            return events

    def end_utterance(self, silence_ms: int = 0) -> Final:
        """See Stream.end_utterance."""
        with self._turn():
            # In the agent's turn the part of a window stays the canceller's, and what follows does not reach the stream.
            if self._agent_speaks and self._confirming:
                self._confirming = False  # nothing confirmed it
                self._forget()
            self._recognise(NOTHING if self._agent_speaks else self._canceller.flush())
            self._anew = self._agent_speaks
            return self._stream.end_utterance(silence_ms)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._check_process()
        with self._one_at_a_time:
            yield

    def _listen(self) -> None:
        """Nothing is known yet of the user's voice."""
        self._vad.reset()
        self._voiced: deque[bool] = deque(maxlen=self._needed + SPARE)  # the last windows
        self._count = 0  # of voiced windows, those without voice taken off
        self._confirming = False
        self._preroll = NOTHING
        self._forget()

    def _recognise(self, heard: Samples) -> list[Event]:
        """What a BargeIn left to recognise comes first: it was told at once."""
        before, self._preroll = self._preroll, heard[:0]
        return self._hear(np.concatenate([before, heard]))

    def _skip(self, rest: Samples) -> None:
        """What is left of a push that failed is recognised by nobody; time and echo go on."""
        self._received += len(rest)
        while len(rest) and (self._agent_speaks or self._tail > 0):
            piece, rest = rest[: self._canceller.wanting], rest[self._canceller.wanting :]
            self._tail -= len(self._canceller.push(piece))
        self._anew = True

    def _forget(self) -> None:
        self._stream.reset()
        self._anew = True

    def _hear(self, samples: Samples) -> list[Event]:
        """Push samples that end with the last one received: the stream's time is the microphone's."""
        if self._anew:
            self._anew = False
            self._stream.reset((self._received - len(samples)) / SAMPLE_RATE)
        return self._stream.push(samples)

    def _stop(self) -> None:
        self._agent_speaks = False
        self._canceller.silence()
        self._tail = SAMPLE_RATE * TAIL_MS // 1000

    def _watch(self, window: Samples) -> list[Event | BargeIn]:
        (probability,) = self._vad.push(window)
        self._voiced.append(probability >= THRESHOLD)
        self._count = self._count + 1 if self._unexplained(1) else max(0, self._count - 1)
        if self._confirming:
            return self._confirm(window)
        nearly = max(1, self._needed - 1)
        if self._count == nearly:  # learned while the last window is awaited
            self._canceller.again()
            if self._unexplained(nearly + SPARE) < nearly:
                self._count = 0
        if self._count < self._needed:
            return []
        preroll = self._canceller.recent(SAMPLE_RATE * self._rules.preroll_ms // 1000)
        if self._rules.confirming_token:
            self._confirming = True
            return self._confirm(preroll)
        self._preroll = preroll
        return self._interrupted([])

    def _unexplained(self, windows: int) -> int:
        """How many of the last windows are voiced, and not by echo."""
        exceeding = self._canceller.unexplained_db(windows) > self._rules.echo_margin_db
        return sum(exceeds and voiced for exceeds, voiced in zip(exceeding[::-1], reversed(self._voiced), strict=False))

    def _confirm(self, samples: Samples) -> list[Event | BargeIn]:
        events = self._hear(samples)
        if any(event.text and not (isinstance(event, Partial) and event.early) for event in events):
            return self._interrupted(events)
        if self._count == 0:
            self._confirming = False
            self._forget()
        return []

    def _interrupted(self, events: Sequence[Event]) -> list[Event | BargeIn]:
        self._stop()
        return [BargeIn(self._received / SAMPLE_RATE), *events]
