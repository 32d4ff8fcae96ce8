"""RESULTS.md's table: made from the files, noticed when stale; the terminal's tables."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.page import END, START, refresh
from bench.results import ResultFile, Row, write_result
from bench.table import CHECK, print_rows
from runtime.errors import InputError


@pytest.fixture
def page(tmp_path: Path, a_result: ResultFile) -> Path:
    write_result(tmp_path / "results" / "a.json", a_result)
    (tmp_path / "RESULTS.md").write_text(f"# Results\n\n{START}\nformer\n{END}\n\nAfter.\n")
    return tmp_path / "RESULTS.md"


def test_the_table_goes_between_the_markers(page: Path) -> None:
    refresh(page, page.parent / "results", check=False)
    text = page.read_text()
    assert text.startswith(f"# Results\n\n{START}\n| Model |")
    assert text.endswith(f"{END}\n\nAfter.\n")
    cells = "m, 80 ms | fp32 | onnxruntime-cpu | A CPU, 2 cores | set_en, utterances | none | 12.35 | 0.0400 / 0.0500 | - | - | - | - "
    assert f"| {cells}| 7.5 / 9.2 | 200 host |" in text
    assert "Rows measured on a CPU are functional checks" in text
    assert "former" not in text


def test_stale_and_fresh(page: Path, a_result: ResultFile, capsys: pytest.CaptureFixture[str]) -> None:
    before = page.read_text()
    with pytest.raises(SystemExit) as stale:
        refresh(page, page.parent / "results", check=True)
    assert stale.value.code not in (None, 0)  # a text: the interpreter prints it and exits with 1
    assert page.read_text() == before
    refresh(page, page.parent / "results", check=False)
    refresh(page, page.parent / "results", check=True)
    assert "up to date" in capsys.readouterr().out
    changed = a_result.model_copy(update={"rows": [a_result.rows[0].model_copy(update={"wer": 50.0})]})
    write_result(page.parent / "results" / "a.json", changed)
    with pytest.raises(SystemExit):
        refresh(page, page.parent / "results", check=True)


def test_a_gpu_is_named_and_a_quick_look_left_out(page: Path, a_result: ResultFile) -> None:
    on_gpu = a_result.rows[0].model_copy(update={"functional_check": False, "peak_gpu_memory_mb": 512.0})
    quick = on_gpu.model_copy(update={"limit": 3, "data": "quick_en"})
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X"})
    write_result(page.parent / "results" / "b.json", ResultFile(provenance=provenance, rows=[on_gpu, quick]))
    refresh(page, page.parent / "results", check=False)
    assert "| NVIDIA X | set_en, utterances |" in page.read_text()
    assert "| 512 GPU |" in page.read_text()
    assert "quick_en" not in page.read_text()


@pytest.mark.parametrize(
    ("graph", "engine"),
    [(True, "TensorRT 8.6.0, CUDA graph"), (False, "TensorRT 8.6.0, no graph"), (None, "TensorRT 8.6.0")],
)
def test_steps_have_a_table_of_their_own(page: Path, a_result: ResultFile, graph: bool | None, engine: str) -> None:
    times = {
        "step_ms_p50": 1.5,
        "step_ms_p95": 1.6,
        "step_ms_p99": 1.75,
        "floor_ms": 0.1234,
        "launches_per_step": 400.0,
    }
    update = {
        "mode": "steps",
        "backend": "tensorrt",
        "pace": "realtime",
        "cuda_graph": graph,
        "functional_check": False,
        **times,
    }
    step = a_result.rows[0].model_copy(update=update)
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    write_result(page.parent / "results" / "b.json", ResultFile(provenance=provenance, rows=[step]))
    refresh(page, page.parent / "results", check=False)
    assert f"| {engine} | NVIDIA X | real time | 1.50 / 1.60 / 1.75 | 0.123 | 400 |" in page.read_text()


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


def test_the_terminal_table_fits_120_columns(a_row: Row) -> None:
    long = a_row.model_copy(
        update={
            "data": "common_voice_en",
            "step_ms_p50": 10.0,
            "decode_ms_p50": 0.16,
            "decode_ms_p95": 12.5,
            "churn": 0.25,
            "lm": "lm_en_4gram",
            "first_partial_ms_p50": 1234.0,
        }
    )
    console = Console(file=io.StringIO(), width=120)
    print_rows([long, long.model_copy(update={"mode": "continuous", "limit": 10})], console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 120
    assert "common_voice_en, one stream, first 10" in text
    assert "…" not in text
    assert CHECK in text


def test_a_gpu_row_is_no_functional_check(a_row: Row) -> None:
    console = Console(file=io.StringIO(), width=120)
    print_rows([a_row.model_copy(update={"functional_check": False})], console)
    assert CHECK not in console.file.getvalue()  # type: ignore[attr-defined]
