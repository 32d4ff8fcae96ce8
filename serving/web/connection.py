"""A WebSocket from its first message to its end, and what a client may take of the server."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from runtime.errors import FullError, InputError
from serving.web.items import Message
from serving.web.session import Host, Session

GOING_AWAY, TRY_LATER = 1001, 1013
"""Codes of a WebSocket's end, RFC 6455 and its registry."""
LAST_WORDS_S = 1.0
LOOK_S = 1.0
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Limits:
    """What a client may take. Raises InputError for what is not positive."""

    streams: int = 64
    """Sessions at a time."""
    message_bytes: int = 1 << 20
    """Of one message: a quarter of a minute at 24 kHz in base64."""
    idle_s: float = 60.0
    """Without a message."""
    session_s: float = 3600.0
    """In all."""
    slow_s: float = 10.0
    """For which a client may not take what is sent."""
    ping_s: float = 20.0
    """Between pings, and for an answer: a client that is gone without a word is noticed so."""
    health_s: float = 5.0
    """For a health check's inference."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:  # no number neither
                raise InputError(f"expected {name} above 0, found {value}; leave it out for the default")


class Ending(NamedTuple):
    """Why a session ended, the code that its WebSocket is closed with, and what the client is told first."""

    why: str
    code: int
    message: str


class Watched:
    """A WebSocket whose waits are timed by one look a second: a timer for each message would cost more than the message."""

    def __init__(self, socket: WebSocket, limits: Limits) -> None:
        self._socket, self._limits = socket, limits
        self._begun_s = self._received_s = time.monotonic()
        self._sending_s: float | None = None
        """Since when a message waits for the client to take it."""

    async def receive(self) -> str | bytes | None:
        """The next message; None once the client is gone."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        self._received_s = time.monotonic()
        found: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        return found

    async def send(self, message: Message) -> None:
        """Send it; one at a time. Raises WebSocketDisconnect where the client is gone."""
        self._sending_s = time.monotonic()
        try:
            await self._socket.send_text(_ENCODER.encode(message))
        except RuntimeError as error:  # uvicorn closes the connection of a client that answers no ping
            raise WebSocketDisconnect from error
        self._sending_s = None

    async def watch(self) -> Ending:
        """Wait until a limit is reached; return which."""
        limits = self._limits
        while True:
            await asyncio.sleep(min(LOOK_S, limits.idle_s / 4, limits.slow_s / 4))
            now_s = time.monotonic()
            if self._sending_s and now_s - self._sending_s > limits.slow_s:
                found = f"expected a client that reads, found one that did not for {limits.slow_s:g} s"
                return Ending("slow", TRY_LATER, found)
            if now_s - self._received_s > limits.idle_s:
                found = f"expected a message within {limits.idle_s:g} s, found none; send audio, silence too"
                return Ending("session_idle", GOING_AWAY, found)
            if now_s - self._begun_s > limits.session_s:
                found = f"expected a session of {limits.session_s:g} s at most, found one that goes on; begin a new one"
                return Ending("session_expired", GOING_AWAY, found)


async def converse(socket: WebSocket, host: Host, limits: Limits) -> str:
    """Hold an accepted WebSocket's session to its end, and close both; return why it ended: `client` where the client went."""
    watched = Watched(socket, limits)
    try:
        ending = await _talk(watched, Session(host, watched.send))
    except WebSocketDisconnect:
        ending = None
    except FullError as error:
        ending = Ending("server_full", TRY_LATER, str(error))
    if ending is None:
        return "client"
    said = {"type": "server_error", "code": ending.why, "message": ending.message, "param": None, "event_id": None}
    with suppress(WebSocketDisconnect, RuntimeError), anyio.move_on_after(LAST_WORDS_S):
        await watched.send({"type": "error", "event_id": "event_last", "error": said})
        await socket.close(ending.code, ending.why)
    return ending.why


async def _talk(watched: Watched, session: Session) -> Ending | None:
    """Listen and tell until the client goes or a limit is reached; return that, None: the client. Raises what the session raises."""
    await session.begin()
    works = (_listen(watched, session), session.tell(), watched.watch())
    tasks = [asyncio.create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        with anyio.CancelScope(shield=True):
            await session.close()
    for result in found:
        if isinstance(result, Exception):
            raise result
    return next(iter(ended)).result()


async def _listen(watched: Watched, session: Session) -> None:
    while (message := await watched.receive()) is not None:
        await session.take(message)
