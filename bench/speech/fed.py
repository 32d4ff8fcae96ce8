"""Streams fed from one event loop at the pace of speech, as a server does: a task feeds them all, and one for each hears its events."""

import asyncio
import heapq
from collections.abc import Generator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from bench.speech.answers import GIVE_UP_S, Answers, texts_of
from bench.speech.arrivals import Clock
from runtime import Final, Stream
from runtime.asking import Asking
from runtime.audio import Pcm
from runtime.backends import ALL_VALID
from runtime.hearing import Hearing, StreamOptions

if TYPE_CHECKING:
    from runtime import Recognizer

LEAST_WAIT_S = 0.001  # to wait more often costs more than what is fed
TURN_FRAMES = 32  # fed at most before other tasks have their turn


class TimedHearing(Hearing):
    """Notes when each chunk was decoded."""

    def __init__(self, recognizer: "Recognizer", options: StreamOptions) -> None:
        super().__init__(recognizer, options)
        self.chunk_s: list[float] = []
        """From the arrival of a chunk's last frame until it was decoded."""

    def _step(self, valid: int, frames: int) -> Asking[bool]:
        heard = self._steps * self._bundle.chunk_samples + self._bundle.first_step_samples
        changed = yield from super()._step(valid, frames)
        if valid == ALL_VALID:
            self.chunk_s.append(self.now() - self._arrived_s(heard))
        return changed


class FedStream(Stream):
    """A stream whose chunks are timed."""

    _hearing: TimedHearing
    kind = TimedHearing

    @property
    def chunk_s(self) -> list[float]:
        """See TimedHearing."""
        return self._hearing.chunk_s


class Fed:
    """One stream on its way through its utterances."""

    def __init__(self, stream: FedStream, utterances: Sequence[Pcm], start_s: float, rate: int, frame: int) -> None:
        """`start_s`: when its first sample is captured; `frame`: samples of a frame."""
        self.stream, self.answers = stream, Answers()
        self._utterances, self._rate, self._frame, self._start_s = utterances, rate, frame, start_s
        self._last_s: list[float] = []
        """When each utterance's last frame arrived."""

    def frames(self) -> Generator[float, float, None]:
        """Yield when the next frame has arrived, and feed it once the time is sent; with the last one of an utterance its end."""
        arrived_s, answers = self._start_s, self.answers
        for samples in self._utterances:
            begun_s = arrived_s
            for start in range(0, len(samples), self._frame):
                frame = samples[start : start + self._frame]
                arrived_s = begun_s + (start + len(frame)) / self._rate
                now_s = yield arrived_s
                answers.backlog_s = max(answers.backlog_s, now_s - arrived_s)
                self.stream.feed(frame, arrived_s)
            self.stream.feed_end()
            self._last_s.append(arrived_s)

    async def hear(self, clock: Clock) -> None:
        """Take the stream's events until it is closed, or all utterances have their finals."""
        said: list[Final] = []
        async for event in self.stream:
            if not isinstance(event, Final):
                continue
            said.append(event)
            if event.ended_by == "caller":
                number = len(self.answers.said)
                self.answers.final_s.append(clock.now() - self._last_s[number])
                self.answers.said.append(texts_of(said))
                self.answers.audio_s += len(self._utterances[number]) / self._rate
                said = []
                if number + 1 == len(self._utterances):
                    return


async def feed(streams: Sequence[Fed], clock: Clock) -> bool:
    """Feed all streams at the pace of speech; return whether that was given up, since a frame waited for GIVE_UP_S."""
    feeding = [each.frames() for each in streams]
    due = [(next(frames), number) for number, frames in enumerate(feeding)]
    heapq.heapify(due)
    for turn in count():
        arrived_s, number = due[0]
        now_s = clock.now()
        if arrived_s > now_s:
            await asyncio.sleep(max(arrived_s - now_s, LEAST_WAIT_S))
            now_s = clock.now()
        elif turn % TURN_FRAMES == 0:
            await asyncio.sleep(0)
        if now_s - arrived_s > GIVE_UP_S:
            return True
        try:
            heapq.heapreplace(due, (feeding[number].send(now_s), number))
        except StopIteration:
            heapq.heappop(due)
            if not due:
                break
    return False


async def play(streams: Sequence[Fed], clock: Clock) -> bool:
    """Feed all streams and hear them to their ends, or close them where that is given up; return whether it was."""
    for each in streams:
        each.stream.now = clock.now
    hearing = [asyncio.create_task(each.hear(clock)) for each in streams]
    clock.start()
    try:
        given_up = await feed(streams, clock)
        if given_up:
            await asyncio.to_thread(_close, streams)
        await asyncio.gather(*hearing)
    finally:
        for task in hearing:
            task.cancel()
    for each in streams:
        each.answers.chunk_s = each.stream.chunk_s
    return given_up


def _close(streams: Sequence[Fed]) -> None:
    for each in streams:
        each.stream.close()
