"""`python -m bench publish`: a run's result goes among the published ones, and the pages are made from them anew."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from bench.pages import results_page
from bench.pages.plots import Inspection
from bench.results import Report, ResultFile, read_result
from bench.speech.bargein import BargeInFile
from bench.step.int8_accuracy import AccuracyReport
from bench.step.projection import Projection
from runtime.files import written_whole

KINDS: tuple[type[Report], ...] = (ResultFile, BargeInFile, AccuracyReport, Projection, Inspection)
"""Told apart by the folder that they lie in."""


@dataclass(frozen=True, kw_only=True)
class Options(results_page.Options):
    """Which result, and where to."""

    result: tyro.conf.Positional[Path]
    """Result file that a bench wrote, as build/results/NAME.json."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:
    """Copy the file into the folder of published results and refresh the pages. Raises InputError for a file that is no result."""
    kind = next(
        (each for each in KINDS if each.folder and each.folder == options.result.absolute().parent.name), ResultFile
    )
    read_result(options.result, kind)
    published = options.results / kind.folder / options.result.name
    with written_whole(published) as temporary:
        shutil.copyfile(options.result, temporary)
    console.print(f"wrote {published}", highlight=False, soft_wrap=True)
    results_page.run(options, argv, console)
