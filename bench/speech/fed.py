"""Streams fed from one event loop at the pace of speech, as a server does: a task feeds them all, and one for each hears its events."""

import asyncio
import heapq
import math
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from bench.speech.answers import GIVE_UP_S, Answers, texts_of
from bench.speech.arrivals import Clock
from runtime import Final, Stream
from runtime.audio import Pcm
from runtime.backends import ALL_VALID
from runtime.hearing import Asking, Hearing, StreamOptions

if TYPE_CHECKING:
    from runtime import Recognizer

LEAST_WAIT_S = 0.0005  # shorter ones an event loop does not keep
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
        self._utterances, self._rate, self._frame, self._at_s = utterances, rate, frame, start_s
        self._number = self._sample = 0
        self._last_s: list[float] = []
        """When each utterance's last frame arrived."""

    @property
    def due_s(self) -> float:
        """When the next frame has arrived; infinity: all are fed."""
        if self._number == len(self._utterances):
            return math.inf
        return self._at_s + self._end / self._rate

    @property
    def _end(self) -> int:
        return min(self._sample + self._frame, len(self._utterances[self._number]))

    def feed(self, now_s: float) -> None:
        """Feed the next frame, and with the last one of an utterance its end."""
        due_s, end, samples = self.due_s, self._end, self._utterances[self._number]
        self.answers.backlog_s = max(self.answers.backlog_s, now_s - due_s)
        self.stream.feed(samples[self._sample : end], due_s)
        self._sample = end
        if end == len(samples):
            self.stream.feed_end()
            self._last_s.append(due_s)
            self._at_s, self._sample, self._number = due_s, 0, self._number + 1

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
    due = [(each.due_s, number) for number, each in enumerate(streams)]
    heapq.heapify(due)
    for turn in count():
        due_s, number = due[0]
        if due_s == math.inf:
            break
        if (wait_s := due_s - clock.now()) > LEAST_WAIT_S:
            await asyncio.sleep(wait_s)
        elif turn % TURN_FRAMES == 0:
            await asyncio.sleep(0)
        if -wait_s > GIVE_UP_S:
            return True
        streams[number].feed(clock.now())
        heapq.heapreplace(due, (streams[number].due_s, number))
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
