"""The committed results: streaming has NeMo's own offline error rate, and RESULTS.md is made from them.

Read as committed: a bench run of one's own writes the same files anew, and says nothing about the project's.
"""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rich.console import Console

from bench.pages.results_page import Options, run
from bench.results import read_result
from bench.rows import AnyRow, SpeechRow

RESULTS, PAGE = Path("bench/results"), Path("RESULTS.md")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


@cache
def committed() -> dict[Path, str]:
    """Content of the page and the result files in the last commit; as they lie here, outside a repository."""
    try:
        names = git("ls-tree", "-r", "--name-only", "HEAD", f"{RESULTS}/", str(PAGE)).split()
        return {Path(name): git("show", f"HEAD:{name}") for name in names}
    except (OSError, subprocess.CalledProcessError):
        return {path: path.read_text(encoding="utf-8") for path in [PAGE, *RESULTS.rglob("*.*")]}


@cache
def rows(mode: str) -> list[SpeechRow]:
    found: list[AnyRow] = []
    with TemporaryDirectory() as folder:
        for path, text in committed().items():
            if (path.parent, path.suffix) == (RESULTS, ".json"):
                Path(folder, path.name).write_text(text, encoding="utf-8")
                found += read_result(Path(folder, path.name)).rows
    return [row for row in found if isinstance(row, SpeechRow) and row.mode == mode and row.limit is None]


@pytest.mark.parametrize("offline", rows("offline"), ids=lambda row: f"{row.model}-{row.lookahead_ms}ms-{row.data}")
def test_streaming_equals_nemo_offline(offline: SpeechRow) -> None:
    kind = (offline.model, offline.lookahead_ms, offline.data, "fp32")
    same = [
        row
        for row in rows("utterance")
        if (row.model, row.lookahead_ms, row.data, row.precision) == kind and row.lm is None
    ]
    assert same
    assert {(row.wer, row.cer) for row in same} == {(offline.wer, offline.cer)}


def test_page_is_made_from_the_results(tmp_path: Path) -> None:
    for path, text in committed().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    run(Options(page=tmp_path / PAGE, results=tmp_path / RESULTS, check=True), [], Console())


def test_the_readme_shows_rows_of_the_page() -> None:
    readme, page = (Path(document).read_text(encoding="utf-8").splitlines() for document in ("README.md", "RESULTS.md"))
    shown = readme[
        readme.index(
            "| Model | Precision | Engine | WER % | RTF p50 / p95 | First partial ms p50 / p95 | Right | GPU MB |"
        ) :
    ]
    shown = shown[: shown.index("")]
    assert len(shown) == 2 + 4
    assert [line for line in shown if line not in page] == []
