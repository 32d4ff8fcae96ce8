"""Audio at the pace of a microphone: a frame exists once its last sample was captured, on a real or a virtual clock."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bench.session import FRAME_MS, Pace
from runtime import Event, Stream
from runtime.errors import InputError

FRAME_MS_RANGE = (20, 40)

Audio = npt.NDArray[np.float32]
"""[samples], -1..1."""
T = TypeVar("T")


class Clock(Protocol):
    """Seconds since `start`, the moment at which the first sample is captured."""

    def start(self) -> None:
        """Set time zero."""

    def now(self) -> float:
        """Return the seconds since time zero."""

    def wait_until(self, time_s: float) -> None:
        """Return once `now() >= time_s`; at once where that time has passed."""

    def spend(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; the clock moves on by the time that it takes."""


class RealClock:
    """The wall clock. Deadlines are absolute, so oversleeping one of them does not move the next: no drift."""

    def __init__(
        self, timer: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._timer = timer
        self._sleep = sleep
        self._origin = timer()

    def start(self) -> None:
        """See Clock.start."""
        self._origin = self._timer()

    def now(self) -> float:
        """See Clock.now."""
        return self._timer() - self._origin

    def wait_until(self, time_s: float) -> None:
        """See Clock.wait_until."""
        if (left := time_s - self.now()) > 0:
            self._sleep(left)  # which may take longer, never less

    def spend(self, work: Callable[[], T]) -> T:
        """See Clock.spend."""
        return work()


class VirtualClock:
    """A clock that skips the waiting and is moved by deadlines and by measured work only.

    Work that takes longer than a frame delays the frames after it exactly as it would in real time.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._now = 0.0

    def start(self) -> None:
        """See Clock.start."""
        self._now = 0.0

    def now(self) -> float:
        """See Clock.now."""
        return self._now

    def wait_until(self, time_s: float) -> None:
        """See Clock.wait_until."""
        self._now = max(self._now, time_s)

    def spend(self, work: Callable[[], T]) -> T:
        """See Clock.spend."""
        begin = self._timer()
        result = work()
        self._now += self._timer() - begin
        return result


def clock_of(pace: Pace) -> Clock:
    """Return the clock of a pace: `realtime` waits for each frame, `fast` does not."""
    return RealClock() if pace == "realtime" else VirtualClock()


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
    begin_s: float
    """When it was taken."""

    @property
    def waited_s(self) -> float:
        """How long the frame waited to be taken."""
        return self.begin_s - self.arrival_s


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
        yield Frame(frame, end, arrival_s, clock.now())


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
    """In order; the last is `final`."""
    push_s: list[float] = field(default_factory=list)
    """Seconds in `push`, frame by frame."""
    backlog_s: float = 0.0
    """Longest time that an arrived frame waited to be pushed."""
    catch_up_s: float = 0.0
    """Longest time from the arrival of a frame that the next one overtook until no other was waiting."""

    @property
    def final(self) -> Heard:
        """The final of the audio's end."""
        return self.heard[-1]

    @property
    def partials(self) -> tuple[tuple[float, str], ...]:
        """Seconds and text of every event before the final that has text."""
        return tuple((heard.end_s, heard.event.text) for heard in self.heard[:-1] if heard.event.text)


def listen(
    stream: Stream,
    samples: Audio,
    sample_rate: int,
    frame_ms: int,
    clock: Clock,
    *,
    stepped_s: Callable[[], float] = lambda: 0.0,
    on_frame: Callable[[float], None] = lambda _: None,
) -> Listened:
    """Push audio frame by frame as it arrives, then end the utterance.

    Args:
        stream: a fresh stream, or one whose utterance was ended.
        samples: the audio, at the stream's sample rate.
        sample_rate: in Hz.
        frame_ms: frame length in ms, 20 to 40.
        clock: started here.
        stepped_s: returns the seconds in steps so far.
        on_frame: called after each frame with the seconds of audio pushed so far, outside what is measured.

    Raises:
        InputError: a frame length outside 20 to 40 ms.
    """
    check_frame_ms(frame_ms)
    listened = Listened()
    arrival_s = 0.0
    behind_since_s: float | None = None  # arrival of the first of the frames that the next one overtook

    def note(work: Callable[[], Sequence[Event]]) -> float:
        begin_s, before_s = clock.now(), stepped_s()
        events = clock.spend(work)
        end_s, step_s = clock.now(), stepped_s() - before_s
        listened.heard.extend(Heard(event, arrival_s, begin_s, step_s, end_s) for event in events)
        return end_s - begin_s

    clock.start()
    for frame in arrivals(samples, sample_rate, frame_ms, clock):
        arrival_s = frame.arrival_s
        listened.backlog_s = max(listened.backlog_s, frame.waited_s)
        if behind_since_s is not None:
            listened.catch_up_s = max(listened.catch_up_s, frame.begin_s - behind_since_s)
        if frame.waited_s < frame_ms / 1e3:
            behind_since_s = None
        elif behind_since_s is None:
            behind_since_s = arrival_s
        listened.push_s.append(note(partial(stream.push, frame.samples)))
        on_frame(arrival_s)
    note(lambda: [stream.end_utterance()])
    return listened
