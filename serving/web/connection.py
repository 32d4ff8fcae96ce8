"""A WebSocket from its first message to its end, and what a client may take of the server."""

import asyncio
import json
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
    health_s: float = 5.0
    """For a health check's inference."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise InputError(f"expected {name} above 0, found {value}; leave it out for the default")


class Ending(NamedTuple):
    """Why a session ended, the code that its WebSocket is closed with, and what the client is told first."""

    why: str
    code: int
    message: str


async def converse(socket: WebSocket, host: Host, limits: Limits) -> str:
    """Hold an accepted WebSocket's session to its end, and close both; return why it ended: `client` where the client went."""

    async def send(message: Message) -> None:
        with anyio.fail_after(limits.slow_s):
            await socket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    try:
        ending = await _talk(socket, Session(host, send), limits)
    except WebSocketDisconnect:
        ending = None
    except TimeoutError:
        ending = Ending(
            "slow", TRY_LATER, f"expected a client that reads, found one that did not for {limits.slow_s:g} s"
        )
    except FullError as error:
        ending = Ending("server_full", TRY_LATER, str(error))
    if ending is None:
        return "client"
    said = {"type": "server_error", "code": ending.why, "message": ending.message, "param": None, "event_id": None}
    with suppress(WebSocketDisconnect, RuntimeError), anyio.move_on_after(LAST_WORDS_S):
        await socket.send_text(json.dumps({"type": "error", "event_id": "event_last", "error": said}))
        await socket.close(ending.code, ending.why)
    return ending.why


async def _talk(socket: WebSocket, session: Session, limits: Limits) -> Ending | None:
    """Listen and tell until one of them ends; return what ended it, None: the client. Raises what either raises."""
    await session.begin()
    tasks = {asyncio.create_task(_listen(socket, session, limits)), asyncio.create_task(session.tell())}
    try:
        ended, _ = await asyncio.wait(tasks, timeout=limits.session_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        with anyio.CancelScope(shield=True):
            await session.close()
    if not ended:
        return Ending("session_expired", GOING_AWAY, f"a session lasts {limits.session_s:g} s; begin a new one")
    for result in found:
        if isinstance(result, Exception):
            raise result
    return next(iter(ended)).result()


async def _listen(socket: WebSocket, session: Session, limits: Limits) -> Ending | None:
    while True:
        try:
            with anyio.fail_after(limits.idle_s):
                message = await socket.receive()
        except TimeoutError:
            why = f"expected a message within {limits.idle_s:g} s, found none; send audio, silence too"
            return Ending("session_idle", GOING_AWAY, why)
        if message["type"] == "websocket.disconnect":
            return None
        await session.take(message["text"] if message.get("text") is not None else message["bytes"])
