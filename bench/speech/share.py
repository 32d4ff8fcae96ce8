"""One process's share of many streams: fed at the pace of speech, timed, and compared with each clip alone."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.resource_tracker import ensure_running
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from bench.process import cpu_s
from bench.speech.answers import Answers, texts_of
from bench.speech.arrivals import Clock
from bench.speech.clips import Clip, seeded
from bench.speech.fed import Fed, FedStream, play
from bench.speech.speech_session import SpeechSession, opened
from bench.summary import Keys
from runtime import EndpointRules, Final, Recognizer
from runtime.audio import INT16_FULL_SCALE, Pcm
from runtime.errors import CudaError, FullError, InputError, LostError
from runtime.hearing import StreamOptions

if TYPE_CHECKING:
    from bench.speech.streams import Options

START_S = 1.0
"""Streams start within so long, at random."""
READY_S = 300.0
"""For a process to open its recogniser and hear each clip alone."""


@dataclass(frozen=True)
class Piece:
    """An utterance to feed: a clip, or its beginning where the time is over."""

    clip: int
    """Number of the clip."""
    samples: int


@dataclass(frozen=True)
class Share:
    """What the streams of one process came to."""

    answers: list[Answers]
    took: Keys
    """Of a row: whether the run was given up, cores, streams in a run, share of the time in runs."""
    keys: Keys
    """Of a row: what ran, on what."""
    compared: int
    """Utterances."""
    differing: int
    """Of them, those whose finals are not those of the same audio alone."""


class Streams:
    """A recogniser and clips to feed it with."""

    def __init__(self, session: SpeechSession, options: "Options", expected: Mapping[int, bytes] | None = None) -> None:
        """`expected`: what is said of clips alone, by their numbers, as far as that is known; see `expect`.

        Raises InputError where the clips cannot be read.
        """
        self._session, self._options = session, options
        self._rate = session.recognizer.bundle.sample_rate
        self._rules = EndpointRules() if options.endpoints else None
        loaded = [clip for data_set in session.data.sets for clip in data_set.load(self._rate, mark_speech=False)]
        self._clips = [pcm(clip) for clip in loaded]
        self._expected = dict(expected or {})

    def expect(self, number: int) -> Mapping[int, bytes]:
        """Return what is said of each clip alone that so many streams are fed, by its number."""
        shares = self._shares(number)
        for clip in {piece.clip for share in shares for piece in share} - self._expected.keys():
            self._expected[clip] = self._alone(clip)
        return self._expected

    def _shares(self, number: int) -> list[list[Piece]]:
        return pieces([len(clip) for clip in self._clips], number, round(self._options.seconds * self._rate))

    def feed(self, number: int, *, ready: Callable[[], None] = lambda: None, clock: Clock) -> Share:
        """Feed clips to so many new streams at once and close them; `ready` is called before the first frame, and may wait.

        Raises CudaError where the GPU fails or has no room, FullError where the recogniser has none.
        """
        recognizer, rate, options = self._session.recognizer, self._rate, self._options
        shares, expected = self._shares(number), self.expect(number)  # which is the warm-up too
        starts = seeded(options.seed).uniform(0.0, START_S, number).tolist()
        frame, asked = rate * options.frame_ms // 1000, StreamOptions(self._rules, early=options.early)
        with streams_of(recognizer, asked, number) as streams:
            fed = [
                Fed(stream, [self._clips[piece.clip][: piece.samples] for piece in share], start_s, rate, frame)
                for stream, share, start_s in zip(streams, shares, starts, strict=True)
            ]
            ready()
            recognizer.forget_times()
            begin, cpu = time.perf_counter(), cpu_s()
            with ThreadPoolExecutor(1) as thread:  # where this is called there may be a loop already
                given_up = thread.submit(asyncio.run, play(fed, clock)).result()
            took_s = time.perf_counter() - begin
            took = {"given_up": given_up, "cpu_cores": (cpu_s() - cpu) / took_s, **self._runs(took_s)}
            keys = self._session.row_keys(*self._session.data.sets)
        whole = [
            (said, piece.clip)
            for share, each in zip(shares, fed, strict=True)
            for piece, said in zip(share, each.answers.said, strict=False)  # a run that was given up ended fewer
            if piece.samples == len(self._clips[piece.clip])
        ]
        differing = sum(said != expected[clip] for said, clip in whole)
        return Share([each.answers for each in fed], took, keys, len(whole), differing)

    def _alone(self, clip: int) -> bytes:
        """What a stream says of a clip that has the recogniser to itself, as `texts_of` has it."""
        stream = self._session.recognizer.stream(self._rules, early="off")
        try:
            finals = [event for event in stream.push(self._clips[clip]) if isinstance(event, Final)]
            return texts_of([*finals, stream.end_utterance()])
        finally:
            stream.close()

    def _runs(self, took_s: float) -> Keys:
        """How many streams' steps ran together, and for what share of the time any did."""
        timed = self._session.recognizer.timed
        in_run = median(timed.in_run) if timed.in_run else None
        return {"streams_in_run": in_run, "run_share": sum(timed.run_s) / took_s}


@contextmanager
def streams_of(recognizer: Recognizer, options: StreamOptions, number: int) -> Iterator[list[FedStream]]:
    """So many new streams, closed at the end."""
    streams: list[FedStream] = []
    try:
        streams.extend(FedStream(recognizer, options) for _ in range(number))
        yield streams
    finally:
        for stream in streams:
            stream.close()


def pcm(clip: Clip) -> Pcm:
    """Return a clip as a client sends it."""
    return (clip.samples * (INT16_FULL_SCALE - 1)).round().astype(np.int16)


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


def feed_in_processes(
    options: "Options", argv: Sequence[str], number: int, expected: Mapping[int, bytes]
) -> list[Share]:
    """Feed so many streams in `options.processes` processes, each with a recogniser of its own, which begin at the same time.

    `expected`: what is said of each clip alone. It is not heard in each process again, where all would share the GPU.

    Raises InputError, CudaError, FullError or LostError as the first that fails says it.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # what takes longest to start is done once
    ends, processes = [], []
    try:
        for place in range(options.processes):
            share = number // options.processes + (place < number % options.processes)
            here, there = context.Pipe()
            own = replace(options, seed=options.seed + place)
            process = context.Process(target=_feed, args=(there, own, list(argv), share, expected), daemon=True)
            with _without_interrupt():
                process.start()
            processes.append(process)
            there.close()  # so that its end is seen
            ends.append(here)
        for end in ends:
            _received(end, READY_S)
        for end in ends:
            with suppress(OSError):  # it has ended, which the next line tells
                end.send(None)
        return [_received(end, None) for end in ends]
    finally:
        for process in processes:
            process.terminate()
            process.join()


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """A process that is started here, as the one that forks others, never sees Ctrl-C, which a terminal sends to it too.

    This one ends it.
    """
    ensure_running()  # where it is not yet, it would let SIGINT through again
    before = pthread_sigmask(SIG_BLOCK, {SIGINT})
    try:
        yield
    finally:
        pthread_sigmask(SIG_SETMASK, before)


def _received(end: Connection, within_s: float | None) -> Any:  # noqa: ANN401 -- that it is ready, or its share
    try:
        if not end.poll(within_s):
            raise InputError(
                f"expected a process of streams to be ready within {within_s:.0f} s, found that it is not; ask for fewer processes"
            )
        found = end.recv()
    except (EOFError, OSError):
        raise InputError(
            "expected a process of streams to tell what it measured, found that it ended, as where memory runs out; what it said of it "
            "stands above"
        ) from None
    if isinstance(found, BaseException):
        raise found
    return found


def _feed(end: Connection, options: "Options", argv: list[str], number: int, expected: Mapping[int, bytes]) -> None:
    """A process: say that it is ready, wait for the others, feed, send the share."""

    def ready() -> None:
        end.send(None)
        end.recv()

    try:
        with opened(options, argv, Console(quiet=True)) as session:
            end.send(Streams(session, options, expected).feed(number, ready=ready, clock=Clock()))
    except (InputError, CudaError, FullError, LostError) as error:
        end.send(error)
