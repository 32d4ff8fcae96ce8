"""One client's session: its messages to the stream, the stream's events to messages."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from runtime.audio import Pcm, Samples
from runtime.conversation import BargeIn, Conversation
from runtime.errors import CudaError, FullError, InputError, LostError
from runtime.events import Event, Final, Partial
from runtime.recognizer import Recognizer
from runtime.stream import Stream
from runtime.vad import SAMPLE_RATE
from serving.web.items import ONSET_S, Items, Message
from serving.web.messages import (
    AgentAppend,
    AgentStop,
    Append,
    Clear,
    Commit,
    RequestError,
    SessionUpdate,
    Settings,
    audio_bytes,
    event_id_of,
    read_message,
)
from serving.web.metrics import Metrics
from serving.web.sound import Sound, SoundFormat

T = TypeVar("T")
texts = logging.getLogger("serving.text")
texts.setLevel(logging.WARNING)
"""What users said: off unless it is asked for."""

MOST_AHEAD_S = 2.0
"""Audio that may wait for its turn before the next message is read: whoever sends faster is slowed down."""
PAUSE_S = 0.02
HELD_BYTES = 48_000
"""Audio that waits for the session's first change, a second at 24 kHz: pipecat's client sends both without waiting for an answer."""


class Host(NamedTuple):
    """What sessions share."""

    recognizer: Recognizer
    threads: Executor
    """For what waits: echo and barge-in, and what must be done before the next message is."""
    metrics: Metrics
    sessions: "WeakSet[Session]"


class Session:
    """A client's, from its connection on. One task hands over its messages, another one tells the events."""

    def __init__(self, host: Host, send: Callable[[Message], Awaitable[None]]) -> None:
        """`send` brings a message to the client."""
        self._recognizer, self._threads, self._metrics, self._sessions = host
        self._send_message = send
        self._id = f"sess_{token_hex(10)}"
        self._sent = 0
        self._items = Items()
        self._settled = asyncio.Event()
        """Set with each final."""
        self._held: list[bytes] | None = []
        """Audio before the session's first change; None once that came, or the audio had to be heard without."""
        self._held_bytes = 0
        self._heard = 0  # samples
        self._uncommitted = 0  # of them
        self._conversation: Conversation | None = None
        """Once the client's agent spoke; then all audio goes through it, and no events come but what it returns."""
        self._agent_speaks = False
        self._interrupted = False
        """Whether the user who interrupted the agent still speaks: more of the agent's audio was on its way, and is not played."""
        self._stream: Stream
        """From `begin` on."""
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        """To be told of, one after the other."""
        self._sound, self._reference = Sound(SoundFormat()), Sound(SoundFormat())
        self._sending = asyncio.Lock()

    @property
    def waiting_s(self) -> float:
        """Audio that waits to be heard."""
        return self._stream.waiting_s

    async def begin(self) -> None:
        """Tell the client its session. Raises FullError where there is no place for a stream."""
        await self._open(Settings())
        self._sessions.add(self)
        await self._send_all([{"type": "session.created", "session": self._described()}])

    async def tell(self) -> None:
        """Send what the stream says, for ever."""
        while True:
            await self._tell_of(await self._streams.get())

    async def take(self, message: str | bytes) -> None:
        """Do what a message asks for; what cannot be done is told in an error event."""
        try:
            if isinstance(message, bytes):
                await self._hear(message)
            else:
                await self._do(message)
        except RequestError as error:
            self._metrics.errors.labels(error.code).inc()
            event_id = event_id_of(message) if isinstance(message, str) else None
            await self._send_all([refused(error, event_id)])
        except (CudaError, LostError) as error:  # the next utterance may go well
            await self._fail(error)

    async def close(self) -> None:
        """Give the stream's place back, once it has begun."""
        await self._wait_for(self._stream.close)

    async def _tell_of(self, stream: Stream) -> None:
        while error := await self._tell_until_it_fails(stream):
            await self._fail(error)

    async def _fail(self, error: Exception) -> None:
        self._metrics.errors.labels("transcription_failed").inc()
        await self._send_all(self._items.failed(str(error), final_follows=not self._conversation))
        self._settled.set()

    async def _tell_until_it_fails(self, stream: Stream) -> Exception | None:
        """Return what it failed with, after which more may come; None once the stream is closed."""
        try:
            async for event in stream:
                if not self._conversation:
                    await self._say(event)
        except (InputError, CudaError, LostError) as error:
            return error
        return None

    async def _do(self, text: str) -> None:
        message = read_message(text)
        if not isinstance(message, Append | SessionUpdate):
            await self._hear_held()
        match message:
            case Append():
                await self._hear(audio_bytes(message.audio))
            case Commit():
                await self._commit()
            case Clear():
                await self._clear()
            case SessionUpdate():
                await self._update(message.session)
                await self._hear_held()
            case AgentAppend():
                await self._agent(audio_bytes(message.audio))
            case AgentStop():
                await self._agent_stops()

    async def _hear(self, data: bytes) -> None:
        if self._held is None or not data:
            await self._hear_now(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES:
            await self._hear_held()

    async def _hear_held(self) -> None:
        held, self._held = self._held, None
        for data in held or ():
            await self.take(data)

    async def _hear_now(self, data: bytes) -> None:
        try:
            samples = self._sound.push(data)
        except InputError as error:
            raise RequestError(str(error), param="audio") from error
        await self._give(samples)

    async def _give(self, samples: Samples | Pcm) -> None:
        if not len(samples):
            return
        self._heard += len(samples)
        self._uncommitted += len(samples)
        if self._conversation:
            for event in await self._wait_for(self._conversation.push, samples):
                await self._say(event)
        else:
            while self._stream.waiting_s > MOST_AHEAD_S:
                await asyncio.sleep(PAUSE_S)
            self._stream.feed(samples)

    async def _commit(self) -> None:
        await self._give(self._sound.flush())
        if not self._uncommitted:
            raise RequestError(
                "expected audio before a commit, found none; append some", "input_audio_buffer_commit_empty"
            )
        await self._send_all(self._items.commit())
        await self._end()

    async def _end(self) -> None:
        self._uncommitted = 0
        if self._conversation:
            await self._say(await self._wait_for(self._conversation.end_utterance))
        else:
            self._stream.feed_end()

    async def _clear(self) -> None:
        self._sound.flush()
        await self._all_settled()  # audio of theirs may wait before what is cleared
        if self._conversation:
            await self._wait_for(self._conversation.end_utterance)
        else:
            await self._wait_for(self._stream.reset, self._heard / SAMPLE_RATE)
        self._items.clear()
        self._uncommitted, self._interrupted = 0, False
        await self._send_all([{"type": "input_audio_buffer.cleared"}])

    async def _update(self, change: dict[str, Any]) -> None:
        before, after = self._items.settings, self._items.settings.updated(change)
        asked = after.options
        stays = before.options.model_copy(update={"hotwords": asked.hotwords, "language": asked.language}) == asked
        begun = self._heard or self._conversation
        if begun and not (stays and before.audio.input.format == after.audio.input.format):
            raise RequestError(
                "expected turns, delay, format and language model to be set before the first audio, found them changed; begin a new session"
            )
        try:
            if not stays:
                await self._wait_for(self._stream.close)
                await self._open(after)
            else:
                await self._wait_for(self._stream.set_language, asked.language)
                await self._wait_for(self._stream.set_hotwords, asked.hotwords)
        except InputError as error:
            if stays:
                await self._wait_for(self._stream.set_language, before.options.language)
            else:
                await self._open(before)
            raise RequestError(str(error), param="session.audio.input.transcription") from error
        if not begun:
            self._sound, self._reference = Sound(after.audio.input.format), Sound(after.audio.input.format)
        self._items.settings = after
        await self._send_all([{"type": "session.updated", "session": self._described()}])

    async def _agent(self, data: bytes) -> None:
        try:
            played = self._reference.push(data) if data else None
        except InputError as error:
            raise RequestError(str(error), param="audio") from error
        if self._interrupted:
            return
        if not self._agent_speaks and self._uncommitted:
            self._items.end()  # what the user said before the agent began is not lost, be it known yet or not
            await self._end()
        if not self._conversation:
            await self._all_settled()
            self._conversation = await self._wait_for(
                partial(Conversation, self._stream, start_s=self._heard / SAMPLE_RATE)
            )
        try:
            await self._wait_for(self._conversation.agent_speaks, played)
        except FullError as error:
            raise RequestError(str(error), param="audio") from error
        self._agent_speaks = True

    async def _agent_stops(self) -> None:
        self._agent_speaks = self._interrupted = False
        if self._conversation:
            await self._wait_for(self._conversation.agent_stops)

    async def _say(self, event: Event | BargeIn) -> None:
        match event:
            case BargeIn():
                self._agent_speaks, self._interrupted = False, True
                await self._send_all(self._items.voice(event.audio_s - ONSET_S, barge_in=True))
            case Partial():
                self._metrics.said(event)
                await self._send_all(self._items.partial(event))
            case Final():
                texts.info("%s: %s", self._id, event.text)
                self._metrics.said(event)
                self._interrupted = False
                await self._send_all(self._items.final(event))
                self._settled.set()

    async def _all_settled(self) -> None:
        """Wait for the finals of what the client ended."""
        while self._items.are_awaited:
            self._settled.clear()
            await self._settled.wait()

    async def _open(self, settings: Settings) -> None:
        try:
            self._stream = await self._wait_for(settings.options.open, self._recognizer)
        except (
            CudaError,
            LostError,
        ) as error:  # neither memory nor a process for one more: as where all places are taken
            raise FullError(str(error)) from error
        self._streams.put_nowait(self._stream)

    def _described(self) -> Message:
        session = self._items.settings.model_dump(mode="json")
        session["audio"]["input"]["format"]["rate"] = self._items.settings.audio.input.format.hz
        session["audio"]["input"]["transcription"]["model"] = self._recognizer.bundle.checkpoint.name
        return {"id": self._id, "object": "realtime.transcription_session", **session}

    async def _wait_for(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))

    async def _send_all(self, messages: Iterable[Message]) -> None:
        of_one = list(messages)  # now: the items may be others once it is their turn
        async with self._sending:  # what one event or request leads to goes out together
            for message in of_one:
                self._sent += 1
                await self._send_message({"event_id": f"event_{self._id[5:]}_{self._sent}", **message})


def refused(error: RequestError, event_id: str | None = None) -> Message:
    """Return the message that says so."""
    said = {"type": "invalid_request_error", "code": error.code, "message": str(error), "param": error.param}
    return {"type": "error", "error": {**said, "event_id": event_id}}
