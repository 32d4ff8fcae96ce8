"""Tables on terminals of any width: no figure is cut."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.pages import show
from bench.pages.report_tables import TABLES
from bench.pages.tables import Table
from bench.pages.terminal import print_result, print_table
from bench.results import ResultFile, read_result
from runtime.errors import InputError

SHOWN = Path("bench/results/ablation-small-h200.json")
NAMES = ["lm-realtime-asr", "8-processes", "lm-endpoint", "lm-words", "ablation-small-h200", "ladder"]


@pytest.mark.parametrize("width", [80, 120, 400])
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_whole(name: str, width: int) -> None:
    result = read_result(next(path for path in sorted(Path("bench/results").glob("*.json")) if name in path.name))
    console = Console(width=width, record=True, file=StringIO())
    print_result(result, console)
    said = console.export_text()
    assert "…" not in said
    figures = {cell for shown in TABLES[ResultFile](result) for cells in shown.rows for cell in cells[1:]}
    assert [figure for figure in figures if figure not in said] == []
    assert max(map(len, said.splitlines())) <= width


@pytest.mark.parametrize("path", [*sorted(Path("bench/results").rglob("*/*.json")), SHOWN], ids=lambda path: path.name)
def test_a_file_is_shown_again(path: Path) -> None:
    console = Console(width=120, record=True, file=StringIO())
    if path.parent.name == "inspect":
        with pytest.raises(InputError, match=r"no result file of schema 1: "):
            show.run(show.Options(path), [], console)
        return
    show.run(show.Options(path), [], console)
    assert console.export_text().count("┏") > 0


@pytest.mark.parametrize(
    ("width", "rows", "tables", "columns"),
    [(80, 1, 1, 4), (30, 1, 1, 2), (30, 9, 2, 3), (20, 9, 3, 2), (5, 1, 3, 2)],
    ids=["wide", "columns as rows", "some below", "one at a time", "too narrow"],
)
def test_a_table_that_is_too_wide(width: int, rows: int, tables: int, columns: int) -> None:
    shown = Table("A title", ["Name", "One", "Two", "Three"], rows * [["a name", "11111", "22222", "33333"]])
    console = Console(width=width, record=True, file=StringIO())
    print_table(shown, console)
    said = console.export_text()
    print(said)
    tops = [line for line in said.splitlines() if line.startswith("┏")]
    assert (len(tops), tops[0].count("┳") + 1) == (tables, columns)


def test_a_table_of_names_alone() -> None:
    console = Console(width=80, record=True, file=StringIO())
    print_table(Table("", ["Name"], [["a"], ["b"]]), console)
    assert console.export_text().count("│ b") == 1
