"""Streams at once, a thread each: audio at the pace of speech, and when the events of each chunk were there."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.speech.feed import Clock
from runtime import Event, Stream
from runtime.bundle import Bundle

GIVE_UP_S = 1.0  # an arrived frame that waited so long ends the run: it only gets later

Audio = npt.NDArray[np.float32]
"""[samples], of one utterance."""


@dataclass(frozen=True)
class Piece:
    """An utterance to feed: a clip, or its beginning where the time is over."""

    clip: int  # number of the clip
    samples: int


@dataclass
class Told:
    """What one stream was told, and when. Seconds."""

    chunk_s: list[float] = field(default_factory=list)  # from the arrival of a chunk's last frame to its events
    final_s: list[float] = field(default_factory=list)  # from the arrival of an utterance's last frame to its final
    events: list[list[Event]] = field(default_factory=list)  # of each utterance that was ended, in order
    backlog_s: float = 0.0  # longest that an arrived frame waited to be pushed
    audio_s: float = 0.0  # of the utterances that were ended


@dataclass(frozen=True)
class Parallel:
    """What all streams were told, and what it took."""

    told: list[Told]
    wall_s: float
    cpu_s: float  # of all the process's threads
    given_up: bool  # whether a frame waited for longer than GIVE_UP_S


def pieces(lengths: Sequence[int], streams: int, samples: int) -> list[list[Piece]]:
    """What each stream is fed: `samples` samples of clips of these lengths in turn, from a clip of its own on where there are enough."""
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
) -> Parallel:
    """Feed each stream its utterances, one after another without a gap, on a thread of its own.

    Deadlines are absolute: frame i of an utterance has arrived (i + 1) * frame_ms after that utterance's start, the last one, which may
    be shorter, at its end, where the next one starts. Streams start spread over a chunk. Once a frame has waited for GIVE_UP_S, all stop.

    Args:
        bundle: of the streams.
        streams: at an utterance's start.
        audio: of each stream, its utterances.
        frame_ms: frame length in ms.
        clock: of all threads; started once all of them are there.

    Raises:
        The first error of a stream, once all have stopped.
    """
    ready = threading.Barrier(len(streams), clock.start)
    player = _Player(bundle, bundle.sample_rate * frame_ms // 1000, clock, ready)
    chunk_s = bundle.chunk_samples / bundle.sample_rate
    starts = [place * chunk_s / len(streams) for place in range(len(streams))]
    begin, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(streams)) as threads, player.stopping():
        try:
            told = list(threads.map(player.play, streams, audio, starts))
        finally:
            ready.abort()  # where a thread could not be started, the others would wait for it
    return Parallel(told, time.perf_counter() - begin, time.process_time() - cpu, player.stop.is_set())


def steps_of(bundle: Bundle, samples: int) -> int:
    """Steps that run on the first `samples` samples of an utterance that goes on."""
    return max(0, (samples - bundle.first_step_samples) // bundle.chunk_samples + 1)


@dataclass(frozen=True)
class _Player:
    bundle: Bundle
    frame_samples: int
    clock: Clock
    ready: threading.Barrier
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """After an error the other streams end with the frame that they are in."""
        try:
            yield
        except BaseException:
            self.stop.set()
            raise

    def play(self, stream: Stream, audio: Sequence[Audio], start_s: float) -> Told:
        told = Told()
        with self.stopping():
            self.ready.wait()
            for samples in audio:
                self._utter(stream, samples, start_s + told.audio_s, told)
                if self.stop.is_set():
                    break
        return told

    def _utter(self, stream: Stream, samples: Audio, start_s: float, told: Told) -> None:
        clock, rate = self.clock, self.bundle.sample_rate
        events: list[Event] = []
        arrival_s = start_s
        for first in range(0, len(samples), self.frame_samples):
            frame = samples[first : first + self.frame_samples]
            heard = first + len(frame)
            arrival_s = start_s + heard / rate
            clock.wait_until(arrival_s)
            waited_s = clock.now() - arrival_s
            told.backlog_s = max(told.backlog_s, waited_s)
            if waited_s > GIVE_UP_S:
                self.stop.set()
            if self.stop.is_set():
                return
            events += stream.push(frame)
            if steps_of(self.bundle, heard) > steps_of(self.bundle, first):
                told.chunk_s.append(clock.now() - arrival_s)
        events.append(stream.end_utterance())
        told.final_s.append(clock.now() - arrival_s)
        told.events.append(events)
        told.audio_s += len(samples) / rate
