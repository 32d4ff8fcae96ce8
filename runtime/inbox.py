"""Inbox: what callers hand to a stream whose work a scheduler does, in order."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import FullError
from .events import Event
from .hearing import Arrived, Ask, Asking, Hearing

T = TypeVar("T")

MOST_WAITING_S = 60.0
"""Audio that may wait for its turn."""


@dataclass(frozen=True, eq=False)
class Job:
    """Work to be done behind the audio so far."""

    work: Callable[[Sequence[Arrived]], Asking[Any]]
    """Begun when its turn comes, with the audio that waits before it where it takes any."""
    reply: Callable[[Any], None]
    """Takes what comes of it."""
    fail: Callable[[BaseException], None]
    """Takes what it raises."""
    takes_audio: bool = False


class Inbox:
    """One stream's audio and jobs. Callers add to it from any thread; the scheduler alone takes from it, one piece of work at a time."""

    def __init__(
        self,
        hearing: Hearing,
        wake: Callable[["Inbox"], None],
        tell: Callable[[list[Event] | BaseException], None],
    ) -> None:
        """`wake` has the scheduler call `go_on` soon; `tell` takes what comes of audio that nobody waits for."""
        self._hearing, self._wake, self._tell = hearing, wake, tell
        self._adding = threading.Lock()
        self._items: deque[Arrived | Job] = deque()
        self._jobs = self._samples = 0  # of them
        self._is_due = False  # the scheduler knows of it, or works on it
        self._work: Asking[Any] | None = None
        self._reply: Callable[[Any], None] = tell
        self._fail: Callable[[BaseException], None] = tell

    def feed(self, arrived: Arrived) -> None:
        """Add audio. Raises FullError, and takes nothing, where too much of it waits already."""
        with self._adding:
            self._add(arrived)
            call = not self._is_due and self._calls(self._something_to_do)
        if call:
            self._wake(self)

    def push(self, arrived: Arrived, work: Callable[[Sequence[Arrived]], Asking[list[Event]]]) -> list[Event]:
        """Add audio, and where there is something to do with it now the work that does that; return what comes of it."""
        reply: Future[list[Event]] = Future()
        with self._adding:
            self._add(arrived)
            if not self._is_due and not self._something_to_do:
                return []
            call = self._add_job(Job(work, reply.set_result, reply.set_exception, takes_audio=True))
        if call:
            self._wake(self)
        return reply.result()

    def do(self, work: Asking[T]) -> T:
        """Do work behind the audio so far; return what comes of it."""
        reply: Future[T] = Future()
        self.add(Job(lambda _: work, reply.set_result, reply.set_exception))
        return reply.result()

    def add(self, job: Job) -> None:
        """Add a job."""
        with self._adding:
            call = self._add_job(job)
        if call:
            self._wake(self)

    def drop_audio(self) -> None:
        """Forget the audio that waits."""
        with self._adding:
            self._items = deque(item for item in self._items if isinstance(item, Job))
            self._samples = 0

    def go_on(self, answer: Any = None) -> Ask | None:  # noqa: ANN401 -- each kind's own
        """Go on with the answer to what was asked for, or what it failed with; return what is asked for next, or None: no work is left.

        The scheduler's thread only.
        """
        while work := self._work or self._begin():
            self._work = work
            try:
                return work.throw(answer) if isinstance(answer, BaseException) else work.send(answer)
            except StopIteration as ended:
                self._reply(ended.value)
            except BaseException as error:  # noqa: BLE001 -- whoever waits raises it
                self._fail(error)
            self._work = answer = None
        return None

    @property
    def _something_to_do(self) -> bool:
        return bool(self._jobs) or self._samples >= self._hearing.needed

    def _add(self, arrived: Arrived) -> None:
        waiting_s = self._samples / self._hearing.sample_rate
        if waiting_s > MOST_WAITING_S:
            raise FullError(
                f"expected a recogniser that keeps up, found {waiting_s:.0f} s of a stream's audio waiting; push no faster than its events "
                f"come, or close other streams"
            )
        self._items.append(arrived)
        self._samples += len(arrived.samples)

    def _add_job(self, job: Job) -> bool:
        self._items.append(job)
        self._jobs += 1
        return self._calls(True)

    def _calls(self, due: bool) -> bool:
        """Whether the scheduler must be told."""
        call = due and not self._is_due
        self._is_due = self._is_due or due
        return call

    def _begin(self) -> Asking[Any] | None:
        """What is next; None, and not due any more, where there is nothing."""
        hearing, pieces, job = self._hearing, list[Arrived](), None
        with self._adding:
            if not self._something_to_do:
                self._is_due = False
                return None
            wanted = self._samples if self._jobs else hearing.needed  # more at once would hold events back
            while wanted > 0 and isinstance(item := self._items[0], Arrived):
                self._items.popleft()
                pieces.append(item)
                self._samples -= len(item.samples)
                wanted -= len(item.samples)
            if self._items and isinstance(item := self._items[0], Job) and (item.takes_audio or not pieces):
                self._items.popleft()
                self._jobs -= 1
                job = item
            more_waits = bool(self._items)
        if job is None:
            self._reply = self._fail = self._tell
            return hearing.turn(hearing.push(pieces, more_waits=more_waits))
        self._reply, self._fail = job.reply, job.fail
        return hearing.turn(job.work(pieces))
