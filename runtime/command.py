"""What every command begins with, before it imports what takes seconds, and what stops it."""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `kill`, a supervisor or a container's end sends."""
Handler = Callable[[int, FrameType | None], Any]


def begin() -> None:
    """Prepare this process for a command: the first statement of each program, before its other imports.

    Until the command runs, a stop ends the process at once and without a word: nothing has to be undone yet, and modules that are being
    imported show a KeyboardInterrupt with a traceback. In a locale without UTF-8, where Python would not find files by the names that
    manifests give them, it starts anew with UTF-8.
    """
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` and `&` in scripts leave it
            signal.signal(number, lambda number, _: os._exit(128 + number))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it, for letters that a terminal lacks
    if sys.getfilesystemencoding() == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 -- itself


@contextmanager
def stoppable() -> Iterator[list[int]]:
    """Within the block a stop raises KeyboardInterrupt in the main thread; yield the numbers of the signals that came.

    So does SIGTERM, so that what is half written goes. The list tells a stop even where the code that it struck made another exception
    of it, or where Python could not raise it, as in a destructor: then it is raised again.
    """
    came: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    def lost(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt) and came:
            again = threading.Timer(0.01, os.kill, (os.getpid(), came[-1]))  # once this has returned
            again.daemon = True
            again.start()
        else:
            sys.__unraisablehook__(unraisable)

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    hook = sys.unraisablehook
    before = {number: signal.getsignal(number) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        sys.unraisablehook = lost
        for number in before:
            signal.signal(number, stop)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def console() -> int:
    """Run `streaming-conformer`, the command of the installed package; return its exit code."""
    begin()
    from .__main__ import main

    return main()
