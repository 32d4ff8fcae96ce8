"""Audio at the pace of a microphone: a frame exists once its last sample was captured, on a real or a virtual clock."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bench.speech.onset import Speech
from runtime.errors import InputError

FRAME_MS = 20
FRAME_MS_RANGE = (20, 40)

T = TypeVar("T")


class TextEvent(Protocol):
    """What a stream returns: a hypothesis for the whole audio so far."""

    @property
    def text(self) -> str:
        """The hypothesis."""


class SpeechStream(Protocol):
    """The part of `runtime.Stream` that the feed uses."""

    def push(self, samples: npt.NDArray[np.float32], /) -> Sequence[TextEvent]:
        """Take samples [n]; return what became known."""

    def end_utterance(self) -> TextEvent:
        """End the utterance; the stream is ready for the next."""


class Clock(Protocol):
    """Seconds since `start`, the moment at which the first sample is captured."""

    def start(self) -> None:
        """Set time zero."""

    def now(self) -> float:
        """Seconds since time zero."""

    def wait_until(self, time_s: float) -> None:
        """Return once `now() >= time_s`; at once where that time has passed."""

    def timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do `work`; return its result and the seconds it took."""


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

    def timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """See Clock.timed."""
        begin = self._timer()
        result = work()
        return result, self._timer() - begin


class VirtualClock:
    """A clock that skips the waiting and is moved by deadlines and by measured work only.

    Work that takes longer than a frame delays the frames behind it exactly as it would in real time.
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

    def timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """See Clock.timed."""
        begin = self._timer()
        result = work()
        seconds = self._timer() - begin
        self._now += seconds
        return result, seconds


@dataclass(frozen=True)
class Clip:
    """Audio to feed and what is known of it."""

    name: str  # as bench.speech.clips.DataSet.clip_name has it, or the data set's name for its clips as one stream
    samples: npt.NDArray[np.float32]  # [samples], -1..1
    sample_rate: int  # Hz
    reference: str  # transcript as published
    speech: Speech | None  # where speech begins and ends; None: not marked, or no speech found

    @property
    def audio_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class UtteranceResult:
    """One clip, recognised. Times in seconds count from the capture of its first sample."""

    clip: str
    hypothesis: str
    reference: str
    audio_s: float
    frame_s: tuple[float, ...]  # seconds in `push`, frame by frame
    finish_s: float  # seconds in `end_utterance`
    first_partial_ms: float | None  # first non-empty partial, from audio start; None: there was none
    first_partial_onset_ms: float | None  # the same from speech onset; None also where no onset is known
    final_ms: float  # Final, from the arrival of the last frame
    final_speech_end_ms: float | None  # Final, from the end of speech; None where no end is known
    backlog_ms: float  # longest time that an arrived frame waited to be pushed
    catch_up_ms: float  # longest time from the arrival of a frame that the next one overtook until no other was waiting
    partials: tuple[tuple[float, str], ...]  # (seconds, hypothesis) of every non-empty partial
    speech: Speech | None

    @property
    def busy_s(self) -> float:
        """Seconds spent in `push` and `end_utterance`."""
        return sum(self.frame_s) + self.finish_s


def with_speech(name: str, clips: Sequence[Clip]) -> list[tuple[Clip, Speech]]:
    """The clips, out of the data set of that name, in which speech was found. Raises InputError where there are none."""
    found = [(clip, clip.speech) for clip in clips if clip.speech is not None]
    if not found:
        raise InputError(
            f"{name}: expected speech, found none in its {len(clips)} clips by Silero VAD; take another data set, or record it louder"
        )
    return found


def check_frame_ms(frame_ms: int) -> int:
    """Return the frame length if the feed takes it. Raises InputError otherwise."""
    low, high = FRAME_MS_RANGE
    if not low <= frame_ms <= high:
        raise InputError(f"--frame-ms: expected {low} to {high} ms, found {frame_ms}; take {FRAME_MS}")
    return frame_ms


def feed(
    stream: SpeechStream,
    clip: Clip,
    frame_ms: int,
    clock: Clock,
    on_frame: Callable[[float], None] | None = None,
) -> UtteranceResult:
    """Push a clip frame by frame as it arrives, then end the utterance.

    Frame i has arrived at (i + 1) * frame_ms; the last one, which may be shorter, at the clip's end.

    Args:
        stream: a fresh stream, or one whose utterance was ended.
        clip: the audio, at the stream's sample rate.
        frame_ms: frame length in ms, 20 to 40.
        clock: RealClock waits for each frame; VirtualClock does not.
        on_frame: called after each frame with the seconds of audio pushed so far, outside what is measured.

    Raises:
        InputError: a frame length outside 20 to 40 ms.
    """
    step = clip.sample_rate * check_frame_ms(frame_ms) // 1000
    frame_s: list[float] = []
    partials: list[tuple[float, str]] = []
    backlog = catch_up = arrival = 0.0
    behind_since: float | None = None  # arrival of the first of the frames that the next one overtook
    clock.start()
    for begin in range(0, len(clip.samples), step):
        frame = clip.samples[begin : begin + step]
        arrival = (begin + len(frame)) / clip.sample_rate
        clock.wait_until(arrival)
        waited = clock.now() - arrival
        backlog = max(backlog, waited)
        if behind_since is not None:
            catch_up = max(catch_up, arrival + waited - behind_since)
        if waited < frame_ms / 1e3:
            behind_since = None
        elif behind_since is None:
            behind_since = arrival
        events, seconds = clock.timed(partial(stream.push, frame))
        frame_s.append(seconds)
        partials.extend((clock.now(), event.text) for event in events if event.text)
        if on_frame:
            on_frame(arrival)
    final, finish_s = clock.timed(stream.end_utterance)
    end = clock.now()
    first = partials[0][0] if partials else None
    return UtteranceResult(
        clip=clip.name,
        hypothesis=final.text,
        reference=clip.reference,
        audio_s=clip.audio_s,
        frame_s=tuple(frame_s),
        finish_s=finish_s,
        first_partial_ms=None if first is None else first * 1e3,
        first_partial_onset_ms=None if first is None or clip.speech is None else (first - clip.speech.onset_s) * 1e3,
        final_ms=(end - arrival) * 1e3,
        final_speech_end_ms=None if clip.speech is None else (end - clip.speech.end_s) * 1e3,
        backlog_ms=backlog * 1e3,
        catch_up_ms=catch_up * 1e3,
        partials=tuple(partials),
        speech=clip.speech,
    )
