"""What a bench wrote, on the terminal: its tables, cut into several where it is narrow, and the lines behind them."""

from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.figures import CHECK
from bench.pages.plots import ablation_plots
from bench.pages.report_tables import TABLES, projection_notes
from bench.pages.result_tables import streams_sentence
from bench.pages.tables import Table
from bench.results import Report, ResultFile
from bench.rows import StreamsRow
from bench.session import Written
from bench.step.projection import AnyProjection
from runtime.errors import InputError
from runtime.files import written_whole

MOST_COLUMNS = 10_000
"""More than any table has, in letters."""


def print_written(written: Written, console: Console) -> None:
    """Print what was measured and where it lies; an ablation's plots are drawn beside it.

    Raises:
        SystemExit: code 1 with a line for each bound that was missed.
    """
    result, notes = written.result, list(written.notes)
    print_result(result, console)
    if isinstance(result, ResultFile):
        notes += [f"not measured: {what}: {reason}" for what, reason in result.left_out.items()]
        notes += _drawn(written.path, result)
    elif isinstance(result, AnyProjection):
        notes += projection_notes(result)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote {written.path}", highlight=False, soft_wrap=True)
    if written.missed:
        raise SystemExit("\n".join(written.missed))  # they go to stderr, with code 1


def print_result(result: Report, console: Console) -> None:
    """Print a file's tables; say where they are no result."""
    for shown in TABLES[type(result)](result):
        print_table(shown, console)
    if isinstance(result, ResultFile) and (streams := result.rows_of(StreamsRow)):
        console.print(f"Streams: {streams_sentence(streams)}", highlight=False)
    if getattr(result, "functional_check", False):
        console.print(CHECK, style="bold yellow")


def print_table(shown: Table, console: Console) -> None:
    """Print a table, figures to the right, of which none is cut or broken.

    Where it is too wide its columns are printed as rows, or, where that is too wide too, some in a table below the others.
    """
    unlimited = console.options.update(width=MOST_COLUMNS)

    def fits(table: Table) -> bool:
        return console.measure(_grid(table), options=unlimited).maximum <= console.width

    left = list(range(1, len(shown.columns)))
    whole = next(filter(fits, (shown, shown.transposed())), None if left else shown)
    if whole:
        console.print(_grid(whole), markup=False)
        return
    while left:
        count = next((count for count in range(len(left), 1, -1) if fits(shown.of([0, *left[:count]]))), 1)
        console.print(_grid(shown.of([0, *left[:count]])), markup=False)
        left = left[count:]


def _grid(shown: Table) -> RichTable:
    grid = RichTable(title=Text(shown.title, "table.title") if shown.title else None)
    for place, title in enumerate(shown.columns):
        grid.add_column(title, justify="right" if place else "left")
    for cells in shown.rows:
        grid.add_row(*cells)
    return grid


def _drawn(path: Path, result: ResultFile) -> list[str]:
    """Write an ablation's plots beside its result file at `path`; return what is said of them."""
    try:
        drawn = {path.with_name(f"{path.stem}-{plot.name}.svg"): plot.svg() for plot in ablation_plots(result)}
        for plot, text in drawn.items():
            with written_whole(plot) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except InputError as error:  # the figures stand without them
        return [f"no plots: {error}"]
    return [f"wrote {plot}" for plot in drawn]
