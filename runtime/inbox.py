"""Inbox: what callers hand to a stream whose work a scheduler does, in order."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from .asking import Ask, Asking
from .errors import FullError
from .events import Event
from .hearing import Arrived, Hearing

T = TypeVar("T")

MOST_WAITING_S = 60.0
"""Fed audio that may wait for its turn."""
PIECE_S = 1.0
"""Longer audio is fed in pieces of this length: events of a piece are told at its end."""


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
        self._rate = hearing.sample_rate
        self._longest = round(PIECE_S * self._rate)
        self._adding = threading.Lock()
        self._jobs: deque[tuple[list[Arrived], Job]] = deque()
        """Each with the audio before it and behind the job before."""
        self._pieces: list[Arrived] = []  # behind them all
        self._samples = 0  # of those pieces
        self._waiting = 0  # samples of all pieces, those before jobs too
        self._needed = hearing.needed  # for there to be something to do, known while it is not due
        self._is_due = False  # the scheduler has heard of it, and goes on until nothing is left
        self._work: Asking[Any] | None = None
        self._reply: Callable[[Any], None] = tell
        self._fail: Callable[[BaseException], None] = tell

    @property
    def waiting_s(self) -> float:
        """Audio that waits for its turn."""
        return self._waiting / self._rate

    def feed(self, arrived: Arrived) -> None:
        """Add audio. Raises FullError, and takes nothing, where too much of it waits already."""
        with self._adding:
            if self._waiting > MOST_WAITING_S * self._rate:
                raise FullError(
                    f"expected a recogniser that keeps up, found {self.waiting_s:.0f} s of a stream's audio waiting; feed no "
                    f"faster than its events come, or close other streams"
                )
            if len(arrived.samples) <= self._longest:
                self._add(arrived)
            else:
                for start in range(0, len(arrived.samples), self._longest):
                    self._add(Arrived(arrived.samples[start : start + self._longest], arrived.at_s))
            if self._samples < self._needed:
                return
        self._call()

    def push(self, arrived: Arrived, work: Callable[[Sequence[Arrived]], Asking[list[Event]]]) -> list[Event]:
        """Add audio, and where there is something to do with it now the work that does that; return what comes of it."""
        reply: Future[list[Event]] = Future()
        with self._adding:
            self._add(arrived)
            if not (self._is_due or self._jobs) and self._samples < self._needed:
                return []
            self._queue(Job(work, reply.set_result, reply.set_exception, takes_audio=True))
        self._call()
        try:
            return self._result(reply)
        finally:
            del reply  # it holds what it raises, whose traceback holds this

    def do(self, work: Asking[T]) -> T:
        """Do work behind the audio so far; return what comes of it."""
        reply: Future[T] = Future()
        self.add(Job(lambda _: work, reply.set_result, reply.set_exception))
        try:
            return self._result(reply)
        finally:
            del reply

    def add(self, job: Job) -> None:
        """Add a job behind the audio so far."""
        with self._adding:
            self._queue(job)
        self._call()

    def drop_audio(self) -> None:
        """Forget the audio that waits."""
        with self._adding:
            for pieces, _ in self._jobs:
                pieces.clear()
            self._pieces, self._samples, self._waiting = [], 0, 0

    def go_on(self, answer: Any = None) -> Ask | None:  # noqa: ANN401 -- each kind's own
        """Go on with the answer to what was asked for, or what it failed with; return what is asked for next, or None: no work is left.

        Without an answer there is more to do, of which work in progress needs not be told. The scheduler's thread only.
        """
        if answer is None and self._work:
            return None
        self._is_due = True
        while work := self._work or self._begin():
            self._work = work
            try:
                return work.throw(answer) if isinstance(answer, BaseException) else work.send(answer)
            except StopIteration as ended:
                self._reply(ended.value)
            except BaseException as error:  # noqa: BLE001 -- whoever waits raises it
                self._fail(error)
            self._work = answer = None
            self._reply = self._fail = self._tell  # an error that is kept does not keep the stream by them
        return None

    def _result(self, reply: Future[T]) -> T:
        """What comes of work. Where waiting for it is interrupted, as by Ctrl-C, the utterance is lost, as where the caller works."""
        try:
            return reply.result()
        except BaseException:
            if not reply.done():
                self._hearing.cancel()
            raise
        finally:
            del reply

    def _add(self, arrived: Arrived) -> None:
        self._pieces.append(arrived)
        self._samples += len(arrived.samples)
        self._waiting += len(arrived.samples)

    def _queue(self, job: Job) -> None:
        self._jobs.append((self._pieces, job))
        self._pieces, self._samples = [], 0

    def _call(self) -> None:
        """Have the scheduler hear of it. Where Ctrl-C comes before this, it does with whatever is added next."""
        if not self._is_due:
            self._wake(self)

    def _begin(self) -> Asking[Any] | None:
        """What is next; None, and not due any more, where there is nothing."""
        hearing = self._hearing
        with self._adding:
            self._needed = max(1, hearing.needed)  # work that was cut short leaves windows that nobody will hear
            if self._jobs:
                pieces, job = self._jobs[0]
                if job.takes_audio or not pieces:
                    self._jobs.popleft()
                    self._reply, self._fail = job.reply, job.fail
                    self._waiting -= sum(len(piece.samples) for piece in pieces)
                    return hearing.turn(job.work(pieces))
                pieces, left, samples = self._parted(pieces)
                self._jobs[0] = left, job
            elif self._pieces and self._samples >= self._needed:
                pieces, self._pieces, samples = self._parted(self._pieces)
                self._samples -= samples
            else:
                self._is_due = False
                return None
            more_waits = bool(self._jobs or self._pieces)
            self._waiting -= samples
        return hearing.turn(hearing.push(pieces, more_waits=more_waits))

    def _parted(self, pieces: list[Arrived]) -> tuple[list[Arrived], list[Arrived], int]:
        """As many as there is something to do with, the others, and samples of the first: more at once would hold events back."""
        count = samples = 0
        while count < len(pieces) and samples < self._needed:
            samples += len(pieces[count].samples)
            count += 1
        return pieces[:count], pieces[count:], samples
