"""What a bench wrote, on the terminal: its tables, readable at 120 columns, and the lines behind them."""

from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from bench.figures import CHECK
from bench.pages.ablation_plots import write_plots
from bench.pages.bargein_tables import bargein_tables
from bench.pages.combinations import COMBINATION, combinations
from bench.pages.int8_tables import accuracy_tables
from bench.pages.projection_tables import projection_notes, projection_table
from bench.pages.tables import Table, result_tables, streams_sentence, table
from bench.results import ResultFile, StreamsRow
from bench.session import Written
from bench.speech.bargein import BargeInFile
from bench.step.int8_accuracy import AccuracyReport
from bench.step.projection import Projection
from runtime.errors import InputError

DECIDING = ("name", "wer", "change", "graph", "plain", "plan")
"""Columns of combinations that there is room for."""


def print_written(written: Written, console: Console) -> None:
    """Print what was measured and where it lies; an ablation's plots are drawn beside it.

    Raises:
        SystemExit: code 1 with a line for each bound that was missed.
    """
    result, notes = written.result, list(written.notes)
    if isinstance(result, ResultFile):
        print_result(result, console)
        notes += [f"not measured: {what}: {reason}" for what, reason in result.left_out.items()]
        notes += _drawn(written.path, result)
    elif isinstance(result, Projection):
        print_table(projection_table(result), console)
        notes += projection_notes(result)
    elif isinstance(result, BargeInFile):
        print_table(bargein_tables(result)[0], console)
        notes += [CHECK] if result.functional_check else []
    elif isinstance(result, AccuracyReport):
        for shown in accuracy_tables(result):
            print_table(shown, console)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote {written.path}", highlight=False, soft_wrap=True)
    if written.missed:
        raise SystemExit("\n".join(written.missed))  # they go to stderr, with code 1


def print_result(result: ResultFile, console: Console) -> None:
    """Print a result file's tables; say where they are no result."""
    if compared := combinations(result):
        print_table(table("", [COMBINATION[name] for name in DECIDING], compared), console)
    else:
        for each in result_tables(result):
            print_table(each, console)
    if streams := result.rows_of(StreamsRow):
        console.print(f"Streams: {streams_sentence(streams)}", highlight=False)
    if any(row.functional_check for row in result.rows):
        console.print(CHECK, style="bold yellow")


def print_table(shown: Table, console: Console) -> None:
    """Print a table: its first column to the left, figures to the right."""
    grid = RichTable(title=shown.title or None)
    for place, title in enumerate(shown.columns):
        grid.add_column(title, justify="right" if place else "left", no_wrap=not place)
    for cells in shown.rows:
        grid.add_row(*cells)
    console.print(grid)


def _drawn(path: Path, result: ResultFile) -> list[str]:
    try:
        return [f"wrote {plot}" for plot in write_plots(path, result)]
    except InputError as error:  # the figures stand without them
        return [f"no plots: {error}"]
