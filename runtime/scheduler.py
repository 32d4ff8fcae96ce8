"""Scheduler: one thread that does the work of many streams, and runs together what they ask for at the same time."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from .asking import Ask
from .backends import Backend, Step
from .decoders.decoder import Search
from .decoders.remote import RemoteDecoder, SearchProcess
from .errors import ClosedError
from .inbox import Inbox
from .mailbox import Waiter, wake
from .vad import Vad, Voice

VOICE_THREADS = 2
"""Beside the scheduler's: a window of voice activity takes 0.04 ms of a core, 1,024 streams 1.3 cores."""
VOICES = 32
"""Windows run together at most: more take no less time each, and let others wait."""
SEARCHES = 16
"""Sent to a process together at most: more cost hardly less each, and the first of them waits for the last."""

APART_S = 0.008
"""From the begin of a run of several streams to the next run's, at least: with 256 streams a quarter of the runs, and of the GPU's time,
and three quarters of the CPU's, for 5 ms more (measured with a step of 1.2 ms on a CPU)."""

_Some = list[tuple[Inbox, Any]]
"""Inboxes, each with an ask or an answer."""
_Queue = SimpleQueue[_Some | None]
"""What is put together is taken together, as each time a thread is woken; None ends it."""


class Scheduler:
    """Steps of all streams that are due run in one call of the backend, if it runs them together; what falls due meanwhile in the next.

    After a run of several streams the next one begins APART_S later at the soonest, so that steps gather, and windows of voice activity
    with them. A stream that is alone waits
    for nobody. No stream has two steps in a run: one that has much audio waiting takes as many runs, and delays nobody.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._together = backend, backend.most_streams is not None
        self._due: _Queue = SimpleQueue()
        self._asked: list[tuple[Inbox, Step]] = []
        self._heard: list[tuple[Inbox, Voice]] = []
        self._voices = Answerer(Vad.run, self._post, VOICE_THREADS, VOICES)
        self._searches: dict[SearchProcess, Answerer] = {}
        self._apart: dict[Answerer, _Some] = {}
        """Asks that others are to answer."""
        self._rung: list[Waiter] = []
        self._next_s = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def wake(self, inbox: Inbox) -> None:
        """Have the inbox go on soon."""
        self._post([(inbox, None)])

    def ring(self, waiter: Waiter) -> None:
        """Wake a task once the answers that are there are told to all; the scheduler's thread only."""
        self._rung.append(waiter)

    def close(self) -> None:
        """End the thread after the run that it is in: to be called once the streams are closed. Safe to call twice."""
        self._closed = True
        self._due.put(None)
        _join(self._thread)
        for answerer in (self._voices, *self._searches.values()):
            answerer.close()
        self._fail_what_waits()

    def _post(self, answers: "_Some") -> None:
        self._due.put(answers)
        if self._closed and not self._thread.is_alive():
            self._fail_what_waits()

    def _run(self) -> None:
        while not self._closed:  # what is named in the two, a stream and its state, is not held while the thread waits
            self._go_on_with_what_is_due()
            self._tell_others()
            self._let_asks_gather()
            self._run_steps()
            self._tell_others()
        for inbox, _ in (*self._asked, *self._heard):
            self._go_on(inbox, _closed())
        self._tell_others()

    def _go_on_with_what_is_due(self) -> None:
        due, _ = _taken(self._due, block=not (self._asked or self._heard))
        for inbox, answer in due:
            self._go_on(inbox, answer)

    def _tell_others(self) -> None:
        """Hand out what was asked for, and wake the tasks that wait, once all that is there is done: a call each gives others a turn."""
        apart, self._apart = self._apart, {}
        for answerer, asks in apart.items():
            answerer.ask(asks)
        rung, self._rung = self._rung, []
        wake(rung)

    def _let_asks_gather(self) -> None:
        if (self._asked or self._heard) and (wait_s := self._next_s - time.perf_counter()) > 0:
            time.sleep(wait_s)
            self._go_on_with_what_is_due()
            self._tell_others()
        if self._together and len(self._asked) + len(self._heard) > 1:
            self._next_s = time.perf_counter() + APART_S
        if self._heard:
            heard, self._heard = self._heard, []
            self._voices.ask(heard)

    def _run_steps(self) -> None:
        if not self._asked or self._closed:
            return
        asked, self._asked = self._asked, []
        for run in [asked] if self._together else [[each] for each in asked]:
            answers = _answers(self._backend.run, [step for _, step in run])
            for (inbox, _), answer in zip(run, answers, strict=True):
                self._go_on(inbox, answer)

    def _go_on(self, inbox: Inbox, answer: Any) -> None:  # noqa: ANN401 -- each kind's own
        ask: Ask | None = inbox.go_on(answer)
        while isinstance(ask, Search):
            if isinstance(decoder := ask.decoder, RemoteDecoder):
                self._apart.setdefault(self._searches_of(decoder.process), []).append((inbox, ask.kept()))
                return
            ask = inbox.go_on(_searched(ask))
        if isinstance(ask, Step):
            self._asked.append((inbox, ask))
        elif ask:
            self._heard.append((inbox, ask))

    def _searches_of(self, process: SearchProcess) -> "Answerer":
        if process not in self._searches:
            self._searches[process] = Answerer(process.run, self._post, 1, SEARCHES)
        return self._searches[process]

    def _fail_what_waits(self) -> None:
        due, _ = _taken(self._due, block=False)
        for inbox, answer in due:
            ask = inbox.go_on(answer)
            while ask:
                ask = inbox.go_on(_closed())
        self._tell_others()


class Answerer:
    """Threads that answer asks of one kind, those that wait at a time together."""

    def __init__(
        self,
        run: Callable[[list[Any]], Sequence[Any]],
        post: Callable[["_Some"], None],
        threads: int,
        most: int,
    ) -> None:
        """`run` answers some `most` asks at once; `post` takes the answers, or what `run` raised."""
        self._run, self._post, self._most = run, post, most
        self._asked: _Queue = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="answerer", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def ask(self, asks: "_Some") -> None:
        """Have them answered soon, by all threads."""
        share = min(self._most, -(-len(asks) // len(self._threads)))
        for start in range(0, len(asks), share):
            self._asked.put(asks[start : start + share])

    def close(self) -> None:
        """End the threads once all is answered."""
        for _ in self._threads:
            self._asked.put(None)
        for thread in self._threads:
            _join(thread)

    def _work(self) -> None:
        while self._answer():
            pass

    def _answer(self) -> bool:
        """Wait for asks and answer them; False: there will be none."""
        asked, ended = _taken(self._asked, block=True, most=self._most)
        if asked:
            answers = _answers(self._run, [ask for _, ask in asked])
            self._post([(inbox, answer) for (inbox, _), answer in zip(asked, answers, strict=True)])
        return not ended


def _answers(run: Callable[[list[Any]], Sequence[Any]], asks: list[Any]) -> Sequence[Any]:
    """What `run` gives, or for each what it raises."""
    try:
        return run(asks)
    except BaseException as error:  # noqa: BLE001 -- whoever asked raises it
        return [error] * len(asks)


def _searched(ask: Search) -> bool | BaseException:
    """Whether its text changed, or what the search raises."""
    try:
        return ask.run()
    except BaseException as error:  # noqa: BLE001 -- whoever asked raises it
        return error


def _taken(queue: _Queue, *, block: bool, most: float = math.inf) -> tuple[_Some, bool]:
    """What a queue holds, with `block` at least one thing, up to where it ends; and whether it ended."""
    taken: _Some = []
    with suppress(Empty):
        while len(taken) < most:
            each = queue.get(block and not taken)
            if each is None:
                return taken, True
            taken += each
    return taken, False


def _join(thread: threading.Thread) -> None:
    """Wait for its end; a thread that itself drops the recogniser ends soon after."""
    if thread is not threading.current_thread():
        thread.join()


def _closed() -> ClosedError:
    return ClosedError("expected an open recogniser, found a closed one; open it again")
