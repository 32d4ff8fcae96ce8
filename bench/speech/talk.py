"""Clips of a data set with silences between them as one stream, fed as it would arrive; what of each clip was found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.speech.feed import Clip, Clock, with_speech
from runtime import Event, Stream

SILENCE_S = (0.8, 2.0)  # uniform, after each clip
NOISE = 1e-3  # standard deviation of the silence: -60 dB of full scale
LATE_S = 1.0  # from the end of speech
DEFINITION = (
    f"the data set's clips in order, after each a silence of {SILENCE_S[0]} to {SILENCE_S[1]} s (uniform, seeded) of white noise at "
    f"-60 dB of full scale, as one stream"
)

Verdict = Literal["found", "late", "early", "missed"]


@dataclass(frozen=True)
class Spoken:
    """A clip within the stream; seconds from the stream's start."""

    clip: Clip
    start_s: float
    onset_s: float
    end_s: float


@dataclass(frozen=True)
class Talk:
    """The stream and who spoke when."""

    samples: npt.NDArray[np.float32]  # [samples]
    sample_rate: int  # Hz
    spoken: tuple[Spoken, ...]


@dataclass(frozen=True)
class Heard:
    """An event and the push that brought it, in seconds on the clock."""

    event: Event
    arrival_s: float  # of the frame
    begin_s: float
    step_s: float  # in steps
    end_s: float


@dataclass(frozen=True)
class Listened:
    """What came of a stream's audio."""

    heard: list[Heard]
    backlog_ms: float  # longest time that an arrived frame waited to be pushed


def talk(name: str, clips: Sequence[Clip], seed: int) -> Talk:
    """Put a data set's clips of one rate, their speech marked, into one stream; those without speech are left out.

    Raises InputError where none has speech.
    """
    random = np.random.default_rng(seed)
    pieces: list[npt.NDArray[np.float32]] = []
    spoken, samples = [], 0
    for clip, speech in with_speech(name, clips):
        start_s = samples / clip.sample_rate
        spoken.append(Spoken(clip, start_s, start_s + speech.onset_s, start_s + speech.end_s))
        silence = random.normal(0, NOISE, round(random.uniform(*SILENCE_S) * clip.sample_rate)).astype(np.float32)
        pieces += [clip.samples, silence]
        samples += len(clip.samples) + len(silence)
    return Talk(np.concatenate(pieces), clips[0].sample_rate, tuple(spoken))


def listen(
    stream: Stream,
    audio: Talk,
    frame_ms: int,
    clock: Clock,
    *,
    stepped_s: Callable[[], float],
    on_frame: Callable[[float], None] = lambda _: None,
) -> Listened:
    """Push the stream's audio frame by frame as it arrives, and end it. `stepped_s`: seconds in steps so far."""
    heard: list[Heard] = []
    step = audio.sample_rate * frame_ms // 1000
    arrival = backlog_s = 0.0
    clock.start()

    def note(work: Callable[[], Sequence[Event]]) -> None:
        begin, stepped = clock.now(), stepped_s()
        events, _ = clock.timed(work)
        heard.extend(Heard(event, arrival, begin, stepped_s() - stepped, clock.now()) for event in events)

    for start in range(0, len(audio.samples), step):
        frame = audio.samples[start : start + step]
        arrival = (start + len(frame)) / audio.sample_rate
        clock.wait_until(arrival)
        backlog_s = max(backlog_s, clock.now() - arrival)
        note(partial(stream.push, frame))
        on_frame(arrival)
    note(lambda: [stream.end_utterance()])
    return Listened(heard, 1e3 * backlog_s)


def verdicts(spoken: Sequence[Spoken], cuts: Sequence[float]) -> list[Verdict]:
    """What the endpoints at `cuts`, in seconds, ascending, did to each clip.

    Early: a cut within its speech. Otherwise the first cut after its end and before the next onset: found, late beyond LATE_S, or
    missed where there is none.
    """
    found: list[Verdict] = []
    for place, each in enumerate(spoken):
        following = spoken[place + 1].onset_s if place + 1 < len(spoken) else np.inf
        after = [cut for cut in cuts if each.end_s <= cut <= following]
        if any(each.onset_s < cut < each.end_s for cut in cuts):
            found.append("early")
        elif not after:
            found.append("missed")
        else:
            found.append("found" if after[0] - each.end_s <= LATE_S else "late")
    return found
