"""The server: WebSocket sessions at /v1/realtime, a page at /, /health and /metrics."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakSet

import anyio
import numpy as np
import uvicorn
from h11 import LocalProtocolError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from runtime.errors import InputError
from runtime.recognizer import Recognizer
from serving.web.access import Access, Refusal
from serving.web.connection import LAST_WORDS_S, Limits, converse
from serving.web.metrics import Metrics
from serving.web.session import Host, Session


def _is_a_fault(record: logging.LogRecord) -> bool:
    """Whether it is one: uvicorn takes a WebSocket that is refused with a response for one that was forgotten.

    To a body that cannot be read it answers itself, and shows our answer, which comes too late, as an error of ours.
    """
    late = record.exc_info and isinstance(record.exc_info[1], LocalProtocolError)
    return not late and "without completing handshake" not in record.getMessage()


logging.getLogger("uvicorn.error").addFilter(_is_a_fault)
log = logging.getLogger("serving")
SHUTDOWN_S = 5
OTHERS = 32
"""Connections beside the sessions: pages, metrics, health checks."""
PAGE = Path(__file__).with_name("page")


class Server:
    """A recogniser's sessions. The recogniser has a place more than there may be sessions, for the health check."""

    def __init__(
        self, recognizer: Recognizer, access: Access, limits: Limits, memory: Callable[[], int] | None = None
    ) -> None:
        """`memory` of the GPU that is in use, in bytes, where there is one.

        Raises InputError for a bundle without voice activity: sessions begin with the server's turns.
        """
        recognizer.new_detector()
        self._recognizer, self._access, self._limits = recognizer, access, limits
        self._html = page_html()
        self._threads = ThreadPoolExecutor(limits.streams + 1, "serving")
        self._sessions = 0
        self._check: asyncio.Future[None] | None = None
        self._held: WeakSet[Session] = WeakSet()
        self.metrics = Metrics(lambda: self._sessions, limits.streams, self._waiting_s, memory)
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/v1/realtime", self._why_not),
                WebSocketRoute("/v1/realtime", self._realtime),
            ],
        )

    def _waiting_s(self) -> float:
        return max((session.waiting_s for session in self._held), default=0.0)

    async def _page(self, request: Request) -> Response:  # noqa: ARG002 -- Starlette's
        return HTMLResponse(self._html)

    async def _health(self, request: Request) -> Response:  # noqa: ARG002
        # One, however many ask and however long it takes: it holds a stream.
        if self._check is None or self._check.done():
            self._check = asyncio.get_running_loop().run_in_executor(self._threads, self._infer)
            self._check.add_done_callback(asyncio.Future.exception)  # asked for where nobody waits any more
        try:
            with anyio.fail_after(self._limits.health_s):
                await asyncio.shield(self._check)
        except (InputError, RuntimeError, TimeoutError) as error:
            why = str(error) or f"no final within {self._limits.health_s:g} s"
            return JSONResponse({"status": "failing", "why": why}, 503)
        return JSONResponse({"status": "ok", "model": self._recognizer.bundle.checkpoint.name})

    async def _metrics(self, request: Request) -> Response:
        if refusal := self._access.refusal(request.headers):
            return _refused(refusal)
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        refusal = self._access.refusal(headers)
        if not refusal and self._sessions >= self._limits.streams:
            return Refusal(
                503, "server_full", f"expected a free place, found all {self._limits.streams} taken; try again later"
            )
        return refusal

    async def _why_not(self, request: Request) -> Response:
        """Say why a WebSocket would be refused: a browser does not tell a page what its WebSocket was answered."""
        needed = Refusal(426, "websocket_expected", "expected a WebSocket, found a plain request; connect by one")
        return _refused(self._refusal(request.headers) or needed)

    async def _realtime(self, socket: WebSocket) -> None:
        if refusal := self._refusal(socket.headers):
            self.metrics.refused.labels(refusal.code).inc()
            await socket.send_denial_response(_refused(refusal))
            return
        self._sessions += 1
        try:
            await socket.accept("realtime" if "realtime" in socket.scope["subprotocols"] else None)
            why = await converse(socket, Host(self._recognizer, self._threads, self.metrics, self._held), self._limits)
        except asyncio.CancelledError:  # the server stops and waits no longer
            return
        finally:
            self._sessions -= 1
        self.metrics.ended.labels(why).inc()
        log.info("session ended: %s", why)

    def _infer(self) -> None:
        """Recognise half a second of silence."""
        stream = self._recognizer.stream(early="off")
        try:
            stream.push(np.zeros(self._recognizer.bundle.sample_rate // 2, np.float32))
            stream.end_utterance()
        finally:
            stream.close()


def page_html() -> str:
    """Return the page in one file: where it names another of its files, that stands."""
    named = re.compile(r"{{ (\S+) }}\n")
    return named.sub(lambda name: (PAGE / name[1]).read_text("utf-8"), (PAGE / "page.html").read_text("utf-8"))


def _refused(refusal: Refusal) -> Response:
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    error = {"type": kind, "code": refusal.code, "message": refusal.message, "param": None}
    return JSONResponse({"error": error}, refusal.status)


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's, which would keep the connection of a client that reads no more, and of one whose opening it cannot read."""

    _received_s = 0.0

    def data_received(self, data: bytes) -> None:
        """See there; an opening that is none is answered, and counts among the connections no more."""
        self._received_s = self.loop.time()
        try:
            super().data_received(data)
        except UnicodeError:  # in a header, which the answer would repeat
            self._refuse()
        else:
            if not self.handshake_initiated:
                self._refuse()

    def keepalive_timeout(self) -> None:
        """See there; whoever sends is not gone: the answer may wait behind audio that is not read yet."""
        if self.read_paused or self._received_s > self.ping_sent_at:
            self.pong_timer = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def shutdown(self) -> None:
        """See there; a client that does not read is not waited for."""
        super().shutdown()
        self.loop.call_later(LAST_WORDS_S, self.transport.abort)

    def _refuse(self) -> None:
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.transport.close()

    async def run_asgi(self) -> None:
        """See there; what a client has not taken a while after its session's end is dropped."""
        await super().run_asgi()
        self.loop.call_later(SHUTDOWN_S, self.transport.abort)


def configuration(app: Starlette, host: str, port: int, limits: Limits) -> uvicorn.Config:
    """Return how uvicorn serves it; at port 0, at a free one."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        ws=Socket,
        ws_max_size=limits.message_bytes,
        ws_ping_interval=limits.ping_s,
        ws_ping_timeout=limits.ping_s,
        ws_per_message_deflate=False,  # audio does not shrink, and messages are short
        limit_concurrency=limits.streams + OTHERS,
        timeout_graceful_shutdown=SHUTDOWN_S,
        access_log=False,
        log_level="warning",
        lifespan="off",
    )
