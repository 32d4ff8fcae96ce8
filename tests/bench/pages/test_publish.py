"""`python -m bench publish`: a file of any kind, wherever it lies, goes to its place; one that is none is refused in one line."""

import shutil
from pathlib import Path

import pytest

from bench.__main__ import run
from bench.results import Pack, ResultFile, read_result, write_result
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


def test_a_quick_look_is_on_no_page_and_it_is_said(
    a_result: ResultFile, tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row.with_(limit=1) for row in a_result.rows]
    write_result(tmp_path / "quick.json", a_result.model_copy(update={"rows": rows}))
    assert exit_code(lambda: run(["publish", str(tmp_path / "quick.json"), *places])) == 2
    assert "expected a result of whole data sets, found one with --limit" in capsys.readouterr().err


def test_what_nobody_can_measure_again_is_not_published(
    a_result: ResultFile, tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    provenance = a_result.provenance.model_copy(update={"commit": "0123abc-dirty"})
    write_result(tmp_path / "changed.json", a_result.model_copy(update={"provenance": provenance}))
    assert exit_code(lambda: run(["publish", str(tmp_path / "changed.json"), *places])) == 2
    assert "expected a result of a commit, found one of files that were changed after it" in capsys.readouterr().err
    assert not list((tmp_path / "published").iterdir())


def pack_of(a_result: ResultFile, path: Path, **results: ResultFile) -> str:
    write_result(path, Pack(provenance=a_result.provenance, bundle_sha256="0", results=results))
    return str(path)


def test_each_result_of_a_pack_is_published(a_result: ResultFile, tmp_path: Path, places: list[str]) -> None:
    other = a_result.with_(rows=[row.with_(precision="fp16") for row in a_result.rows])
    run(["publish", pack_of(a_result, tmp_path / "t4.json", one=a_result, other=other), *places])
    published = tmp_path / "published"
    assert {path.name for path in published.glob("*.json")} == {"one.json", "other.json"}
    assert [read_result(published / f"{name}.json") for name in ("one", "other")] == [a_result, other]
    assert (published / "README.md").is_file()


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("quick", 1, "expected a result of whole data sets, found one with --limit"),
        ("../../elsewhere", None, "expected a file name without a folder, found '../../elsewhere'"),
    ],
)
def test_a_pack_that_is_refused_publishes_none_of_its_results(
    a_result: ResultFile,
    tmp_path: Path,
    places: list[str],
    capsys: pytest.CaptureFixture[str],
    *,
    name: str,
    limit: int | None,
    message: str,
) -> None:
    refused = a_result.with_(rows=[row.with_(limit=limit) for row in a_result.rows])
    sent = pack_of(a_result, tmp_path / "t4.json", one=a_result, **{name: refused})
    assert exit_code(lambda: run(["publish", sent, *places])) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list((tmp_path / "published").iterdir())
