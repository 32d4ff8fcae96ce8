"""`python -m bench publish`: a run's result goes among the published ones, and the pages are made from them anew."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from bench.pages import results_page
from bench.pages.plots import Inspection
from bench.pages.report_tables import TABLES
from bench.results import Report, ResultFile, read_result
from runtime.files import written_whole

KINDS: list[type[Report]] = [*TABLES, Inspection]
"""Told apart by the folder that they lie in."""


@dataclass(frozen=True, kw_only=True)
class Options(results_page.Options):
    """Which result, and where to."""

    result: tyro.conf.Positional[Path]
    """Result file that a bench wrote, as build/results/NAME.json."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:
    """Copy the file into the folder of published results and refresh the pages. Raises InputError for a file that is no result."""
    folder = options.result.absolute().parent.name
    kind = next((kind for kind in KINDS if kind.folder == folder), ResultFile)
    read_result(options.result, kind)
    published = options.results / kind.folder / options.result.name
    with written_whole(published) as temporary:
        shutil.copyfile(options.result, temporary)
    console.print(f"wrote {published}", highlight=False, soft_wrap=True)
    results_page.run(options, argv, console)
