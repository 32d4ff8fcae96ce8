"""A server in this process, and a client that asks and waits."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from runtime import Recognizer
from serving.web.access import Access
from serving.web.app import Server, configuration
from serving.web.connection import Limits

TIMEOUT_S = 30
LIMITS, ACCESS = Limits(), Access()
Message = dict[str, Any]
MANUAL: Message = {"turn_detection": None}
"""The client ends utterances."""
SILENCE = np.zeros(16_000, np.int16)


@contextmanager
def served(recognizer: Recognizer, limits: Limits = LIMITS, access: Access = ACCESS) -> Iterator[int]:
    """The port of a server that serves it until the block is left."""
    server = uvicorn.Server(configuration(Server(recognizer, access, limits).app, "127.0.0.1", 0, limits))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def wait_for_a_place(port: int) -> None:
    """Return once a session that ended has given its place back."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        connection.request("GET", "/v1/realtime")
        if connection.getresponse().status == 426:
            return
        time.sleep(0.02)
    raise TimeoutError


class Client:
    """A session."""

    def __init__(self, socket: Connection) -> None:
        self.socket = socket
        self.heard: list[Message] = []

    def ask(self, kind: str, **fields: object) -> None:
        """Send a message."""
        self.socket.send(json.dumps({"type": kind, **fields}))

    def set(self, audio_input: Message, **session: object) -> Message:
        """Change the session; return what is answered."""
        self.ask("session.update", session={"audio": {"input": audio_input}, **session})
        return self.next()

    def next(self) -> Message:
        """The next message."""
        message: Message = json.loads(self.socket.recv(TIMEOUT_S))
        self.heard.append(message)
        return message

    def until(self, *kinds: str) -> list[Message]:
        """The messages up to one of a kind that ends so."""
        found = [self.next()]
        while not found[-1]["type"].endswith(kinds):
            found.append(self.next())
        return found

    def speak(self, samples: np.ndarray, pieces: Sequence[int] = (320,)) -> None:
        """Send 16-bit samples in binary pieces of these lengths, again and again."""
        at = number = 0
        while at < len(samples):
            size = pieces[number % len(pieces)]
            self.socket.send(samples[at : at + size].astype("<i2").tobytes())
            at, number = at + size, number + 1


@contextmanager
def connected(port: int, **how: Any) -> Iterator[Client]:
    """A connection that nothing was heard from yet."""
    with connect(f"ws://127.0.0.1:{port}/v1/realtime", open_timeout=TIMEOUT_S, **how) as socket:
        yield Client(socket)


@contextmanager
def session(port: int, audio_input: Message | None = None, **how: Any) -> Iterator[Client]:
    """A session that has begun, at 16 kHz, and set so."""
    with connected(port, **how) as client:
        assert client.next()["type"] == "session.created"
        said = client.set({"format": {"type": "audio/pcm", "rate": 16_000}, **(audio_input or {})})
        assert said["type"] == "session.updated", said
        yield client
