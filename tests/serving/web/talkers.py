"""Conversations at the pace of speech, over a line that is a server's or the recogniser itself; as a program, over a server's.

    python talkers.py SPEC.json

`Spec` says what is in the file. It prints one line of JSON, `Heard`. It imports nothing of the project: it is a client.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

RATE = 16_000


@dataclass
class Spec:
    """Who talks, and what."""

    clips: str
    """A .npz file of int16 clips; whole frames each."""
    texts: list[str]
    """Theirs."""
    seconds: float
    frame: int
    """Samples sent at a time."""
    url: str = ""
    talkers: int = 1
    fast: int = 0
    """Who talk twice too fast."""
    slow: int = 0
    """Who talk and read nothing."""
    silent: int = 0
    """Who connect, and do and answer nothing until the server ends it."""
    garbage: int = 0
    """Who send what is no message."""


@dataclass
class Heard:
    """What the talkers got back."""

    utterances: int = 0
    differ: int = 0
    partial_ms: list[float] = field(default_factory=list)
    """From the sending of a partial's last audio to the partial."""
    final_ms: list[float] = field(default_factory=list)
    """From the sending of an utterance's end to the final."""
    refusals: int = 0
    """Error events."""


class Line(Protocol):
    """A way to a recogniser."""

    def send(self, samples: np.ndarray) -> Awaitable[None]:
        """Send int16 samples."""

    def commit(self) -> Awaitable[None]:
        """End the utterance."""

    def events(self) -> AsyncIterator[tuple[bool, str, float]]:
        """Whether it is a final, its text, and the second of the line up to which it is known."""


class Talker:
    """One that says clips, each to the end and its answer awaited, until the time is over."""

    def __init__(self, spec: Spec, clips: list[np.ndarray], heard: Heard, number: int, pace: float = 1.0) -> None:
        self._spec, self._clips, self._heard, self._pace = spec, clips, heard, pace
        self._choose = random.Random(number)
        self._begins_s = number * 0.0197  # no two at once, and all of them soon
        self._sent_s: list[float] = []

    async def talk(self, line: Line) -> None:
        """Do so."""
        await asyncio.sleep(self._begins_s)
        events, end_s = line.events(), time.monotonic() + self._spec.seconds
        while time.monotonic() < end_s:
            number = self._choose.randrange(len(self._clips))
            answer = asyncio.create_task(self._final(events))
            await self._say(line, self._clips[number])
            asked_s = time.monotonic()
            await line.commit()
            text = await answer
            self._heard.final_ms.append(1e3 * (time.monotonic() - asked_s))
            self._heard.utterances += 1
            self._heard.differ += text != self._spec.texts[number]

    async def _say(self, line: Line, clip: np.ndarray) -> None:
        begun_s, frame = time.monotonic(), self._spec.frame
        for start in range(0, len(clip), frame):
            due_s = begun_s + (start + frame) / RATE / self._pace
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._sent_s.append(time.monotonic())
            await line.send(clip[start : start + frame])

    async def _final(self, events: AsyncIterator[tuple[bool, str, float]]) -> str:
        async for final, text, known_s in events:
            if final:
                return text
            frame = int(np.ceil(known_s * RATE / self._spec.frame - 1e-6)) - 1
            self._heard.partial_ms.append(1e3 * (time.monotonic() - self._sent_s[frame]))
        raise ConnectionError("expected a final, found the line's end")


class ServerLine:
    """A WebSocket."""

    def __init__(self, socket: ClientConnection, heard: Heard) -> None:
        self._socket, self._heard = socket, heard

    async def send(self, samples: np.ndarray) -> None:
        """See Line."""
        await self._socket.send(samples.tobytes())

    async def commit(self) -> None:
        """See Line."""
        await self._socket.send('{"type": "input_audio_buffer.commit"}')

    async def events(self) -> AsyncIterator[tuple[bool, str, float]]:
        """See Line."""
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] == "error":
                self._heard.refusals += 1
            elif message["type"].endswith("completed"):
                yield True, message["transcript"], 0.0
            elif partial := message.get("partial"):
                yield False, partial["text"], partial["start_s"] + partial["audio_s"]


async def _set(socket: ClientConnection) -> None:
    audio_input = {"format": {"type": "audio/pcm", "rate": RATE}, "turn_detection": None}
    session = {"audio": {"input": audio_input}, "include": ["item.input_audio_transcription.partial"]}
    await socket.send(json.dumps({"type": "session.update", "session": session}))


async def _over_server(spec: Spec, talker: Talker, heard: Heard) -> None:
    async with connect(spec.url, compression=None, open_timeout=60) as socket:
        await _set(socket)
        await talker.talk(ServerLine(socket, heard))


async def _slow(spec: Spec, clips: list[np.ndarray]) -> None:
    async with connect(spec.url, compression=None, open_timeout=60, max_queue=1, ping_interval=None) as socket:
        await _set(socket)
        end_s = time.monotonic() + spec.seconds
        with suppress(ConnectionClosed):
            while time.monotonic() < end_s:
                await socket.send(clips[0][: spec.frame].tobytes())
                await asyncio.sleep(spec.frame / RATE)
        socket.transport.abort()


async def _silent(spec: Spec) -> None:
    where = urlsplit(spec.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await asyncio.wait_for(reader.read(), 30)
    writer.close()


async def _garbage(spec: Spec, heard: Heard, number: int) -> None:
    choose = random.Random(number)
    async with connect(spec.url, compression=None, open_timeout=60) as socket:
        await socket.recv()
        end_s = time.monotonic() + spec.seconds
        while time.monotonic() < end_s:
            await socket.send("".join(chr(choose.randrange(32, 500)) for _ in range(choose.randrange(1, 200))))
            answer = json.loads(await socket.recv())  # apart: the others' refusals come meanwhile
            heard.refusals += answer["type"] == "error"
            await asyncio.sleep(0.05)


async def talk(spec: Spec, own_line: Callable[[], Line] | None = None) -> Heard:
    """Have them all talk: over the server of the URL, or over lines of the caller's own."""
    heard, troubled = Heard(), Heard()
    clips = list(np.load(spec.clips).values())
    talkers = [Talker(spec, clips, heard, number) for number in range(spec.talkers)]
    if own_line:
        work: list[Any] = [talker.talk(own_line()) for talker in talkers]
    else:
        work = [_over_server(spec, talker, heard) for talker in talkers]
    work += [_over_server(spec, Talker(spec, clips, troubled, number, 2.0), troubled) for number in range(spec.fast)]
    work += [_slow(spec, clips) for _ in range(spec.slow)]
    work += [_silent(spec) for _ in range(spec.silent)]
    work += [_garbage(spec, heard, number) for number in range(spec.garbage)]
    await asyncio.gather(*work)
    heard.utterances += troubled.utterances  # their delays are not those of speech
    heard.differ += troubled.differ
    return heard


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(talk(Spec(**json.loads(Path(sys.argv[1]).read_text())))))))
