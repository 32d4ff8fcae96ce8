"""Where progress is drawn."""

import sys

from rich.console import Console


def progress_console() -> Console:
    """Standard error, and nothing where that is no terminal: an error stays alone on its line."""
    return Console(stderr=True, quiet=not sys.stderr.isatty())
