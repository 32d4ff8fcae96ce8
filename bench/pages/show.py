"""`python -m bench show`: the figures of a file that a bench wrote, printed as they were then."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from bench.pages.report_tables import TABLES
from bench.pages.terminal import print_result
from bench.results import read_report


@dataclass(frozen=True)
class Options:
    """The file."""

    result: tyro.conf.Positional[Path]
    """Of any bench."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:  # noqa: ARG001 -- a command's arguments
    """Print its tables. Raises InputError for a file that no bench wrote."""
    print_result(read_report(options.result, TABLES), console)
