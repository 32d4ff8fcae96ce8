"""Mailbox: events on their way from the scheduler's thread to whoever waits for them in an event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from .errors import ClosedError, InputError
from .events import Event, Final, Partial

Waiter = asyncio.Future[None]
"""What a task waits for, in its own loop."""


class Mailbox:
    """Events in order, for one task at a time."""

    def __init__(self, ring: Callable[[Waiter], None]) -> None:
        """`ring` has a task woken soon that waits for events which are there now, see `wake`."""
        self._ring = ring
        self._changing = threading.Lock()
        self._held: deque[Event | BaseException] = deque()
        self._closed = False
        self._waiter: Waiter | None = None

    def put(self, found: list[Event] | BaseException) -> None:
        """Add events, or why there are none."""
        if found == []:
            return
        with self._changing:
            self._held.extend(found if isinstance(found, list) else [found])
            waiter = self._waiter
        if waiter:
            self._ring(waiter)

    def forget_partials(self) -> None:
        """Drop those behind the last final: their utterance is forgotten. What was raised stays."""
        with self._changing:
            kept: list[Event | BaseException] = []
            while self._held and not isinstance(self._held[-1], Final):
                if not isinstance(last := self._held.pop(), Partial):
                    kept.append(last)
            self._held.extend(reversed(kept))

    def close(self) -> None:
        """After what is there no more comes. From any thread."""
        with self._changing:
            self._closed = True
            waiter = self._waiter
        if waiter:
            wake([waiter])

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
                if self._waiter and not self._waiter.cancelled() and not self._waiter.get_loop().is_closed():
                    raise InputError(
                        "expected one task to wait for a stream's events, found two; share them in your own code"
                    )
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
        if isinstance(found, ClosedError):
            with self._changing:
                self._held.clear()  # ends that were cut off
            return None
        if isinstance(found, BaseException):
            try:
                raise found
            finally:
                del found  # its traceback holds this
        return found


def wake(waiters: Iterable[Waiter]) -> None:
    """Wake the tasks that wait, those of a loop by one call: each call gives the interpreter to other threads. From any thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, of_loop in by_loop.items():
        with suppress(RuntimeError):  # it is closed: nobody waits
            loop.call_soon_threadsafe(_wake, of_loop)


def _wake(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
