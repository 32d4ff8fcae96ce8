"""The page of all figures: every row in its table, columns that something is in, GPU and CPU told apart."""

from pathlib import Path

import pytest

from bench.pages.all_figures import all_figures
from bench.results import ResultFile, write_result
from tests.bench.rows import changed


def test_a_row_of_a_cpu(tmp_path: Path, a_result: ResultFile) -> None:
    write_result(tmp_path / "a.json", a_result)
    text = all_figures(tmp_path)
    cells = "m, 80 ms | fp32 | onnxruntime-cpu | A CPU, 2 cores | set_en, utterances | back to back | none | 12.35 | 0.0400 / 0.0500"
    assert f"| {cells} | 7.5 / 9.2 | 200 host |" in text
    assert "Decoding ms" not in text  # nothing has such a figure
    assert "Rows measured on a CPU are functional checks" in text.replace("\n", " ")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Speech"]


def test_a_gpu_is_named_and_a_quick_look_left_out(tmp_path: Path, a_result: ResultFile) -> None:
    on_gpu = changed(a_result.rows[0], {"functional_check": False, "peak_gpu_memory_mb": 512.0})
    quick = changed(on_gpu, {"limit": 3, "data": "quick_en"})
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X"})
    write_result(tmp_path / "b.json", ResultFile(provenance=provenance, rows=[on_gpu, quick]))
    text = all_figures(tmp_path)
    assert "| NVIDIA X | set_en, utterances |" in text
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
    assert f"| m, 80 ms | {label} | onnxruntime-cpu |" in all_figures(tmp_path)


@pytest.mark.parametrize(
    ("graph", "engine"),
    [(True, "TensorRT 8.6.0, CUDA graph"), (False, "TensorRT 8.6.0, no graph"), (None, "TensorRT 8.6.0")],
)
def test_steps_have_a_table_of_their_own(tmp_path: Path, a_result: ResultFile, graph: bool | None, engine: str) -> None:
    times = {
        "step_ms_p50": 1.5,
        "step_ms_p95": 1.6,
        "step_ms_p99": 1.75,
        "floor_ms": 0.1234,
        "launches_per_step": 400.0,
    }
    update: dict[str, object] = {
        "mode": "steps",
        "backend": "tensorrt",
        "pace": "realtime",
        "cuda_graph": graph,
        "functional_check": False,
    }
    step = changed(a_result.rows[0], {**update, **times})
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    write_result(tmp_path / "b.json", ResultFile(provenance=provenance, rows=[step]))
    text = all_figures(tmp_path)
    assert f"| {engine} | NVIDIA X | real time | 1.50 / 1.60 / 1.75 | 0.123 | 400 |" in text
    assert "## Speech" not in text


def test_endpoints_have_theirs_and_each_stage_a_row(tmp_path: Path, a_result: ResultFile) -> None:
    stages = {name: {"mean": 1.0, "p50": 2.0, "p95": 3.0} for name in ("frame_ms", "total_ms")}
    update = {"mode": "endpoint", "found": 9, "late": 1, "early": 0, "missed": 2, "waterfall": stages, "lm": "gram"}
    write_result(tmp_path / "a.json", a_result.model_copy(update={"rows": [changed(a_result.rows[0], update)]}))
    text = all_figures(tmp_path)
    labels = "| m, 80 ms | fp32 | onnxruntime-cpu | A CPU, 2 cores | gram |"
    assert f"{labels} set_en, endpoints | 9 / 1 / 0 / 2 | 12.35 |" in text
    for stage in ("frame", "total"):
        assert f"{labels} set_en | {stage} | 1.0 | 2.0 | 3.0 |" in text
