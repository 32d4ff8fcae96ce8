"""The errors a user can cause or meet, and how a command line reports them."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from signal import SIGINT, SIGPIPE
from typing import TYPE_CHECKING, Any

from .command import stoppable

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Bad input from the user: one line that says what was expected, what was found and what to do."""


class CudaError(RuntimeError):
    """A call on the GPU failed: one line with its name and the reason."""


class ClosedError(RuntimeError):
    """Something was used after it was closed: one line that says what."""


class FullError(RuntimeError):
    """A recogniser has as many streams as it takes, or more audio waits than it keeps: one line that says what to do."""


class LostError(RuntimeError):
    """A process or thread that does the work of some streams ended, or cannot be had: one line.

    Their utterances are lost; the next ones begin in a fresh process. Where that happens as a recogniser is opened, it is not.
    """


def install(extra: str = "") -> str:
    """How to install what is missing, for a message: with `make setup` here, with pip where this package is installed by itself."""
    if __package__ == "runtime":
        if extra == "mic":
            return "`build/python -m pip install -r requirements/mic.txt`"
        if extra == "cpu":
            return "run `make setup HARDWARE=cpu`"
        return f"run `make setup`{' on a machine with an NVIDIA GPU' if extra == 'gpu' else ''}"
    extras = {"gpu", "mic", "formats"}
    return f"install streaming-conformer[{extra}]" if extra in extras else "install streaming-conformer again"


def imported(module: str, what: str, remedy: str) -> Any:  # noqa: ANN401 -- a module without types
    """Import an optional module; raises InputError, one line with `what` was expected, where it is missing or does not load."""
    try:
        return import_module(module)
    except (ImportError, OSError, AttributeError) as error:  # the last two: a library that it needs did not load
        raise InputError(f"expected {what}, found {error!r}; {remedy}") from error


def what_is_wrong(error: "ValidationError") -> str:
    """The first thing wrong with a file's JSON, as `where: what`: one printable line, whatever the file holds."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    line = f"{_shown(where, 100)}: {first['msg']}"
    return _shown(line, 400)


def _shown(text: str, most: int) -> str:
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= most else f"{text[:most]}..."


def exit_code(run: Callable[[], None]) -> int:
    """Run a command; return its exit code.

    That is 0, 2 for bad input, 1 for a GPU or a process of searches that fails, and as a shell has it 130 after Ctrl-C, 143 after SIGTERM
    and 141 where nobody reads what it prints: these three end it without a word. Whatever else fails is one line on stderr, also where
    the system refuses: a file of someone else's, a name too long, a full disk.
    """
    with stoppable() as stops:
        try:
            _run_to_the_last_line(run)
            code = 0
        except BaseException as error:  # noqa: BLE001 -- what is not known is raised again
            code = 0 if stops else _code_of(error)
    return 128 + stops[0] if stops else code


def _run_to_the_last_line(run: Callable[[], None]) -> None:
    try:
        run()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich makes this of it
            raise ended.__context__ from None
        _flush()
        raise
    _flush()


def _flush() -> None:
    """Print what is still held back: at the interpreter's end a failure would be a traceback."""
    if sys.stdout:
        sys.stdout.flush()


def _code_of(error: BaseException) -> int:
    """Print a line of what a user can cause; raise anything else."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + SIGINT
    if isinstance(error, OSError):
        _print_no_more()
    if isinstance(error, BrokenPipeError):
        return 128 + SIGPIPE
    if not isinstance(error, (InputError, OSError, CudaError, LostError)):
        raise error
    line = " ".join(str(error)[:400].split()) if isinstance(error, OSError) else error
    with suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)
    return 1 if isinstance(error, (CudaError, LostError)) else 2


def _print_no_more() -> None:
    """Leave what could not be printed unprinted: the interpreter would try again at its end, and show that it cannot."""
    try:
        _flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
