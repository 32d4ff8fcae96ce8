"""`python -m bench publish`: a file of any kind, wherever it lies, goes to its place; one that is none is refused in one line."""

import shutil
from pathlib import Path

import pytest

from bench.__main__ import run
from bench.results import ResultFile, write_result
from runtime.errors import exit_code

RESULTS = Path("bench/results")
KINDS = ["", "bargein", "int8", "projections", "inspect"]


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """An empty folder of results and its page, as arguments."""
    (tmp_path / "published").mkdir()
    return ["--results", str(tmp_path / "published"), "--page", str(tmp_path / "RESULTS.md")]


@pytest.mark.parametrize("folder", KINDS)
def test_each_kind_goes_to_its_folder_whatever_folder_it_comes_from(
    folder: str, tmp_path: Path, places: list[str]
) -> None:
    source = min((RESULTS / folder).glob("*.json"), key=lambda path: path.stat().st_size)
    moved = shutil.copy(source, tmp_path / "moved.json")
    run(["publish", str(moved), *places])
    assert (tmp_path / "published" / folder / "moved.json").read_bytes() == source.read_bytes()
    assert (tmp_path / "published" / "README.md").is_file()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the result file"), ("{}", "no result file of schema 1"), ("[", "no result file of schema 1")],
)
def test_what_is_no_result(
    content: str | None, message: str, tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    assert exit_code(lambda: run(["publish", str(tmp_path / "a.json"), *places])) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list((tmp_path / "published").iterdir())


def test_a_quick_look_is_on_no_page_and_it_is_said(
    a_result: ResultFile, tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row.with_(limit=1) for row in a_result.rows]
    write_result(tmp_path / "quick.json", a_result.model_copy(update={"rows": rows}))
    assert exit_code(lambda: run(["publish", str(tmp_path / "quick.json"), *places])) == 2
    assert "expected a result of whole data sets, found one with --limit" in capsys.readouterr().err
