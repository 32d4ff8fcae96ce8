"""Audio at the pace of a microphone: a frame exists once its last sample was captured, on a real or a virtual clock."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from typing_extensions import override

from bench.partials import Shown
from bench.score.rates import retracted
from bench.session import FRAME_MS, Pace
from bench.speech.clips import Audio, Clip
from runtime import Event, Partial, Stream
from runtime.errors import InputError

FRAME_MS_RANGE = (20, 40)

T = TypeVar("T")


class Clock:
    """The wall clock, in seconds since `start`, the moment at which the first sample is captured.

    Deadlines are absolute, so oversleeping one of them does not move the next: no drift.
    """

    def __init__(
        self, timer: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._timer = timer
        self._sleep = sleep
        self._origin = timer()

    def start(self) -> None:
        """Set time zero."""
        self._origin = self._timer()

    def now(self) -> float:
        """Return the seconds since time zero."""
        return self._timer() - self._origin

    def wait_until(self, time_s: float) -> None:
        """Return once `now() >= time_s`; at once where that time has passed."""
        if (left := time_s - self.now()) > 0:
            self._sleep(left)  # which may take longer, never less

    def spend(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; the clock moves on by the time that it takes."""
        return work()


class VirtualClock(Clock):
    """A clock that skips the waiting and is moved by deadlines and by measured work only.

    Work that takes longer than a frame delays the frames after it exactly as it would in real time.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(timer)
        self._now = 0.0
        self._begun: float | None = None  # by the timer, of the work in progress

    @override
    def start(self) -> None:
        self._now = 0.0

    @override
    def now(self) -> float:
        return self._now + (0.0 if self._begun is None else self._timer() - self._begun)

    @override
    def wait_until(self, time_s: float) -> None:
        self._now = max(self._now, time_s)

    @override
    def spend(self, work: Callable[[], T]) -> T:
        self._begun = self._timer()
        result = work()
        self._now, self._begun = self.now(), None
        return result


def clock_of(pace: Pace) -> Clock:
    """Return the clock of a pace: `realtime` waits for each frame, `fast` does not."""
    return Clock() if pace == "realtime" else VirtualClock()


def check_frame_ms(frame_ms: int) -> None:
    """Raise InputError for a frame length that clients do not send."""
    low, high = FRAME_MS_RANGE
    if not low <= frame_ms <= high:
        raise InputError(f"--frame-ms: expected {low} to {high} ms, found {frame_ms}; take {FRAME_MS}")


@dataclass(frozen=True)
class Frame:
    """A frame that has arrived. Times are in seconds on the clock."""

    samples: Audio
    end: int
    """Samples of the audio up to the frame's end."""
    arrival_s: float
    """When its last sample was captured."""
    waited_s: float
    """How long it waited to be taken."""


def arrivals(samples: Audio, sample_rate: int, frame_ms: int, clock: Clock, start_s: float = 0.0) -> Iterator[Frame]:
    """Yield audio frame by frame, each not before it has arrived.

    Deadlines are absolute: frame i has arrived (i + 1) * frame_ms after `start_s`, the last one, which may be shorter, at the audio's end.
    Whoever takes the frames later than they arrive finds them waiting. Samples that have not arrived yet may still be changed.

    Args:
        samples: the audio.
        sample_rate: in Hz.
        frame_ms: frame length in ms.
        clock: started before.
        start_s: when the first sample is captured, in seconds on the clock.
    """
    length = sample_rate * frame_ms // 1000
    for begin in range(0, len(samples), length):
        frame = samples[begin : begin + length]
        end = begin + len(frame)
        arrival_s = start_s + end / sample_rate
        clock.wait_until(arrival_s)
        yield Frame(frame, end, arrival_s, clock.now() - arrival_s)


@dataclass(frozen=True)
class Heard:
    """An event, and the call that brought it. Times are in seconds on the clock."""

    event: Event
    arrival_s: float
    """Of the last frame up to it."""
    begin_s: float
    step_s: float
    """In steps within the call."""
    end_s: float


@dataclass
class Listened:
    """What came of a stream's audio, and what it took."""

    heard: list[Heard] = field(default_factory=list)
    """In order; the last is `final`, and the only one where partials are not kept."""
    first_text_s: float | None = None
    """When the first event with text came, on the clock; None where only the final has any, or none."""
    taken_back: int = 0
    """Words that a text took back of the one before it, the final's included."""
    push_s: list[float] = field(default_factory=list)
    """Seconds in `push`, frame by frame."""
    backlog_s: float = 0.0
    """Longest time that an arrived frame waited to be pushed."""
    catch_up_s: float = 0.0
    """Longest time from the arrival of a frame that the next one overtook until no other was waiting."""
    _before: str = ""

    @property
    def final(self) -> Heard:
        """The final of the audio's end."""
        return self.heard[-1]

    @property
    def partials(self) -> tuple[Shown, ...]:
        """Every partial that has text."""
        return tuple(
            Shown(heard.end_s, heard.event.text, heard.event.stable, len(heard.event.early))
            for heard in self.heard
            if isinstance(heard.event, Partial) and heard.event.text
        )

    def add(self, heard: Heard, *, is_last: bool, keep: bool) -> None:
        """Take note of an event; `keep`: those before it too."""
        text = heard.event.text
        if text and not is_last and self.first_text_s is None:
            self.first_text_s = heard.end_s
        if text or is_last:
            # What only grows, as greedy decoding's texts do, need not be taken apart: a stream of hours has a long one.
            self.taken_back += 0 if text.startswith(self._before) else retracted(self._before, text)
            self._before = text
        if not keep:
            self.heard.clear()
        self.heard.append(heard)


def listen(
    stream: Stream,
    clip: Clip,
    frame_ms: int,
    clock: Clock,
    *,
    step_s: Sequence[float] = (),
    on_frame: Callable[[float], None] = lambda _: None,
    keep_partials: bool = True,
) -> Listened:
    """Push a clip frame by frame as it arrives, then end the utterance.

    Args:
        stream: a fresh stream, or one whose utterance was ended.
        clip: the audio, at the stream's sample rate.
        frame_ms: frame length in ms, 20 to 40.
        clock: started here.
        step_s: seconds of each step so far; the recogniser adds to it.
        on_frame: called after each frame with the seconds of audio pushed so far, outside what is measured.
        keep_partials: False for one stream of hours, whose partials, each the whole text so far, would fill the memory.

    Raises:
        InputError: a frame length outside 20 to 40 ms.
    """
    check_frame_ms(frame_ms)
    listened = Listened()
    arrival_s = 0.0
    behind_since_s: float | None = None  # arrival of the first of the frames that the next one overtook

    def note(work: Callable[[], Sequence[Event]], *, is_last: bool = False) -> float:
        begin_s, steps = clock.now(), len(step_s)
        events = clock.spend(work)
        end_s = clock.now()
        for event in events:
            heard = Heard(event, arrival_s, begin_s, sum(step_s[steps:]), end_s)
            listened.add(heard, is_last=is_last, keep=keep_partials)
        return end_s - begin_s

    clock.start()
    stream.now = clock.now  # by which it sees that more audio is waiting, and leaves out early tokens
    for frame in arrivals(clip.samples, clip.sample_rate, frame_ms, clock):
        arrival_s = frame.arrival_s
        listened.backlog_s = max(listened.backlog_s, frame.waited_s)
        if behind_since_s is not None:
            listened.catch_up_s = max(listened.catch_up_s, arrival_s + frame.waited_s - behind_since_s)
        if frame.waited_s < frame_ms / 1e3:
            behind_since_s = None
        elif behind_since_s is None:
            behind_since_s = arrival_s
        listened.push_s.append(note(partial(stream.push, frame.samples)))
        on_frame(arrival_s)
    note(lambda: [stream.end_utterance()], is_last=True)
    return listened


def events_of(stream: Stream, *pieces: Audio) -> list[Event]:
    """Return the events of an utterance whose audio is all there, its final the last."""
    events = [event for piece in pieces for event in stream.push(piece)]
    return [*events, stream.end_utterance()]
