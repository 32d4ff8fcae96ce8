"""RESULTS.md and its figures: looked up in the files, a dash for what they lack, noticed when stale; the terminal's tables."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.figures import CHECK
from bench.pages import front_page
from bench.pages.published import read_published
from bench.pages.results_page import Options, run
from bench.pages.tables import Labelled
from bench.pages.terminal import print_result
from bench.results import ResultFile, write_result
from bench.rows import Row
from runtime.errors import InputError
from tests.bench.rows import changed

RESULTS = Path("bench/results")


def refresh(page: Path, results: Path, *, check: bool) -> None:
    run(Options(page=page, results=results, check=check), [], Console(width=300))


@pytest.fixture
def page(tmp_path: Path, a_result: ResultFile) -> Path:
    write_result(tmp_path / "results" / "a.json", a_result)
    return tmp_path / "RESULTS.md"


def test_stale_and_fresh(page: Path, a_result: ResultFile, capsys: pytest.CaptureFixture[str]) -> None:
    results = page.parent / "results"
    with pytest.raises(SystemExit) as stale:
        refresh(page, results, check=True)
    assert stale.value.code not in (None, 0)  # a text: the interpreter prints it and exits with 1
    assert not page.exists()
    refresh(page, results, check=False)
    refresh(page, results, check=True)
    assert "up to date" in capsys.readouterr().out
    assert "(results/README.md)" in page.read_text()
    for made in (page, results / "README.md", results / "recognition.md"):
        good = made.read_text()
        made.write_text(good.replace("a", "b", 1))
        with pytest.raises(SystemExit, match=f"{made.name} is stale"):
            refresh(page, results, check=True)
        made.write_text(good)
    other = a_result.model_copy(update={"rows": [changed(a_result.rows[0], {"wer": 50.0})]})
    write_result(results / "a.json", other)
    with pytest.raises(SystemExit):
        refresh(page, results, check=True)


def test_a_missing_folder(page: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        refresh(page, page.parent / "none", check=False)


def _listed(found: object) -> list[dict[str, Any]]:
    """A projection's steps; a batch report's are a number."""
    return found if isinstance(found, list) else []


DOUBLED = [
    ("first_partial_onset_ms", r"look-ahead \((\d+) ms\).* `steady` \((\d+) ms\)"),
    ("final_ms", r"met with ([\d.]+) ms at p95"),
    ("ms_high", r"to ([\d.]+) ms a step"),
    ("wer", r"FP32 makes ([\d.]+) / ([\d.]+) % errors, NeMo offline ([\d.]+) / ([\d.]+) %"),
    ("chunk_ms_p95", r"text ([\d.]+) ms \(p95\) after a chunk's last frame, 2,048 in 8 after ([\d.]+) ms"),
    ("step_ms_p50", r"([\d.]+) ms for 114 M, NeMo's in a CUDA graph ([\d.]+)\."),
]
"""Key of rows, steps or records -> figures of a sentence that are made of it."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The published page, and the page of files with these figures doubled."""
    folder = tmp_path_factory.mktemp("doubled")
    for path in RESULTS.rglob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        for each in [*found.get("rows", []), *found.get("utterances", []), *_listed(found.get("steps"))]:
            each |= {key: 2 * each[key] for key, _ in DOUBLED if each.get(key) is not None}
        (folder / path.parent.relative_to(RESULTS)).mkdir(exist_ok=True)
        (folder / path.relative_to(RESULTS)).write_text(json.dumps(found), encoding="utf-8")
    before, after = (front_page.front_page(read_published(results), Path("r")) for results in (RESULTS, folder))
    return before, after


@pytest.mark.parametrize("sentence", [sentence for _, sentence in DOUBLED])
def test_a_sentence_follows_the_files(sentence: str, pages: tuple[str, str]) -> None:
    figures = [list(map(float, re.findall(r"[\d.]+", str(re.findall(sentence, text))))) for text in pages]
    assert figures[0]
    assert figures[1] == pytest.approx([2 * figure for figure in figures[0]], rel=0.02)


@pytest.mark.parametrize(
    ("value", "said"), [(4.0, "met"), (5.0, "met"), (5.1, "missed"), (None, "not measured"), (0.0, "met")]
)
def test_a_target_is_met_or_missed(value: float | None, said: str, a_row: Row) -> None:
    assert front_page.met(a_row.with_(step_ms_p50=value), "step_ms_p50", 5) == said


def test_every_sentence_of_the_published_page_has_its_figures(pages: tuple[str, str]) -> None:
    text, _ = pages
    prose = [line for line in text.splitlines() if line and not line.startswith("|")]
    assert not [line for line in prose if re.search(r"(?<!\w) - |not measured at|None", line)]
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert [len(table) - 2 for table in tables] == [10, 4, 0]
    assert [{line.count(" | ") for line in table} for table in tables[:2]] == [{7}, {5}]


def test_a_page_of_nothing_has_dashes(page: Path) -> None:
    text = front_page.front_page(read_published(page.parent / "results"), Path("r"))
    assert "is not measured at p95 with 80 ms of look-ahead (- ms)" in text
    assert text.count("![") == 0


def test_the_last_measured_counts(a_result: ResultFile) -> None:
    provenances = [a_result.provenance.with_(date=f"2026-01-0{day}T00:00:00+00:00") for day in (2, 3, 1)]
    found = [Labelled(a_result.rows[0], provenance) for provenance in provenances]
    assert front_page.one(found, model="m", cpu="A CPU, 2 cores") is found[1]
    assert front_page.one(found, model="n") is None


def test_a_figure_that_is_none_is_refused(a_row: Row) -> None:
    with pytest.raises(KeyError):
        front_page.figure(a_row, "step_p50_ms")


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
