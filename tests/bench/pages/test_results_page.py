"""RESULTS.md: made from the files between its markers, noticed when stale, like the page of all figures; the terminal's tables."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.figures import CHECK
from bench.pages.results_page import END, START, Options, run
from bench.pages.terminal import print_result
from bench.results import ResultFile, Row, write_result
from runtime.errors import InputError
from tests.bench.rows import changed


def refresh(page: Path, results: Path, *, check: bool) -> None:
    run(Options(page=page, results=results, check=check), [], Console(width=300))


@pytest.fixture
def page(tmp_path: Path, a_result: ResultFile) -> Path:
    write_result(tmp_path / "results" / "a.json", a_result)
    (tmp_path / "RESULTS.md").write_text(f"# Results\n\n{START}\nformer\n{END}\n\nAfter.\n")
    return tmp_path / "RESULTS.md"


def test_the_tables_go_between_the_markers(page: Path) -> None:
    refresh(page, page.parent / "results", check=False)
    text = page.read_text()
    assert text.startswith(f"# Results\n\n{START}\n| Model |")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "former" not in text
    assert "[results/README.md](results/README.md)" in text


def test_stale_and_fresh(page: Path, a_result: ResultFile, capsys: pytest.CaptureFixture[str]) -> None:
    results, before = page.parent / "results", page.read_text()
    with pytest.raises(SystemExit) as stale:
        refresh(page, results, check=True)
    assert stale.value.code not in (None, 0)  # a text: the interpreter prints it and exits with 1
    assert page.read_text() == before
    refresh(page, results, check=False)
    refresh(page, results, check=True)
    assert "up to date" in capsys.readouterr().out
    for made in (page, results / "README.md"):
        good = made.read_text()
        made.write_text(good.replace("12.35", "12.34"))
        with pytest.raises(SystemExit, match=f"{made.name} is stale"):
            refresh(page, results, check=True)
        made.write_text(good)
    other = a_result.model_copy(update={"rows": [changed(a_result.rows[0], {"wer": 50.0})]})
    write_result(results / "a.json", other)
    with pytest.raises(SystemExit):
        refresh(page, results, check=True)


@pytest.mark.parametrize("text", ["", START, END, f"{END}\n{START}"])
def test_a_page_without_markers(page: Path, text: str) -> None:
    page.write_text(text)
    with pytest.raises(InputError, match="expected the lines"):
        refresh(page, page.parent / "results", check=False)
    assert page.read_text() == text


def test_missing_page_and_folder(page: Path) -> None:
    with pytest.raises(InputError, match="no such page"):
        refresh(page.with_name("NONE.md"), page.parent / "results", check=False)
    with pytest.raises(InputError, match="no such folder"):
        refresh(page, page.parent / "none", check=False)


def test_the_terminal_table_fits_120_columns(a_row: Row, a_result: ResultFile) -> None:
    long = changed(
        a_row,
        {
            "data": "common_voice_en",
            "step_ms_p50": 10.0,
            "decode_ms_p50": 0.16,
            "decode_ms_p95": 12.5,
            "churn": 0.25,
            "lm": "lm_en_4gram",
            "first_partial_ms_p50": 1234.0,
        },
    )
    console = Console(file=io.StringIO(), width=120)
    print_result(
        a_result.model_copy(update={"rows": [long, changed(long, {"mode": "continuous", "limit": 10})]}), console
    )
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 120
    assert "common_voice_en, one stream, first 10" in text
    assert "…" not in text
    assert CHECK in text


def test_a_gpu_row_is_no_functional_check(a_row: Row, a_result: ResultFile) -> None:
    console = Console(file=io.StringIO(), width=120)
    print_result(a_result.model_copy(update={"rows": [changed(a_row, {"functional_check": False})]}), console)
    assert CHECK not in console.file.getvalue()  # type: ignore[attr-defined]
