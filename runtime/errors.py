"""The one error that bad input raises, and how a command line reports it."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Bad input from the user: one line that says what was expected, what was found and what to do."""


def exit_code(run: Callable[[], None]) -> int:
    """Run a command; return its exit code: 0, 2 after a one-line error on stderr for bad input, 130 when interrupted."""
    try:
        run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
