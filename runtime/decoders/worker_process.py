"""A process that searches, as this one sees it."""

import itertools
import os
import pickle
import sys
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary, finalize

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .hotwords import Hotwords
from .maker import DecoderMaker
from .worker import Answer, Asked, Beginning, Request, received, send

if TYPE_CHECKING:
    from .remote import RemoteDecoder

READY_S = 60.0
"""That a process may take until it can search; half a second is usual."""
STARTED = "STREAMING_SEARCH_PROCESS"
"""Environment variable of the processes: a program that is its own interpreter would start itself again without end."""
ROOT = Path(__file__).absolute().parents[__name__.count(".")]
"""Where this package is found, also after the working folder changed."""


class WorkerProcess:
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

    def lacks(self, decoder: "RemoteDecoder") -> bool:
        """Whether a decoder was begun in another process, or is a copy of such."""
        of = decoder.origin or decoder
        return of.begun and of not in self._numbers

    def wait(self) -> None:
        """Wait until it can search. Raises EOFError or OSError where it ends, and InputError where it cannot open what it needs."""
        if not self._is_ready:
            if isinstance(error := received(self._connection, self.is_there, READY_S), Exception):
                raise error
            self._is_ready = True

    def answers(
        self, searches: "Sequence[tuple[RemoteDecoder, int | None]]", log_probs: npt.NDArray[np.float32]
    ) -> list[Answer | Exception]:
        """What the process answers decoders that are to take so many of the frames, None: whose utterance is over. Raises as `wait` does.

        `log_probs`: of all frames [frames, V+1].
        """
        self.wait()
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        hotwords: dict[int, Hotwords] = {}
        asked = [self._asked(decoder, frames, hotwords) for decoder, frames in searches]
        send(self._connection, Request(dropped, hotwords, asked, log_probs))
        return cast("list[Answer | Exception]", received(self._connection, self.is_there))

    def _asked(self, decoder: "RemoteDecoder", frames: int | None, hotwords: dict[int, Hotwords]) -> Asked:
        """What to ask for; hotwords that the process has not yet are added to `hotwords`."""
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

    def _number(self, held: "RemoteDecoder | Hotwords") -> int:
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
