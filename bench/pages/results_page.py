"""RESULTS.md, the pages of bench/results and their plots: made from the published result files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.pages.front_page import front_page
from bench.pages.plots import ablation_plots, page_plots
from bench.pages.published import read_published
from bench.pages.question_pages import question_pages
from runtime.files import written_whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to make, and from what."""

    results: Path = Path("bench/results")
    """Folder of the published result files."""
    page: Path = Path("RESULTS.md")
    """The page of what matters of them."""
    check: bool = False
    """Write nothing; exit with 1 where something is stale."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:  # noqa: ARG001 -- a command's arguments
    """Write the page, those among the result files and the plots anew, or only check them.

    Raises:
        InputError: a missing folder, a broken file in it, or no Jinja2 or matplotlib.
        SystemExit: code 1, where `check` finds one of them stale.
    """
    for path, text in texts(options.page, options.results).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            console.print(f"{path} is up to date", highlight=False, soft_wrap=True)
        elif options.check:
            raise SystemExit(f"{path} is stale: run `make results`")  # its text goes to stderr, with code 1
        else:
            path.parent.mkdir(exist_ok=True)
            with written_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def texts(page: Path, folder: Path) -> dict[Path, str]:
    """Path -> text of all that is made from the result files. Raises InputError as `run` does."""
    published = read_published(folder)
    made = {page: front_page(published, Path(os.path.relpath(folder, page.parent)))}
    made |= {folder / name: text for name, text in question_pages(published).items()}
    made |= {folder / "plots" / f"{plot.name}.svg": plot.svg() for plot in page_plots(published)}
    for name, result in published.results.items():
        made |= {folder / f"{name}-{plot.name}.svg": plot.svg() for plot in ablation_plots(result)}
    return made
