"""`python -m bench publish`: a run's result goes among the published ones, and the pages are made from them anew."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from bench.pages import results_page
from bench.pages.published import Inspection
from bench.pages.report_tables import TABLES
from bench.results import Report, ResultFile, read_result
from runtime.errors import InputError
from runtime.files import written_whole

KINDS: list[type[Report]] = [*TABLES, Inspection]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which result, and where to."""

    result: tyro.conf.Positional[Path]
    """Result file that a bench wrote, as build/results/NAME.json."""
    results: Path = Path("bench/results")
    """Folder of the published result files."""
    page: Path = Path("RESULTS.md")
    """The page of what matters of them."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:
    """Copy the file into the folder of published results and refresh the pages. Raises InputError for a file that is no result."""
    kind = _kind(options.result)
    published = options.results / kind.folder / options.result.name
    with written_whole(published) as temporary:
        shutil.copyfile(options.result, temporary)
    console.print(f"wrote {published}", highlight=False, soft_wrap=True)
    results_page.run(results_page.Options(results=options.results, page=options.page), argv, console)


def _kind(path: Path) -> type[Report]:
    """Return what a file is, by what it holds. Raises InputError, as of a result file, for one that is nothing of all that."""
    found: Report | None = None
    for kind in KINDS:
        with suppress(InputError):
            found = read_result(path, kind)
            break
    found = found or read_result(path)
    if isinstance(found, ResultFile) and any(getattr(row, "limit", None) for row in found.rows):
        raise InputError(
            f"{path}: expected a result of whole data sets, found one with --limit; pages show none of those"
        )
    return type(found)
