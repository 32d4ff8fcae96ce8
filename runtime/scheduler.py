"""Scheduler: one thread that does the work of many streams, and runs together what they ask for at the same time."""

import copy
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from .asking import Ask
from .backends import Backend, Step
from .decoders.decoder import Search
from .decoders.remote import RemoteDecoder, SearchProcess
from .errors import ClosedError, LostError
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

SETTLED_S = 1.0
"""For a run and what comes of it, after which a recogniser that is full says so."""

_Some = list[tuple[Any, Any]]
"""Inboxes, or what stands for one, each with an ask or an answer."""
_Queue = SimpleQueue[_Some | None]
"""What is put together is taken together, as each time a thread is woken; None ends it."""


class Scheduler:
    """Steps of all streams that are due run in one call of the backend, if it runs them together; what falls due meanwhile in the next.

    After a run of several streams the next one begins APART_S later at the soonest, so that steps gather, and windows of voice activity
    with them. A stream that is alone waits for nobody. No stream has two steps in a run: one that has much audio waiting takes as many
    runs, and delays nobody.
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
        try:
            self._thread.start()
        except RuntimeError:
            self._voices.close()
            raise

    def wake(self, inbox: Inbox) -> None:
        """Have the inbox go on soon."""
        self._post([(inbox, None)])

    def ring(self, waiter: Waiter) -> None:
        """Wake a task once the answers that are there are told to all; the scheduler's thread only."""
        self._rung.append(waiter)

    def settle(self) -> None:
        """Wait until it has handed out what it has: then it holds no stream that nothing else refers to."""
        handed_out = threading.Event()
        self._post([(_Knock(handed_out.set), None)])
        handed_out.wait(SETTLED_S)

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
        try:
            # What is named in these, a stream and its state, is not held while the thread waits.
            while not self._closed:
                self._go_on_with_what_is_due()
                self._tell_others()
                self._let_asks_gather()
                self._run_steps()
                self._tell_others()
        finally:
            self._closed = True
            self._go_on_with([(inbox, _closed()) for inbox, _ in (*self._asked, *self._heard)])
            self._tell_others()

    def _go_on_with_what_is_due(self) -> None:
        due, _ = _taken(self._due, block=not (self._asked or self._heard))
        self._go_on_with(due)

    def _go_on_with(self, answers: _Some) -> None:
        """Take these; what one of them raises, and whoever keeps that, holds none of the others by its traceback."""
        answers.reverse()
        while answers:
            self._go_on(*answers.pop())

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
        while asked:
            run = asked[:] if self._together else asked[:1]
            del asked[: len(run)]
            self._go_on_with(_answered(self._backend.run, run))

    def _go_on(self, inbox: Inbox, answer: Any) -> None:  # noqa: ANN401 -- each kind's own
        ask: Ask | None = inbox.go_on(answer)
        answer = None  # an error would be held by its own traceback
        while isinstance(ask, Search):
            if isinstance(decoder := ask.decoder, RemoteDecoder):
                try:
                    self._apart.setdefault(self._searches_of(decoder.process), []).append((inbox, ask.kept()))
                except (RuntimeError, MemoryError) as error:
                    ask = inbox.go_on(
                        LostError(f"expected room for a beam search, found none: {error}; close other streams")
                    )
                    continue
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


class _Knock(NamedTuple):
    """Stands where an inbox does, and is taken in its turn."""

    reply: Callable[[], None]

    def go_on(self, answer: object) -> None:  # noqa: ARG002 -- an inbox has one
        """Tell that the turn has come."""
        self.reply()


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
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:  # those that started have nobody else to end them
            for _ in self._threads:
                self._asked.put(None)
            raise

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
            self._post(_answered(self._run, asked))
        return not ended


def _answered(run: Callable[[list[Any]], Sequence[Any]], asked: _Some) -> _Some:
    """Who asked what, which is taken out, with what `run` gives for it, or what it raises."""
    inboxes, asks = [inbox for inbox, _ in asked], [ask for _, ask in asked]
    asked.clear()
    try:
        return list(zip(inboxes, run(asks), strict=True))
    except BaseException as error:  # noqa: BLE001 -- whoever asked raises it
        told: BaseException | None = error
        while told:  # frames hold what all of them asked
            traceback.clear_frames(told.__traceback__)
            told = told.__cause__ or told.__context__
        errors = [error, *(_copy(error) for _ in inboxes[1:])]
        answers: _Some = list(zip(inboxes, errors, strict=True))
        del inboxes, asks, errors
        return answers


def _copy(error: BaseException) -> BaseException:
    """The same without its traceback: nobody's is told with another's."""
    with suppress(Exception):
        return copy.copy(error)
    return error


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
