"""Barge-in: a stream that knows when the agent speaks, and hears a user who speaks meanwhile from the first word on."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .audio import Pcm, Samples, checked
from .echo import TAIL_MS, Cleaned, EchoCanceller, EchoGate, unechoed
from .errors import InputError
from .events import Event, Final
from .recognizer import Stream
from .vad import SAMPLE_RATE, THRESHOLD, WINDOW_MS, WINDOW_SAMPLES


@dataclass(frozen=True)
class BargeInRules:
    """What makes the user's voice an interruption."""

    minimum_voiced_ms: int = 64
    """Voiced time, in windows of 32 ms; a window without voice takes one back. A clap has less; for coughs ask for more, or for a token."""
    preroll_ms: int = 500
    """Audio from before the decision that is recognised, in which the first word began."""
    confirming_token: bool = False
    """Whether recognition must also have found a token: later, and surer."""
    echo_margin_db: float = 6.0
    """How far what is left of the echo must be exceeded; counts with a reference only."""
    echo_reference: bool = True
    """Whether `agent_speaks` is given what is played. If not, echo that the device does not cancel itself is taken for a user."""

    def __post_init__(self) -> None:
        if not WINDOW_MS <= self.minimum_voiced_ms <= self.preroll_ms:
            raise InputError(
                f"expected minimum_voiced_ms from {WINDOW_MS:g} to preroll_ms ({self.preroll_ms}), "
                f"found {self.minimum_voiced_ms}"
            )


@dataclass(frozen=True)
class BargeIn:
    """The user interrupts the agent: stop playing."""

    audio_s: float
    """When it was decided, in seconds of the microphone's audio."""


class Conversation:
    """The user's audio through a stream, and the agent's turns. Methods may be called from any thread.

    While the agent speaks nothing is recognised and no partial comes, until the user interrupts: then a BargeIn comes, and the events of a
    stream that starts with the audio of `preroll_ms` before it. Finals come by the stream's own rules and from `end_utterance`.
    """

    def __init__(self, stream: Stream, rules: BargeInRules = BargeInRules()) -> None:
        """`stream`: at an utterance's start, and the conversation's from now on.

        Raises InputError for a bundle without a voice activity detector.
        """
        self._stream, self._rules = stream, rules
        self._canceller = EchoCanceller(SAMPLE_RATE) if rules.echo_reference else None
        self._gate = EchoGate(rules.echo_margin_db)
        self._vad = stream.new_detector()
        self._one_at_a_time = threading.Lock()
        self._received = 0
        self._agent_speaks = False
        self._tail = 0  # samples that may still hold echo
        self._listen()

    def agent_speaks(self, samples: Samples | Pcm | None = None) -> None:
        """The agent begins to speak, or goes on: `samples` [n] is what is played next, the echo's reference.

        An utterance that was not ended is forgotten. Raises InputError for bad samples, and for samples where the rules say no reference.
        """
        played = None if samples is None else checked(samples)
        if played is not None and self._canceller is None:
            raise InputError("expected no samples with echo_reference=False, found some; set it in the rules")
        with self._one_at_a_time:
            if not self._agent_speaks:
                self._agent_speaks = True
                self._listen()
            if played is not None and self._canceller is not None:
                self._canceller.play(played)

    def agent_stops(self) -> None:
        """The agent was heard to the end, or stopped: recognition goes on with what comes next."""
        with self._one_at_a_time:
            if self._agent_speaks:
                self._stop()
                self._stream.reset()

    def push(self, samples: Samples | Pcm) -> list[Event | BargeIn]:
        """Take the microphone's samples [n], as Stream.push does; return what became known.

        Raises InputError, and changes nothing, for bad samples; ClosedError once the stream is closed.
        """
        heard = checked(samples)
        with self._one_at_a_time:
            events: list[Event | BargeIn] = []
            while len(heard):
                piece = heard[: self._undecided()]
                heard = heard[len(piece) :]
                cleaned = self._cleaned(piece)
                self._received += len(piece)
                events += self._watch(cleaned) if self._agent_speaks else self._stream.push(cleaned[0])
            return events

    def end_utterance(self, silence_ms: int = 0) -> Final:
        """See Stream.end_utterance."""
        with self._one_at_a_time:
            if self._canceller is not None and self._tail > 0:
                self._stream.push(self._canceller.flush())
            return self._stream.end_utterance(silence_ms)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    def _listen(self) -> None:
        """Nothing is known yet of the user's voice."""
        self._vad.reset()
        self._voiced = 0  # windows, those without voice taken off
        self._confirming = False
        self._preroll: Samples = np.zeros(0, np.float32)
        self._unseen: Cleaned = np.zeros((2, 0), np.float32)  # less than a window
        self._stream.reset()

    def _stop(self) -> None:
        self._agent_speaks = False
        if self._canceller is not None:
            self._canceller.silence()
            self._tail = SAMPLE_RATE * TAIL_MS // 1000

    def _undecided(self) -> int | None:
        """Samples until something is next decided, so that events do not depend on how audio is cut; None for as many as there are."""
        if self._agent_speaks:
            return WINDOW_SAMPLES - self._unseen.shape[1] if self._canceller is None else self._canceller.wanting
        return self._tail if self._tail > 0 else None

    def _cleaned(self, heard: Samples) -> Cleaned:
        """The canceller runs while there may be echo; else audio is as it came."""
        if self._canceller is None or not (self._agent_speaks or self._tail > 0):
            return unechoed(heard)
        cleaned = self._canceller.push(heard)
        if not self._agent_speaks:
            self._tail -= len(heard)
            if self._tail <= 0:
                cleaned = np.concatenate([cleaned, unechoed(self._canceller.flush())], axis=1)
        return cleaned

    def _watch(self, cleaned: Cleaned) -> list[Event | BargeIn]:
        heard = cleaned[0]
        self._preroll = np.concatenate([self._preroll, heard])[-SAMPLE_RATE * self._rules.preroll_ms // 1000 :]
        self._unseen = np.concatenate([self._unseen, cleaned], axis=1)
        if self._unseen.shape[1] >= WINDOW_SAMPLES:
            window, self._unseen = np.split(self._unseen, [WINDOW_SAMPLES], axis=1)
            (probability,) = self._vad.push(window[0])
            voiced = probability >= THRESHOLD
            explained = self._canceller is not None and self._gate.explains(window, voiced)
            self._voiced = self._voiced + 1 if voiced and not explained else max(0, self._voiced - 1)
        if self._confirming:
            return self._confirm(heard)
        if self._voiced * WINDOW_MS < self._rules.minimum_voiced_ms:
            return []
        if self._rules.confirming_token:
            self._confirming = True
            return self._confirm(self._preroll)
        return self._interrupted(self._stream.push(self._preroll))

    def _confirm(self, samples: Samples) -> list[Event | BargeIn]:
        events = self._stream.push(samples)
        if any(event.text for event in events):
            return self._interrupted(events)
        if self._voiced == 0:
            self._confirming = False
            self._stream.reset()
        return []

    def _interrupted(self, events: Sequence[Event]) -> list[Event | BargeIn]:
        self._stop()
        return [BargeIn(self._received / SAMPLE_RATE), *events]
