"""Conversations of many streams that come and go, as fast as the recogniser hears them: what they said, and what they left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime import Event, Final, Recognizer, Stream
from runtime.backends.slots import SlotState
from runtime.inbox import Inbox

FRAME = 320  # samples, 20 ms at 16 kHz
HANGS_UP = 0.2  # share of the utterances that are not ended: the stream is closed in the middle of them


def memory_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


@dataclass
class Heard:
    """What all conversations came to."""

    utterances: int = 0
    hung_up: int = 0
    differing: int = 0
    audio_s: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    """After each tenth of the audio."""


def alone(recognizer: Recognizer, clip: np.ndarray) -> list[Event]:
    """What one stream says of a clip."""
    stream = recognizer.stream(early="off")
    events = [*stream.push(clip), stream.end_utterance()]
    stream.close()
    return events


class Talk:
    """As many conversations at a time, each of a stream of its own, until so many seconds of audio were heard."""

    def __init__(self, recognizer: Recognizer, clips: Sequence[np.ndarray], streams: int, audio_s: float) -> None:
        self._recognizer, self._clips, self._streams, self._audio_s = recognizer, clips, streams, audio_s
        self._expected = [[_what(event) for event in alone(recognizer, clip)] for clip in clips]
        self.heard = Heard()

    def run(self) -> Heard:
        """Hold them all, in an event loop of a thread of its own."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._all()).result()
        gc.collect()
        return self.heard

    async def _all(self) -> None:
        await asyncio.gather(*(self._caller(np.random.default_rng(number)) for number in range(self._streams)))

    async def _caller(self, random: np.random.Generator) -> None:
        """Call again and again."""
        heard = self.heard
        while heard.audio_s < self._audio_s:
            stream = self._recognizer.stream(early="off")
            for number in random.integers(len(self._clips), size=int(random.integers(1, 4))):
                if random.random() < HANGS_UP:
                    self._feed(stream, self._clips[number][: int(random.integers(1, len(self._clips[number])))])
                    heard.hung_up += 1
                    break
                self._feed(stream, self._clips[number])
                stream.feed_end()
                said = [_what(event) async for event in _utterance(stream)]
                heard.utterances += 1
                heard.differing += said != self._expected[number]
            await asyncio.to_thread(stream.close)

    def _feed(self, stream: Stream, samples: np.ndarray) -> None:
        for start in range(0, len(samples), FRAME):
            stream.feed(samples[start : start + FRAME])
        heard = self.heard
        heard.audio_s += len(samples) / 16_000
        if heard.audio_s >= (len(heard.memory_mb) + 1) * self._audio_s / 10:
            heard.memory_mb.append(memory_mb())


async def _utterance(stream: Stream) -> AsyncIterator[Event]:
    async for event in stream:
        yield event
        if isinstance(event, Final):
            return


def _what(event: Event) -> tuple[str, tuple[int, ...], float]:
    """What an event says, wherever in a stream."""
    return event.text, event.tokens, event.audio_s


def held() -> int:
    """How many streams, or parts of them, this process holds."""
    gc.collect()
    return sum(isinstance(each, (Stream, Inbox, SlotState)) for each in gc.get_objects())


def assert_nothing_is_left(recognizer: Recognizer, held_before: int) -> None:
    """No stream is held, and every stream's place is free: as many can be opened again."""
    assert held() <= held_before
    assert recognizer.backend.most_streams
    streams = [recognizer.stream(early="off") for _ in range(recognizer.backend.most_streams)]
    for stream in streams:
        stream.close()
