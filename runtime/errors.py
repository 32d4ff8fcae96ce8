"""The errors a user can cause or meet, and how a command line reports them."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Bad input from the user: one line that says what was expected, what was found and what to do."""


class CudaError(RuntimeError):
    """A call on the GPU failed: one line with its name and the reason."""


class ClosedError(RuntimeError):
    """Something was used after it was closed: one line that says what."""


def install(extra: str = "") -> str:
    """How to install what is missing, for a message: with `make setup` here, with pip where this package is installed by itself."""
    if __package__ == "runtime":
        if extra == "mic":
            return "`build/python -m pip install -r requirements/mic.txt`"
        if extra == "cpu":
            return "run `make setup HARDWARE=cpu`"
        return f"run `make setup`{' on a machine with an NVIDIA GPU' if extra == 'gpu' else ''}"
    return f"install streaming-conformer[{extra}]" if extra in {"gpu", "mic"} else "install streaming-conformer again"


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
    """Run a command; return its exit code: 0, 2 for bad input, 1 for a GPU that fails, 130 when interrupted.

    Whatever fails is one line on stderr, also where the system refuses: a file of someone else's, a name too long, a closed pipe.
    """
    try:
        run()
    except (InputError, OSError, CudaError) as error:
        line = " ".join(str(error)[:400].split()) if isinstance(error, OSError) else error
        print(f"error: {line}", file=sys.stderr)
        return 1 if isinstance(error, CudaError) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
