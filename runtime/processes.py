"""What works only in the process that opened it: threads, memory of a GPU and locks do not come along into a fork."""

import ctypes
import os
from contextlib import ExitStack
from typing import NoReturn
from weakref import WeakSet, finalize

from .errors import ClosedError

_kept: "WeakSet[object]" = WeakSet()


_this = [os.getpid()]
"""This process, told anew in a fork: to ask the system takes longer than a push that only keeps its samples."""


class OfOneProcess:
    """An object that says so in one line where it is used in a fork, or pickled."""

    def __init__(self) -> None:
        (self._process,) = _this

    @property
    def _forked(self) -> bool:
        """Whether this process is a fork of the one that made the object."""
        return self._process != _this[0]

    def _check_process(self) -> None:
        """Raise ClosedError in a fork; to be called before a lock is waited for, which a thread may have held in the parent."""
        if self._forked:
            raise ClosedError(
                f"expected a {type(self).__name__} of this process, found one of process {self._process}, which this one was forked from; "
                f"open a Recognizer here"
            )

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: raises TypeError."""
        raise TypeError(
            f"expected what can be pickled or copied, found a {type(self).__name__}; open a Recognizer in each process that needs one"
        )


def keep_in_forks(owner: object) -> None:
    """Never free `owner` in a fork: it would wait for threads that only this process has, or free what is not the fork's."""
    _kept.add(owner)


def freed_with(owner: object, owned: ExitStack) -> "finalize[[ExitStack, int], object]":
    """Return what frees `owned` once: when it is called, when `owner` is dropped or when the process ends, whichever comes first.

    At the end CUDA and TensorRT are still there. A fork frees nothing: it has no part in a GPU's memory.
    """
    keep_in_forks(owner)
    keep_in_forks(owned)  # which nothing else may hold once its owner is closed there
    return finalize(owner, _close, owned, os.getpid())


def _close(owned: ExitStack, process: int) -> None:
    if os.getpid() == process:
        owned.close()


def _keep() -> None:
    _this[0] = os.getpid()
    for owner in _kept:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


os.register_at_fork(after_in_child=_keep)
