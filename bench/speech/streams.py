"""`python -m bench streams`: latency against the number of streams of one process, up to the first number that misses the bound.

All streams are fed from one event loop, at the pace of speech, as a server does.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import numpy as np
from rich.console import Console

from bench.figures import shown
from bench.process import cpu_s
from bench.rows import StreamsRow
from bench.session import SpeechOptions, Written
from bench.speech.answers import Answers, texts_of
from bench.speech.arrivals import Clock
from bench.speech.clips import Clip
from bench.speech.fed import Fed, FedStream, play
from bench.speech.speech_session import SpeechSession, opened
from bench.summary import Keys, spread
from runtime import EndpointRules, Final, Recognizer
from runtime.audio import INT16_FULL_SCALE, Pcm
from runtime.early import Early
from runtime.errors import CudaError, FullError, InputError
from runtime.hearing import StreamOptions

MOST_STREAMS = 4096
SECONDS = (1.0, 3600.0)
START_S = 1.0
"""Streams start within so long, at random."""


@dataclass(frozen=True, kw_only=True)
class Options(SpeechOptions):
    """What to measure and how."""

    streams: str = "1,2,4,8,16,32,64,128,256"
    """Numbers of streams at once, ascending; the run ends with the first that misses the bound."""
    batched: bool = False
    """Run the steps of all streams together, by the plan of `make engines BATCH=1`."""
    endpoints: bool = False
    """Let utterances end themselves too, as in a conversation."""
    early: Early = "off"
    """Tokens shown before their look-ahead has arrived: off, steady or eager."""
    seconds: float = 12.0
    """Seconds of audio in each stream, which is how long a number of them takes."""
    slo_ms: float = 150.0
    """Bound on the 95th percentile of chunks and of finals, in ms."""
    seed: int = 0
    """Of the streams' starts."""

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

    @property
    def max_streams(self) -> int | None:
        """Streams that the recogniser is opened for."""
        return self.numbers()[-1] if self.batched else None


@dataclass(frozen=True)
class Piece:
    """An utterance to feed: a clip, or its beginning where the time is over."""

    clip: int
    """Number of the clip."""
    samples: int


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file. Where the GPU has no room for a number of streams, the run ends with the number before.

    Raises:
        InputError: bad options, data or bundle; CudaError: the GPU fails, or has no room for the first number. Nothing is written then.
    """
    numbers = options.numbers()
    rows: list[StreamsRow] = []
    with opened(options, argv, console) as session:
        path, rate = (
            session.path("batched-streams" if options.batched else "streams"),
            session.recognizer.bundle.sample_rate,
        )
        loaded = [clip for data_set in session.data.sets for clip in data_set.load(rate, mark_speech=False)]
        clips = [pcm(clip) for clip in loaded]
        expected = cache(partial(alone, session.recognizer, options, clips))
        for number in numbers:
            try:
                row = measure(session, options, clips, expected, number, clock=Clock())
            except (CudaError, FullError) as error:
                if not rows:
                    raise
                console.print(f"no room for {number} streams: {error}", style="bold yellow", highlight=False)
                break
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
    clips: Sequence[Pcm],
    expected: Callable[[int], int],
    number: int,
    *,
    clock: Clock,
) -> StreamsRow:
    """Feed clips to so many new streams of the recogniser at once and close them; `expected`: what is said of a clip alone, see `alone`.

    Raises CudaError where the GPU fails or has no room, FullError where the recogniser has none.
    """
    recognizer, bundle = session.recognizer, session.recognizer.bundle
    rate, lengths = bundle.sample_rate, [len(clip) for clip in clips]
    shares = pieces(lengths, number, round(options.seconds * rate))
    for clip in {piece.clip for share in shares for piece in share}:
        expected(clip)  # now, which is the warm-up too
    starts = np.random.default_rng(options.seed).uniform(0.0, START_S, number)
    streams: list[FedStream] = []
    try:
        streams.extend(FedStream(recognizer, stream_options(options)) for _ in range(number))
        fed = [
            Fed(
                stream,
                [clips[piece.clip][: piece.samples] for piece in share],
                start,
                rate,
                rate * options.frame_ms // 1000,
            )
            for stream, share, start in zip(streams, shares, starts.tolist(), strict=True)
        ]
        recognizer.forget_times()
        begin, cpu = time.perf_counter(), cpu_s()
        with ThreadPoolExecutor(1) as thread:  # where this is called there may be a loop already
            given_up = thread.submit(asyncio.run, play(fed, clock)).result()
        took_s = time.perf_counter() - begin
        took = {"given_up": given_up, "cpu_cores": (cpu_s() - cpu) / took_s, **runs(session, took_s)}
        keys = session.row_keys(*session.data.sets)
    finally:
        for stream in streams:
            stream.close()
    whole = [
        (said, piece.clip)
        for share, each in zip(shares, fed, strict=True)
        for piece, said in zip(share, each.answers.said, strict=False)  # a run that was given up ended fewer
        if piece.samples == lengths[piece.clip]
    ]
    differing = sum(said != expected(clip) for said, clip in whole)
    answers = [each.answers for each in fed]
    return StreamsRow(
        **keys,
        mode="streams",
        pace="realtime",
        batched=options.batched,
        endpoints=options.endpoints,
        early_tokens=options.early,
        compared=len(whole),
        **figures(answers, took, options.slo_ms, differing),
    )


def pcm(clip: Clip) -> Pcm:
    """Return a clip as a client sends it."""
    return (clip.samples * (INT16_FULL_SCALE - 1)).round().astype(np.int16)


def stream_options(options: Options) -> StreamOptions:
    """Return how each stream hears."""
    return StreamOptions(EndpointRules() if options.endpoints else None, early=options.early)


def alone(recognizer: Recognizer, options: Options, clips: Sequence[Pcm], clip: int) -> int:
    """Return what a stream says of a clip that has the recogniser to itself, as `texts_of` has it."""
    stream = recognizer.stream(stream_options(options).endpoints, early="off")
    try:
        finals = [event for event in stream.push(clips[clip]) if isinstance(event, Final)]
        return texts_of([*finals, stream.end_utterance()])
    finally:
        stream.close()


def runs(session: SpeechSession, took_s: float) -> Keys:
    """Return keys of a row: how many streams' steps ran together, and for what share of the time any did."""
    timed = session.recognizer.timed
    return {
        "streams_in_run": median(timed.in_run) if timed.in_run else None,
        "run_share": sum(timed.run_s) / took_s,
    }


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
