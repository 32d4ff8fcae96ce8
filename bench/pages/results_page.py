"""RESULTS.md's tables between two markers, the page of all figures, and the plots: made from the published result files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from rich.console import Console

from bench.figures import shown
from bench.pages.all_figures import all_figures
from bench.pages.combinations import COSTS, DECIDING, combinations, is_ablation
from bench.pages.drawing import Plot
from bench.pages.overview import NOTE, overview
from bench.pages.plots import ablation_plots, page_plots
from bench.pages.report_tables import PROJECTED
from bench.pages.tables import MODEL, PRECISION, Labelled, Table, joined, markdown, table
from bench.results import ResultFile, read_results
from bench.step.ladder import ladder_rows
from bench.step.projection import LABEL, Projection
from runtime.errors import InputError
from runtime.files import written_whole

START = "<!-- results:start -->"
END = "<!-- results:end -->"
BOUNDS = (
    "Low: the bytes at the best bandwidth. High: nothing fused or overlapped, the clock throttled, the measured cost of every "
    "kernel on top. `bench/results/projections/*.json` list the assumptions and their sources."
)
ALL_FIGURES = "README.md"
"""The page of all figures, among the result files."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to make, and from what."""

    results: Path = Path("bench/results")
    """Folder of the published result files."""
    page: Path = Path("RESULTS.md")
    """Page whose tables stand between two markers."""
    check: bool = False
    """Write nothing; exit with 1 where something is stale."""


def run(options: Options, argv: Sequence[str], console: Console) -> None:  # noqa: ARG001 -- a command's arguments
    """Write the page, the one of all figures and the plots among the result files anew, or only check them.

    Raises:
        InputError: a missing page, markers missing or out of order, a missing folder, a broken file in it, or no matplotlib.
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
    before, after = _around(page)
    found = read_results(folder)
    results = list(found.values())
    drawn = page_plots(folder, results)
    link = os.path.relpath(folder, page.parent)
    tables = _tables(results, list(read_results(folder, Projection).values()), drawn, link)
    made = {page: f"{before}{START}\n{tables}\n{END}{after}", folder / ALL_FIGURES: all_figures(folder)}
    made |= {folder / "plots" / f"{plot.name}.svg": plot.svg() for plot in drawn}
    for name, result in found.items():
        made |= {folder / f"{name}-{plot.name}.svg": plot.svg() for plot in ablation_plots(result)}
    return made


def _around(page: Path) -> tuple[str, str]:
    """Return what the page has before its markers and after them."""
    if not page.is_file():
        raise InputError(f"{page}: no such page; it needs the lines {START} and {END}")
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{page}: expected the lines {START} and {END}, in this order; put them where the table goes")
    return before, after


def _tables(results: Sequence[ResultFile], projections: Sequence[Projection], drawn: Sequence[Plot], link: str) -> str:
    """Return the page's tables in Markdown; `link`: the folder of the result files as the page sees it."""
    images = [f"![{plot.name}]({link}/plots/{plot.name}.svg)" for plot in drawn]
    pairs = [[*images[place : place + 2], ""][:2] for place in range(0, len(images), 2)]
    parts = [
        overview(results),
        NOTE,
        _ablation([result for result in results if is_ablation(result) and result.provenance.gpu]),
        _ladder([result for result in results if ladder_rows(result)]),
        *(
            f"**{gpu} ({LABEL})**\n\n{markdown(table('', PROJECTED, of_gpu))}\n\n{BOUNDS}"
            for gpu, of_gpu in groupby(sorted(projections, key=attrgetter("gpu")), attrgetter("gpu"))
        ),
        markdown(Table("", pairs[0], pairs[1:])) if pairs else "",
        f"All figures, with endpoints, barge-in and what was left out: [{link}/{ALL_FIGURES}]({link}/{ALL_FIGURES}).",
    ]
    return "\n\n".join(part for part in parts if part)


def _ablation(results: Sequence[ResultFile]) -> str:
    measured = sorted(
        (combination for result in results for combination in combinations(result)),
        key=attrgetter("row.model", "row.lookahead_ms"),
    )
    if not measured:
        return ""
    engines = joined(f"{combination.engine} on {combination.where}" for combination in measured)
    data = joined(combination.speech.data for combination in measured if combination.speech is not None)
    shown = markdown(table("", (MODEL, PRECISION, *DECIDING, *COSTS), measured))
    return f"**Ablation**, {engines}; WER over {data}:\n\n{shown}"


def _ladder(results: Sequence[ResultFile]) -> str:
    """Return a row per rung, a column per ladder."""
    if not results:
        return ""
    columns: dict[str, dict[tuple[str, str], str]] = {}
    wheres = []
    for result in results:
        # A ladder's NeMo has random weights, whatever the bundle's are.
        fast = [row for row, _ in ladder_rows(result)]
        own = Labelled(min(fast, key=lambda row: row.backend == "torch"), result.provenance)
        wheres.append(own.where)
        columns[f"{own.model}: p50 (times the runtime's)"] = {
            (row.rung or "", row.precision): f"{shown([row.step_ms_p50], 2)} ({shown([row.times_runtime], 1)})"
            for row in fast
        }
    rungs = dict.fromkeys(rung for cells in columns.values() for rung in cells)
    rows = [[*rung, *(cells.get(rung, "-") for cells in columns.values())] for rung in rungs]
    commits = joined((result.provenance.commit or "no commit")[:7] for result in results)
    title = "**From NeMo's encoder to the runtime**, step ms back to back"
    measured = f"{joined(wheres)}, at commit {commits}; NeMo's has random weights"
    return f"{title}, {measured}:\n\n{markdown(Table('', ['Rung', 'Precision', *columns], rows))}"
