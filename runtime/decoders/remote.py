"""Beam searches that other processes do: a chunk's takes most of a millisecond of a core, and Python has one core for each process."""

import itertools
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Pipe
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryFile
from typing import cast
from weakref import WeakKeyDictionary, finalize

import numpy as np
import numpy.typing as npt

from ..backends.base import StepResult
from ..errors import ClosedError, InputError, LostError
from ..words import Word
from .decoder import Search
from .greedy import first
from .hotwords import Hotwords
from .maker import DecoderMaker
from .worker import Answer, Asked, Beginning, Request, Shown, received, send

STREAMS = 48
"""That one process searches for: they take a third of a core, 0.6 ms on average for a chunk of 160 ms in which someone speaks. With 128 of
them an H200's host, half as fast, was 1.5 s late."""
READY_S = 60.0
"""That a process may take until it can search; half a second is usual."""
STARTED = "STREAMING_SEARCH_PROCESS"
"""Environment variable of the processes: a program that is its own interpreter would start itself again without end."""
ROOT = Path(__file__).absolute().parents[__name__.count(".")]
"""Where this package is found, also after the working folder changed."""


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
        self._worker: _Worker | None = None
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
            with self._ended_by_errors(worker):
                answers = iter(self._answers(worker, there, np.concatenate([self._no_frames, *pushed])))
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

    def _started(self) -> "_Worker":
        if self._closed:
            raise ClosedError("expected an open recogniser, found a closed one; open it again")
        if self._worker is None or not self._worker.is_there():
            try:
                self._worker = _Worker(self._maker)
            except OSError as error:
                raise LostError(
                    f"expected another process for beam search, found that none can be started: {error}; end others, or close streams"
                ) from error
        return self._worker

    @contextmanager
    def _ended_by_errors(self, worker: "_Worker") -> Iterator[None]:
        try:
            yield
        except BaseException:  # an answer that comes later would be taken for another's
            self._worker = None
            worker.end()
            raise

    def _answers(
        self, worker: "_Worker", searches: list[Search], log_probs: npt.NDArray[np.float32]
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


class _Worker:
    """A process, and what of this one it has. Once the object is dropped, or the interpreter ends, so does the process."""

    def __init__(self, maker: DecoderMaker) -> None:
        """Start the process, which answers once it has opened what it needs.

        Raises OSError where the system refuses, InputError where it is not known by which program.
        """
        if not sys.executable:
            raise InputError(
                "expected Python's program in sys.executable, found none; set it, or leave max_streams out"
            )
        if STARTED in os.environ:
            raise InputError(
                f"expected Python's program in sys.executable, found that {sys.executable} runs this program again; set it, or leave "
                f"max_streams out"
            )
        self._connection, theirs = Pipe()
        with theirs, TemporaryFile() as opened_from:
            pickle.dump(maker, opened_from)
            opened_from.seek(0)
            # Not by multiprocessing, which would run the program's own module again there. A session of its own: Ctrl-C is not for it.
            self._process = Popen(
                [sys.executable, "-c", _program(), str(theirs.fileno()), str(os.getpid())],
                stdin=opened_from,
                pass_fds=[theirs.fileno()],
                env=os.environ | {STARTED: "1"},
                start_new_session=True,
            )
        self._is_ready = False
        self._numbers: WeakKeyDictionary[RemoteDecoder | Hotwords, int] = WeakKeyDictionary()
        self._dropped: deque[int] = deque()  # added to by the garbage collector, at any time and in any thread
        self._count = itertools.count()
        self._end = finalize(self, _end, self._process)

    def end(self) -> int | None:
        """End the process, and return its exit code."""
        self._end()
        return cast("int | None", self._process.returncode)

    def is_there(self) -> bool:
        """Whether the process goes on."""
        return self._process.poll() is None

    def lacks(self, decoder: RemoteDecoder) -> bool:
        """Whether a decoder was begun in another process, or is a copy of such."""
        of = decoder.origin or decoder
        return of.begun and of not in self._numbers

    def wait(self) -> None:
        """Wait until it can search. Raises EOFError or OSError where it ends, and InputError where it cannot open what it needs."""
        if not self._is_ready:
            if isinstance(error := received(self._connection, self.is_there, READY_S), Exception):
                raise error
            self._is_ready = True

    def answers(self, searches: Sequence[Search], log_probs: npt.NDArray[np.float32]) -> list[Answer | Exception]:
        """What the process answers. Raises as `wait` does."""
        self.wait()
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        hotwords: dict[int, Hotwords] = {}
        asked = [self._asked(search, _remote(search), hotwords) for search in searches]
        send(self._connection, Request(dropped, hotwords, asked, log_probs))
        return cast("list[Answer | Exception]", received(self._connection, self.is_there))

    def _asked(self, search: Search, decoder: RemoteDecoder, hotwords: dict[int, Hotwords]) -> Asked:
        """What to ask for; hotwords that the process has not yet are added to `hotwords`."""
        frames = search.frames if search.result else None
        if decoder.origin:
            new: Beginning | int = self._numbers[decoder.origin]
        elif decoder.begun:
            return Asked(self._numbers[decoder], None, frames)
        else:
            new = Beginning(decoder.start_s, self._number_of(decoder.hotwords, hotwords))
        decoder.begun, decoder.origin = True, None
        return Asked(self._number(decoder), new, frames)

    def _number_of(self, choice: Hotwords | None, hotwords: dict[int, Hotwords]) -> int | None:
        if choice is None:
            return None
        if choice not in self._numbers:
            hotwords[self._number(choice)] = choice
        return self._numbers[choice]

    def _number(self, held: RemoteDecoder | Hotwords) -> int:
        number = self._numbers[held] = next(self._count)
        finalize(held, self._dropped.append, number).atexit = False
        return number


def _program() -> str:
    path = [*(str(Path(folder).absolute()) for folder in sys.path if isinstance(folder, str)), str(ROOT)]
    return f"import sys; sys.path[:] = {path!r}; from {__package__}.worker import main; main(*map(int, sys.argv[1:]))"


def _end(process: "Popen[bytes]") -> None:
    """End it: whoever waits for an answer finds that there is none. In a fork, whose child it is not, Popen leaves it alone."""
    process.kill()
    process.wait()


def _remote(search: Search) -> RemoteDecoder:
    return cast("RemoteDecoder", search.decoder)


def _lost(code: int | None) -> LostError:
    how = "" if code is None else f" with exit code {code}"
    return LostError(
        f"expected the process of an utterance's beam search to go on, found it ended{how}, as where memory runs out; begin the next one"
    )
