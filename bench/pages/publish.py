"""`python -m bench publish`: a run's result goes among the published ones, and the pages are made from them anew."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from bench.machine import DIRTY
from bench.pages import results_page
from bench.pages.published import Inspection
from bench.pages.report_tables import TABLES
from bench.results import Pack, Report, read_report, result_path, write_result
from runtime.errors import InputError
from runtime.files import written_whole

KINDS: list[type[Report]] = [*TABLES, Inspection]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which result, and where to."""

    result: tyro.conf.Positional[Path]
    """Result file that a bench wrote, as build/results/NAME.json, or a pack of them, as build/results/packs/NAME.json."""
    results: Path = Path("bench/results")
    """Folder of the published result files."""
    page: Path = Path("RESULTS.md")
    """The page of what matters of them."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:
    """Copy the file, or write each result of a pack, into the folder of published results and refresh the pages.

    Raises InputError for a file that is no result; nothing is published then.
    """
    found = _read(options.result)
    if isinstance(found, Pack):
        results = {result_path(options.results, name): result for name, result in found.results.items()}
        for published, result in results.items():
            write_result(published, result)
            console.print(f"wrote {published}", highlight=False, soft_wrap=True)
    else:
        published = options.results / found.folder / options.result.name
        with written_whole(published) as temporary:
            shutil.copyfile(options.result, temporary)
        console.print(f"wrote {published}", highlight=False, soft_wrap=True)
    results_page.run(results_page.Options(results=options.results, page=options.page), argv, console)


def _read(path: Path) -> Report:
    """Return a file that may be published. Raises InputError for one that may not, or that no bench wrote."""
    found = read_report(path, KINDS)
    results = found.results.values() if isinstance(found, Pack) else [found]
    # An inspection has none.
    sources = [getattr(result, "provenance", None) or getattr(result, "source", None) for result in results]
    if any(source and (source.commit or "").endswith(DIRTY) for source in sources):
        raise InputError(
            f"{path}: expected a result of a commit, found one of files that were changed after it; commit them, and measure again"
        )
    if any(getattr(row, "limit", None) for result in results for row in getattr(result, "rows", [])):
        raise InputError(
            f"{path}: expected a result of whole data sets, found one with --limit; pages show none of those"
        )
    return found
