"""Stream: push audio, get partials; end the utterance, get the final."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from .asking import Ask, Asking, done
from .audio import Pcm, Samples, checked
from .backends import Step
from .decoders.hotwords import HotwordChoice
from .early import BUSY
from .errors import ClosedError, InputError
from .events import Event, Final
from .hearing import Arrived, Hearing, StreamOptions
from .inbox import Inbox, Job
from .mailbox import Mailbox
from .processes import OfOneProcess

if TYPE_CHECKING:
    from .recognizer import Recognizer

T = TypeVar("T")

MOST_SILENCE_MS = 10_000
"""Computed at an utterance's end: more than any word needs, and no step of others waits long for it."""


LATEST_S = 1e9
"""A time that a stream may begin at."""


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

    Where nobody can wait, `feed` takes audio and returns at once, and `async for event in stream` gives what comes of it.
    """

    kind = Hearing
    """What does the work."""

    def __init__(self, recognizer: "Recognizer", options: StreamOptions) -> None:
        """See Recognizer.stream."""
        super().__init__()
        self._recognizer = recognizer
        self.new_detector = recognizer.new_detector
        self._hearing = self.kind(recognizer, options)
        self._one_at_a_time = threading.Lock()
        self._inbox: Inbox | None = None
        """Where a scheduler does the work; None: the caller does."""
        self._mailbox: Mailbox
        """Beside an inbox."""
        self._left_s = -math.inf
        self.now = time.perf_counter
        if recognizer.backend.most_streams:
            self._scheduled()

    @property
    def now(self) -> Callable[[], float]:
        """The clock by which audio arrives, and a caller is seen to have more of it waiting."""
        return self._hearing.now

    @now.setter
    def now(self, now: Callable[[], float]) -> None:
        self._hearing.now = now
        self._left_s = now()

    def reset(self, start_s: float = 0.0) -> None:
        """Forget the utterance: equal to a new stream, whose time begins at `start_s`. A push in progress returns nothing.

        Partials of what was fed that nobody has taken yet are forgotten too.

        Raises InputError for a start that is no time from 0 on, ClosedError after `close`.
        """
        check_start(start_s)
        self._check_process()
        self._hearing.cancel()  # before it is our turn: what is in progress stops, and whoever is next starts anew
        if self._inbox:
            self._inbox.drop_audio()
        self._do(self._hearing.restart(start_s))
        if self._inbox:
            self._mailbox.forget_partials()

    def set_hotwords(self, hotwords: HotwordChoice) -> None:
        """Favour these from the next utterance on, or from now on where the utterance has no audio yet; an empty list: none.

        Raises InputError as Recognizer.stream does, and ClosedError after `close`.
        """
        self._do(self._hearing.favour(self._recognizer.hotwords(hotwords)))

    def set_language(self, language: str | None) -> None:
        """Hear this language from the next utterance on, or from now on where the utterance has no audio yet; None: the recogniser's own.

        Raises InputError for one that the checkpoint does not have, and ClosedError after `close`.
        """
        self._do(self._hearing.speak(self._recognizer.prompt(language)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the state back, after the step in progress; every later call raises ClosedError, and so does a push in progress.

        In a fork nothing happens.
        """
        if self._forked:
            return
        self._hearing.close()
        if self._inbox:
            self._inbox.drop_audio()
        with suppress(ClosedError):
            self._do(self._hearing.nothing())  # once it is our turn, no work is in progress
        self._hearing.forget()
        if self._inbox:
            self._mailbox.close()

    def push(self, samples: Samples | Pcm) -> list[Event]:
        """Take mono samples [n] at the bundle's rate, FP32 in -1..1 or INT16; return a partial per step that changed the text.

        With endpoint rules also a final per utterance that ended, flushed at once, `audio_s` counted from each one's start.

        Raises InputError, and changes nothing, for another type or shape and for samples that are not finite; ClosedError after `close`.
        """
        heard, now_s = checked(samples), self.now()
        hearing = self._hearing
        waiting = now_s - self._left_s < (1 - BUSY) * len(heard) / hearing.sample_rate
        self._check_process()
        hearing.check_open()
        if not len(heard):
            return []
        work = partial(hearing.push, more_waits=waiting)
        inbox = self._inbox
        events = (
            inbox.push(Arrived(_own(heard, samples), now_s), work) if inbox else self._do(work([Arrived(heard, now_s)]))
        )
        self._left_s = self.now()
        return events

    def end_utterance(self, silence_ms: int = 0) -> Final:
        """End the utterance: flush the tail with synthesised silence at once, return the final, be ready for the next.

        The look-ahead is computed, not waited for: the frames that remain are computed with the end of the audio masked as in
        NeMo's offline forward of the same audio. Where a speaker is cut off at the last sample, as when a push-to-talk button is let
        go early, CTC often owes the last word: `silence_ms` of exact silence, computed too, brings it out. 160 is enough; it costs a
        step or two, counts in no `audio_s`, and is not what NeMo's offline forward does. Raises InputError for less than 0 and for
        more than 10,000, ClosedError after `close`.
        """
        return self._do(self._hearing.end("caller", self._asked(silence_ms), silence_ms))

    def feed(self, samples: Samples | Pcm, arrived_s: float | None = None) -> None:
        """Take samples as `push` does and return at once: what comes of them is given by `async for event in stream`.

        `arrived_s`: when they came, by the clock `now`; None: now. Events' `lag_ms` counts from there.

        Raises InputError as `push` does and for an `arrived_s` that is not finite, FullError where a minute of audio waits already; it
        takes nothing then. ClosedError after `close`.
        """
        self._check_process()
        self._hearing.check_open()
        at_s = self.now() if arrived_s is None else arrived_s
        if not math.isfinite(at_s):
            raise InputError(f"expected arrived_s as a time of the stream's clock, found {at_s}; None is now")
        if len(heard := checked(samples)):
            (self._inbox or self._scheduled()).feed(Arrived(_own(heard, samples), at_s))

    @property
    def waiting_s(self) -> float:
        """Audio that was fed and waits for its turn, in seconds: a caller who may feed faster than in real time waits while it is long."""
        return self._inbox.waiting_s if self._inbox else 0.0

    def feed_end(self, silence_ms: int = 0) -> None:
        """End the utterance as `end_utterance` does, after the audio so far, and return at once: the final comes among the events.

        Where the end's own work fails, an empty final comes after the error: each end that is asked for has one.
        """
        self._check_process()
        self._hearing.check_open()
        end = partial(self._hearing.end, "caller", self._asked(silence_ms), silence_ms)
        inbox, tell = self._scheduled(), self._mailbox.put

        def fail(error: BaseException) -> None:
            tell(error)
            tell([self._hearing.nothing_left()])

        inbox.add(Job(lambda _: end(), lambda final: tell([final]), fail))

    def __aiter__(self) -> "Stream":
        """Events of what is fed, until the stream is closed; for one task."""
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises what its work raised, after which more may come."""
        self._check_process()
        try:
            self._scheduled()
        except ClosedError:
            raise StopAsyncIteration from None
        event = await self._mailbox.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def _asked(self, silence_ms: int) -> float:
        """When an end was asked for. Raises InputError for silence that cannot be."""
        if not isinstance(silence_ms, int | float) or not 0 <= silence_ms <= MOST_SILENCE_MS:
            raise InputError(
                f"expected silence_ms from 0 to {MOST_SILENCE_MS}, found {silence_ms}; 160 is enough for a last word"
            )
        return self.now()

    def _do(self, work: Asking[T]) -> T:
        self._check_process()
        with self._one_at_a_time:
            if self._inbox is None:
                return done(self._hearing.turn(work), self._answer)
        return self._inbox.do(work)

    def _answer(self, ask: Ask) -> Any:  # noqa: ANN401 -- each kind's own
        return self._recognizer.backend.run([ask])[0] if isinstance(ask, Step) else ask.run()

    def _scheduled(self) -> Inbox:
        """Leave the work to the recogniser's scheduler from now on. Raises ClosedError where that begins after `close`."""
        with self._one_at_a_time:
            if self._inbox is None:
                self._hearing.check_open()
                scheduler = self._recognizer.scheduler
                self._mailbox = Mailbox(scheduler.ring)
                self._inbox = Inbox(self._hearing, scheduler.wake, self._mailbox.put)
            return self._inbox


def check_start(start_s: float) -> None:
    """Raise InputError for a start that is no time from 0 on."""
    if not isinstance(start_s, int | float) or not 0 <= start_s <= LATEST_S:
        raise InputError(f"expected a stream's start from 0 s on, found {start_s}; without one it is 0")


def _own(heard: Samples, samples: Samples | Pcm) -> Samples:
    """What may be kept, since the caller's array may be used again."""
    return heard.copy() if heard is samples else heard
