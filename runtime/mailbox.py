"""Mailbox: events on their way from the scheduler's thread to whoever waits for them in an event loop."""

import asyncio
import threading
from collections import deque
from contextlib import suppress

from .errors import ClosedError, InputError
from .events import Event


class Mailbox:
    """Events in order, for one task at a time."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._held: deque[Event | BaseException] = deque()
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, found: list[Event] | BaseException) -> None:
        """Add events, or why there are none. From any thread."""
        if found == []:
            return
        with self._changing:
            self._held.extend(found if isinstance(found, list) else [found])
            self._call()

    def close(self) -> None:
        """After what is there no more comes. From any thread."""
        with self._changing:
            self._closed = True
            self._call()

    async def get(self) -> Event | None:
        """Wait for an event and return it; None where no more comes. Raises what there was instead of events.

        Raises InputError where another task waits already.
        """
        while True:
            with self._changing:
                if self._held:
                    found = self._held.popleft()
                    break
                if self._closed:
                    return None
                if self._waiter:
                    raise InputError(
                        "expected one task to wait for a stream's events, found two; share them in your own code"
                    )
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        if isinstance(found, ClosedError):
            return None
        if isinstance(found, BaseException):
            raise found
        return found

    def _call(self) -> None:
        if waiter := self._waiter:
            with suppress(RuntimeError):  # its loop is closed: nobody waits
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
