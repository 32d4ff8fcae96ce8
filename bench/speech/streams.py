"""`python -m bench streams`: latency against the number of streams of one process, up to the first number that misses the bound.

Each stream has a thread of its own, which takes audio at the pace of speech.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from rich.console import Console

from bench.figures import shown
from bench.rows import StreamsRow
from bench.session import SpeechOptions, Written
from bench.speech.arrivals import Clock, arrivals, events_of
from bench.speech.clips import Audio, Clip
from bench.speech.speech_session import WARM_UP_STEPS, SpeechSession, opened
from bench.summary import Keys, spread
from runtime import Event, Recognizer, Stream
from runtime.bundle import Bundle
from runtime.errors import CudaError, InputError

MOST_STREAMS = 1024
SECONDS = (1.0, 3600.0)
GIVE_UP_S = 1.0
"""An arrived frame that waited so long ends the run: it only gets later."""


@dataclass(frozen=True, kw_only=True)
class Options(SpeechOptions):
    """What to measure and how."""

    streams: str = "1,2,4,8,16,32,64,128,256"
    """Numbers of streams at once, ascending; the run ends with the first that misses the bound."""
    seconds: float = 12.0
    """Seconds of audio in each stream, which is how long a number of them takes."""
    slo_ms: float = 150.0
    """Bound on the 95th percentile of chunks and of finals, in ms."""

    def numbers(self) -> list[int]:
        """Return the numbers of streams. Raises InputError for options out of range."""
        words = self.streams.split(",")
        numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 9]
        ascending = numbers == sorted(set(numbers)) and len(numbers) == len(words)
        if not ascending or not 1 <= numbers[0] <= numbers[-1] <= MOST_STREAMS:
            raise InputError(
                f"--streams: expected ascending numbers from 1 to {MOST_STREAMS} with commas between, as 1,2,4, found {self.streams!r}"
            )
        low, high = SECONDS
        if not low <= self.seconds <= high:
            raise InputError(f"--seconds: expected {low:g} to {high:g} s of audio a stream, found {self.seconds:g}")
        if not 0 < self.slo_ms < np.inf:
            raise InputError(f"--slo-ms: expected a bound above 0 ms, found {self.slo_ms:g}; 150 is the project's")
        return numbers


@dataclass(frozen=True)
class Piece:
    """An utterance to feed: a clip, or its beginning where the time is over."""

    clip: int
    """Number of the clip."""
    samples: int


@dataclass
class Answers:
    """What one stream said, and when. Times are in seconds."""

    chunk_s: list[float] = field(default_factory=list)
    """From the arrival of a chunk's last frame to its events."""
    final_s: list[float] = field(default_factory=list)
    """From the arrival of an utterance's last frame to its final."""
    said: list[int] = field(default_factory=list)
    """Hash of the events of each utterance that was ended, in order: the events of hours of streams would fill the memory."""
    backlog_s: float = 0.0
    """Longest time that an arrived frame waited to be pushed."""
    audio_s: float = 0.0
    """Of the utterances that were ended."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file. Where the GPU has no room for a number of streams, the run ends with the number before.

    Raises:
        InputError: bad options, data or bundle; CudaError: the GPU fails, or has no room for the first number. Nothing is written then.
    """
    numbers = options.numbers()
    rows: list[StreamsRow] = []
    with opened(options, argv, console) as session:
        path, rate = session.path("streams"), session.recognizer.bundle.sample_rate
        clips = [clip for data_set in session.data.sets for clip in data_set.load(rate, mark_speech=False)]
        expected = cache(partial(alone, session.recognizer, clips))
        for number in numbers:
            try:
                streams = [session.recognizer.stream(early="off") for _ in range(number)]
            except CudaError as error:
                if not rows:
                    raise
                console.print(f"no room for {number} streams: {error}", style="bold yellow", highlight=False)
                break
            row = measure(session, options, clips, expected, streams, clock=Clock())
            rows.append(row)
            bound = "met" if row.slo_met else "given up" if row.given_up else "missed"
            console.print(
                f"{row.streams} streams: chunk ms p50 / p95 / p99 {shown([row.chunk_ms_p50, row.chunk_ms_p95, row.chunk_ms_p99], 1)}, "
                f"texts that differ {row.differing} of {row.clips}, bound {row.slo_ms:g} ms {bound}",
                highlight=False,
            )
            if not row.slo_met:
                break
        return session.data.write(path, [(row, ()) for row in rows])


def measure(
    session: SpeechSession,
    options: Options,
    clips: Sequence[Clip],
    expected: Callable[[Piece], list[Event]],
    streams: Sequence[Stream],
    *,
    clock: Clock,
) -> StreamsRow:
    """Feed clips to new streams of the recogniser at once and close them; `expected`: each piece's events, see `alone`.

    Raises CudaError where the GPU fails.
    """
    recognizer, bundle = session.recognizer, session.recognizer.bundle
    lengths = [len(clip.samples) for clip in clips]
    shares = pieces(lengths, len(streams), round(options.seconds * bundle.sample_rate))
    try:
        for stream in streams:  # warm-up, not in the figures
            stream.push(np.zeros(WARM_UP_STEPS * bundle.chunk_samples, np.float32))
            stream.reset()
        recognizer.forget_times()
        audio = [[clips[piece.clip].samples[: piece.samples] for piece in share] for share in shares]
        answers, took = play(bundle, streams, audio, options.frame_ms, clock)
        keys = session.row_keys(*session.data.sets)
    finally:
        for stream in streams:
            stream.close()
    differing = sum(
        said != hash(tuple(expected(piece)))
        for share, answer in zip(shares, answers, strict=True)
        for piece, said in zip(share, answer.said, strict=False)  # a run that was given up ended fewer
    )
    return StreamsRow(**keys, mode="streams", pace="realtime", **figures(answers, took, options.slo_ms, differing))


def alone(recognizer: Recognizer, clips: Sequence[Clip], piece: Piece) -> list[Event]:
    """Return an utterance's events in a stream that has the recogniser to itself."""
    with closing(recognizer.stream(early="off")) as stream:
        return events_of(stream, clips[piece.clip].samples[: piece.samples])


def pieces(lengths: Sequence[int], streams: int, samples: int) -> list[list[Piece]]:
    """Return what each stream is fed: `samples` samples of clips of these lengths in turn.

    Each begins with a clip of its own where there are enough.
    """
    shares = []
    for stream in range(streams):
        clip, left = stream * len(lengths) // streams, samples
        share = []
        while left:
            share.append(Piece(clip, min(left, lengths[clip])))
            left -= share[-1].samples
            clip = (clip + 1) % len(lengths)
        shares.append(share)
    return shares


def play(
    bundle: Bundle, streams: Sequence[Stream], audio: Sequence[Sequence[Audio]], frame_ms: int, clock: Clock
) -> tuple[list[Answers], Keys]:
    """Feed each stream its utterances, one after another without a gap, on a thread of its own.

    An utterance's frames arrive from where the one before ends. Streams start spread over a chunk. Once a frame has waited for GIVE_UP_S,
    all stop.

    Args:
        bundle: of the streams.
        streams: at an utterance's start.
        audio: of each stream, its utterances.
        frame_ms: frame length in ms.
        clock: of all threads; started once all of them are there.

    Returns:
        What each stream said, and keys of a row: whether a frame waited for so long, and the cores that it took.

    Raises:
        The first error of a stream, once all have stopped.
    """
    stop = threading.Event()
    ready = threading.Barrier(len(streams), clock.start)
    rate = bundle.sample_rate
    chunk_s = bundle.chunk_samples / rate
    starts = [place * chunk_s / len(streams) for place in range(len(streams))]

    def play_one(stream: Stream, utterances: Sequence[Audio], start_s: float) -> Answers:
        answers = Answers()
        try:
            ready.wait()
            for samples in utterances:
                events: list[Event] = []
                steps, arrival_s = 0, 0.0
                for frame in arrivals(samples, rate, frame_ms, clock, start_s + answers.audio_s):
                    answers.backlog_s = max(answers.backlog_s, frame.waited_s)
                    if frame.waited_s > GIVE_UP_S:
                        stop.set()
                    if stop.is_set():
                        return answers
                    events += stream.push(frame.samples)
                    before, steps, arrival_s = steps, steps_of(bundle, frame.end), frame.arrival_s
                    if steps > before:
                        answers.chunk_s.append(clock.now() - arrival_s)
                events.append(stream.end_utterance())
                answers.final_s.append(clock.now() - arrival_s)
                answers.said.append(hash(tuple(event.at(0.0) for event in events)))
                answers.audio_s += len(samples) / rate
        except BaseException:
            stop.set()  # the other streams end with the frame that they are in
            raise
        return answers

    begin, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(streams)) as threads:
        try:
            answers = list(threads.map(play_one, streams, audio, starts))
        except BaseException:
            stop.set()
            raise
        finally:
            ready.abort()  # where a thread could not be started, the others would wait for it
    cpu_cores = (time.process_time() - cpu) / (time.perf_counter() - begin)  # of all the process's threads
    return answers, {"given_up": stop.is_set(), "cpu_cores": cpu_cores}


def steps_of(bundle: Bundle, samples: int) -> int:
    """Return how many steps run on the first `samples` samples of an utterance that goes on."""
    return max(0, (samples - bundle.first_step_samples) // bundle.chunk_samples + 1)


def figures(answers: Sequence[Answers], took: Keys, slo_ms: float, differing: int) -> Keys:
    """Return keys of a row: what the streams said, against a bound in ms; `differing`: utterances that differ from a single run's."""
    chunk_ms = [1e3 * seconds for answer in answers for seconds in answer.chunk_s]
    chunk = spread("chunk_ms", chunk_ms, p99=True)
    final = spread("final_ms", (1e3 * seconds for answer in answers for seconds in answer.final_s))
    within = all(p95 is None or p95 <= slo_ms for p95 in (chunk["chunk_ms_p95"], final["final_ms_p95"]))
    return {
        **chunk,
        **final,
        **took,
        "streams": len(answers),
        "slo_ms": slo_ms,
        "slo_met": within and not took["given_up"] and not differing,
        "chunks": len(chunk_ms),
        "late_chunks": sum(ms > slo_ms for ms in chunk_ms),
        "backlog_ms_max": max(1e3 * answer.backlog_s for answer in answers),
        "clips": sum(len(answer.said) for answer in answers),
        "differing": differing,
        "audio_minutes": sum(answer.audio_s for answer in answers) / 60,
    }
