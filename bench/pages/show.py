"""`python -m bench show`: the figures of a file that a bench wrote, printed as they were then."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from bench.pages.report_tables import TABLES
from bench.pages.terminal import print_result
from bench.results import Report, read_result
from runtime.errors import InputError


@dataclass(frozen=True)
class Options:
    """The file."""

    result: tyro.conf.Positional[Path]
    """Of any bench."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:  # noqa: ARG001 -- a command's arguments
    """Print its tables. Raises InputError for a file that no bench wrote."""
    print_result(_read(options.result), console)


def _read(path: Path) -> Report:
    for kind in TABLES:
        with suppress(InputError):
            return read_result(path, kind)
    return read_result(path)  # which says why it is not of the usual kind
