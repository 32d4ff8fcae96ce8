"""The pages of bench/results: every row in its table, what a table's rows share in its caption, GPU and CPU told apart."""

import re
from pathlib import Path

import pytest

from bench.pages.published import read_published
from bench.pages.question_pages import question_pages
from bench.results import ResultFile, write_result
from bench.rows import AnyRow, StreamsRow
from tests.bench.rows import changed


def pages(folder: Path) -> dict[str, str]:
    return question_pages(read_published(folder))


def test_a_row_of_a_cpu(tmp_path: Path, a_result: ResultFile) -> None:
    write_result(tmp_path / "a.json", a_result)
    found = pages(tmp_path)
    assert list(found) == ["README.md", "recognition.md"]
    assert found["README.md"].endswith(
        "\n\n- [How many words are wrong, and how soon is the text there?](recognition.md)\n"
    )
    assert "Rows of a CPU are functional checks" in found["README.md"]
    text = found["recognition.md"]
    assert text.startswith(
        "# How many words are wrong, and how soon is the text there?\n\nClips of the evaluation speech "
    )
    assert "m, 80 ms, A CPU, 2 cores, onnxruntime-cpu, back to back, greedy, fp32, set_en, utterances:\n" in text
    assert "\n| WER % | Peak MB |\n| --- | --- |\n| 12.35 | 200 host |\n" in text
    assert "Decode ms" not in text  # nothing has such a figure


def test_what_differs_is_a_column(tmp_path: Path, a_result: ResultFile) -> None:
    row = a_result.rows[0]
    rows = [row, changed(row, {"data": "two_en", "wer": 20.0}), changed(row, {"lookahead_ms": 0, "wer": 30.0})]
    write_result(tmp_path / "a.json", a_result.model_copy(update={"rows": rows}))
    text = pages(tmp_path)["recognition.md"]
    assert (
        "| Data | WER % | Peak MB |\n| --- | --- | --- |\n| set_en, utterances | 12.35 | 200 host |\n| two_en, ut"
        in text
    )
    assert "m, 0 ms, A CPU, 2 cores, onnxruntime-cpu, back to back, greedy, fp32, set_en, utterances:\n" in text


def test_a_gpu_is_named_and_a_quick_look_left_out(tmp_path: Path, a_result: ResultFile) -> None:
    on_gpu = changed(a_result.rows[0], {"functional_check": False, "peak_gpu_memory_mb": 512.0})
    quick = changed(on_gpu, {"limit": 3, "data": "quick_en"})
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X"})
    write_result(tmp_path / "b.json", ResultFile(provenance=provenance, rows=[on_gpu, quick]))
    text = pages(tmp_path)["recognition.md"]
    assert "m, 80 ms, NVIDIA X, " in text
    assert "| 512 GPU |" in text
    assert "quick_en" not in text


@pytest.mark.parametrize(
    ("precision", "calibration", "label"), [("int8", "mse", "int8 mse"), ("int8", None, "int8"), ("fp16", None, "fp16")]
)
def test_int8_is_named_with_its_thresholds_method(
    tmp_path: Path, a_result: ResultFile, precision: str, calibration: str | None, label: str
) -> None:
    row = changed(a_result.rows[0], {"precision": precision, "calibration": calibration})
    write_result(tmp_path / "a.json", a_result.model_copy(update={"rows": [row]}))
    assert f", greedy, {label}, set_en, utterances:" in pages(tmp_path)["recognition.md"]


def test_early_text_tells_rows_apart(tmp_path: Path, a_result: ResultFile) -> None:
    for early in ("off", "steady", "eager"):
        row = changed(a_result.rows[0], {"early_tokens": early})
        write_result(tmp_path / f"{early}.json", a_result.model_copy(update={"rows": [row]}))
    text = pages(tmp_path)["recognition.md"]
    errors = text[text.index("## Errors by data set") : text.index("## Times by data set")]
    rows = [line for line in errors.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| Early text", "| ---", "| eager", "| -", "| steady"]


def test_runs_that_differ_in_nothing_are_one_table_and_one_sentence(tmp_path: Path, a_result: ResultFile) -> None:
    of_data = (
        "model",
        "weights",
        "decoder",
        "precision",
        "backend",
        "lookahead_ms",
        "functional_check",
        "data",
        "lang",
    )
    shared = {name: getattr(a_result.rows[0], name) for name in of_data} | {"mode": "streams", "slo_ms": 150.0}
    for name, numbers in {"a": (1024, 2048), "b": (512,)}.items():
        rows: list[AnyRow] = [
            StreamsRow(**shared, streams=number, slo_met=number < 2048, audio_minutes=number / 4, differing=0)
            for number in numbers
        ]
        write_result(tmp_path / f"{name}.json", ResultFile(provenance=a_result.provenance, rows=rows))
    text = pages(tmp_path)["streams.md"]
    assert re.findall(r"^\| (\d+) \| (\d+) \|", text, re.MULTILINE) == [("512", "15"), ("1024", "15"), ("2048", "15")]
    assert text.count("met 150 ms at p95") == 1
    assert "steps apart: 1024 met 150 ms at p95, 2048 did not." in text


@pytest.mark.parametrize(
    ("graph", "engine"),
    [(True, "TensorRT 8.6.0, CUDA graph"), (False, "TensorRT 8.6.0, no graph"), (None, "TensorRT 8.6.0")],
)
def test_steps_have_a_page_of_their_own(tmp_path: Path, a_result: ResultFile, graph: bool | None, engine: str) -> None:
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
    }
    step = changed(a_result.rows[0], {**update, **times})
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    write_result(tmp_path / "b.json", ResultFile(provenance=provenance, rows=[step]))
    text = pages(tmp_path)["step.md"]
    assert f"m, 80 ms, NVIDIA X, {engine}, fp32:\n" in text
    assert "| real time | 1.50 / 1.60 / 1.75 | 0.123 | 400 |" in text


def test_endpoints_have_theirs_and_each_stage_a_row(tmp_path: Path, a_result: ResultFile) -> None:
    stages = {name: {"mean": 1.0, "p50": 2.0, "p95": 3.0} for name in ("frame_ms", "total_ms")}
    update = {"mode": "endpoint", "found": 9, "late": 1, "early": 0, "missed": 2, "waterfall": stages, "lm": "gram"}
    write_result(tmp_path / "a.json", a_result.model_copy(update={"rows": [changed(a_result.rows[0], update)]}))
    found = pages(tmp_path)
    for name in ("endpoints.md", "first_text.md"):
        assert "m, 80 ms, A CPU, 2 cores, onnxruntime-cpu, fp32, gram, set_en:\n" in found[name]
    assert "| 9 / 1 / 0 / 2 | 12.35 |" in found["endpoints.md"]
    assert "| frame | 1.0 | 2.0 | 3.0 |\n| total | 1.0 | 2.0 | 3.0 |" in found["first_text.md"]
