"""Beam searches that other processes do: a chunk's takes most of a millisecond of a core, and Python has one core for each process."""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import numpy as np
import numpy.typing as npt

from ..backends.base import StepResult
from ..errors import ClosedError, LostError
from ..words import Word
from .decoder import Search
from .greedy import first
from .hotwords import Hotwords
from .maker import DecoderMaker
from .worker import Answer, Shown
from .worker_process import READY_S, WorkerProcess

STREAMS = 48
"""That one process searches for: they take a third of a core, 0.6 ms on average for a chunk of 160 ms in which someone speaks. With 128 of
them an H200's host, half as fast, was 1.5 s late."""


def usual_processes(streams: int) -> int:
    """How many processes search for so many streams: at most one for each core but one, which is the scheduler's."""
    return max(1, min(-(-streams // STREAMS), len(os.sched_getaffinity(0)) - 1))


class RemoteDecoder:
    """A beam search in another process; what it shows is of the last answer. A Decoder.

    `push` and `finish` wait for the process, and raise LostError once it has ended, and ClosedError once it was closed.
    """

    def __init__(self, process: "SearchProcess", start_s: float, hotwords: Hotwords | None) -> None:
        self.process = process
        self.start_s, self.hotwords = start_s, hotwords
        self.origin: RemoteDecoder | None = None
        """The one that this is a copy of, while there is none in the process yet."""
        self.begun = False
        """Whether there is one in the process."""
        self.shown = Shown()

    @property
    def text(self) -> str:
        """See Decoder."""
        return self.shown.text

    @property
    def tokens(self) -> tuple[int, ...]:
        """See Decoder."""
        return self.shown.tokens

    @property
    def words(self) -> tuple[Word, ...]:
        """See Decoder."""
        return self.shown.words

    @property
    def stable(self) -> int:
        """See Decoder."""
        return self.shown.stable

    @property
    def blank_frames(self) -> int:
        """See Decoder."""
        return self.shown.blank_frames

    def push(self, result: StepResult, frames: int) -> bool:
        """See Decoder."""
        return self._run(Search(self, result, frames))

    def finish(self) -> None:
        """See Decoder."""
        self._run(Search(self))

    def copy(self) -> "RemoteDecoder":
        """See Decoder: the process makes it with its first `push`, which comes before this one's next."""
        other = RemoteDecoder(self.process, self.start_s, self.hotwords)
        other.shown, other.origin = self.shown, self if self.begun else self.origin
        return other

    def show(self, answer: Answer) -> bool:
        """Show what the process answers; return whether the text changed."""
        before, self.shown = self.shown, answer.after(self.shown)
        return self.shown.text != before.text

    def _run(self, search: Search) -> bool:
        (found,) = self.process.run([search])
        if isinstance(found, Exception):
            raise found
        return found


class SearchProcess:
    """Does searches in a process of its own, and in a fresh one after that ended."""

    def __init__(self, maker: DecoderMaker, classes: int) -> None:
        """`classes`: V+1. The process is started later."""
        self._maker = maker
        self._no_frames = np.zeros((0, classes), np.float32)
        self._running = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._closed = False

    def start(self) -> None:
        """Start the process where there is none; what fails is raised by `run`. Does not wait."""
        if self._running.acquire(blocking=False):  # otherwise it runs
            try:
                with suppress(LostError, ClosedError):
                    self._started()
            finally:
                self._running.release()

    def wait(self) -> None:
        """Wait until the process, which is started where there is none, can search.

        Raises LostError where none can be started, it ends, or takes READY_S, and InputError where it cannot open its files.
        """
        with self._running:
            worker = self._worker or self._started()
            with self._ended_by_errors(worker):
                try:
                    worker.wait()
                except (EOFError, OSError) as error:
                    found = "none yet" if isinstance(error, TimeoutError) else f"its end with exit code {worker.end()}"
                    raise LostError(
                        f"expected a process that is ready for beam search within {READY_S:.0f} s, found {found}; free memory and cores, "
                        f"or ask for fewer search_processes"
                    ) from error

    def run(self, searches: Sequence[Search]) -> list[Exception | bool]:
        """Let the RemoteDecoders of these searches take what they are to take; return for each whether its text changed, or why it did not.

        Raises LostError where the process ends, or none can be started, InputError where a fresh one cannot open its files, and
        ClosedError after `close`.
        """
        with self._running:
            worker = self._started()
            lost = [worker.lacks(_remote(search)) for search in searches]
            there = [search for search, is_lost in zip(searches, lost, strict=True) if not is_lost]
            pushed = [first(search.result.log_probs, search.frames) for search in there if search.result]
            asks = [(_remote(search), search.frames if search.result else None) for search in there]
            with self._ended_by_errors(worker):
                answers = iter(self._answers(worker, asks, np.concatenate([self._no_frames, *pushed])))
            found = [_lost(None) if is_lost else next(answers) for is_lost in lost]
        return [
            answer if isinstance(answer, Exception) else _remote(search).show(answer)
            for search, answer in zip(searches, found, strict=True)
        ]

    def close(self) -> None:
        """End the process, also while it searches. Safe to call twice."""
        self._closed = True
        if worker := self._worker:
            worker.end()
        with self._running:  # its searches have failed, and nobody starts another
            if self._worker:
                self._worker.end()

    def _started(self) -> WorkerProcess:
        if self._closed:
            raise ClosedError("expected an open recogniser, found a closed one; open it again")
        if self._worker is None or not self._worker.is_there():
            try:
                self._worker = WorkerProcess(self._maker)
            except OSError as error:
                raise LostError(
                    f"expected another process for beam search, found that none can be started: {error}; end others, or close streams"
                ) from error
        return self._worker

    @contextmanager
    def _ended_by_errors(self, worker: WorkerProcess) -> Iterator[None]:
        try:
            yield
        except BaseException:  # an answer that comes later would be taken for another's
            self._worker = None
            worker.end()
            raise

    def _answers(
        self,
        worker: WorkerProcess,
        searches: list[tuple[RemoteDecoder, int | None]],
        log_probs: npt.NDArray[np.float32],
    ) -> list[Answer | Exception]:
        try:
            return worker.answers(searches, log_probs)
        except (EOFError, OSError) as error:
            if self._closed:
                raise ClosedError("expected an open recogniser, found one that was closed during a search") from error
            raise _lost(worker.end()) from error


class SearchProcesses:
    """Processes that share the searches: each utterance is the next one's."""

    def __init__(self, maker: DecoderMaker, classes: int, count: int) -> None:
        """Each is started with its first utterance, or by `start`. `classes`: V+1."""
        self._processes = [SearchProcess(maker, classes) for _ in range(count)]
        self._turns = itertools.count()

    def start(self) -> None:
        """Start them all. Does not wait; what fails is raised by `wait`."""
        for process in self._processes:
            process.start()

    def wait(self) -> None:
        """Wait until all can search: an utterance before that would be half a second late. Raises as SearchProcess.wait does."""
        for process in self._processes:
            process.wait()

    def new_decoder(self, start_s: float, hotwords: Hotwords | None) -> RemoteDecoder:
        """Return a decoder at the start of an utterance, which is at `start_s` of its stream. Does not wait."""
        process = self._processes[next(self._turns) % len(self._processes)]
        process.start()
        return RemoteDecoder(process, start_s, hotwords or None)

    def close(self) -> None:
        """End them, also while they search. Safe to call twice."""
        for process in self._processes:
            process.close()


def _remote(search: Search) -> RemoteDecoder:
    return cast("RemoteDecoder", search.decoder)


def _lost(code: int | None) -> LostError:
    how = "" if code is None else f" with exit code {code}"
    return LostError(
        f"expected the process of an utterance's beam search to go on, found it ended{how}, as where memory runs out; begin the next one"
    )
