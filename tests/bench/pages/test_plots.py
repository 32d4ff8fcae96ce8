"""RESULTS.md's plots: of whatever the files hold, the same bytes each time, a GPU's figures before a CPU's."""

import json
import re
from pathlib import Path

import pytest

from bench.pages.plots import page_plots
from bench.results import ResultFile, Row
from bench.speech.waterfall import STAGES
from runtime.errors import InputError
from tests.bench.rows import changed

OWNERS = "cuda weights contexts graphs activations states inputs_outputs"
MEMORY = {owner: 10.0 * (place + 1) for place, owner in enumerate(OWNERS.split())}


def texts(svg: str) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)<", svg)


def page(folder: Path, *results: ResultFile) -> dict[str, str]:
    return {plot.name: plot.svg() for plot in page_plots(folder, results)}


@pytest.fixture
def on_gpu(a_row: Row, a_result: ResultFile) -> ResultFile:
    """Steps with a graph and without, first texts by stage, and an ablation with an error rate."""
    base = changed(a_row, {"backend": "tensorrt", "functional_check": False})
    times = {"mode": "steps", "step_ms_p50": 1.0, "step_ms_p95": 1.2, "step_ms_p99": 1.5, "pace": "fast"}
    times["step_ms_percentiles"] = {"0": 0.9, "50": 1.0, "75": 1.1, "99.9": 1.9, "100": 5.0}
    steps = [changed(base, times | {"cuda_graph": graph}) for graph in (True, False)]
    ladder = changed(base, times | {"rung": "NeMo in PyTorch, eager", "backend": "torch", "precision": "fp16"})
    stages = {name: {"mean": 30.0, "p50": 2.0, "p95": 3.0} for name in STAGES}
    stages["total_ms"] = {"mean": 240.0, "p50": 240.0, "p95": 321.0}
    text = changed(base, {"mode": "endpoint", "waterfall": stages})
    ablation = [
        each.model_copy(update={"combination": "c", "precision": "int8", "calibration": "mse"})
        for each in (base, steps[0])
    ]
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    return a_result.model_copy(update={"provenance": provenance, "rows": [*steps, ladder, text, *ablation]})


def inspection(folder: Path, plan: object) -> Path:
    path = folder / "inspect" / "toy.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"schema": 1, "bundle": "toy-80ms", "precision": "fp16", "onnx": {}, "plan": plan}))
    return path


def test_a_plot_of_each_kind_and_the_same_bytes_again(on_gpu: ResultFile, tmp_path: Path) -> None:
    inspection(tmp_path, {"gpu": "NVIDIA Y", "memory_mb": MEMORY, "layers": []})
    drawn = page(tmp_path, on_gpu)
    assert list(drawn) == ["waterfall", "wer", "steps", "memory"]
    assert page(tmp_path, on_gpu) == drawn
    waterfall, wer, steps, memory = map(texts, drawn.values())
    assert {"set_en, greedy", "p95 321", "evidence", "30", "m, 80 ms", "TensorRT 8.6.0, NVIDIA X"} <= set(waterfall)
    assert {"int8 mse", "WER, %"} <= set(wer)
    assert {"fp32", "fp32, no graph", "int8 mse", "99.9"} <= set(steps)
    assert "fp16" not in steps  # a lower rung of the ladder
    assert {"toy-80ms", "280", "weights", "inputs, outputs", "NVIDIA Y"} <= set(memory)
    for text in drawn.values():
        assert len(text) < 100_000
        assert "<dc:date>" not in text


def test_rows_without_a_distribution_have_no_line(on_gpu: ResultFile, tmp_path: Path) -> None:
    rows = [row if row.cuda_graph else changed(row, {"step_ms_percentiles": None}) for row in on_gpu.rows]
    both, one = (page(tmp_path, result)["steps"] for result in (on_gpu, on_gpu.model_copy(update={"rows": rows})))
    assert "fp32, no graph" in texts(both)
    assert "fp32, no graph" not in texts(one)
    assert len(re.findall("<use ", both)) > len(re.findall("<use ", one))


def test_a_panel_for_each_model_look_ahead_and_decoder(on_gpu: ResultFile, tmp_path: Path) -> None:
    rows = [changed(row, update) for update in ({"lookahead_ms": 480}, {}, {"decoder": "rnnt"}) for row in on_gpu.rows]
    steps = page(tmp_path, on_gpu.model_copy(update={"rows": rows}))["steps"]
    titles = [each for each in texts(steps) if each.startswith("m, ")]
    assert titles == ["m, 80 ms", "m, 80 ms, RNN-T", "m, 480 ms"]


def test_a_cpu_s_first_texts_say_so_and_give_way(on_gpu: ResultFile, a_result: ResultFile, tmp_path: Path) -> None:
    rows = [changed(row, {"functional_check": True}) for row in on_gpu.rows]
    on_cpu = a_result.model_copy(update={"rows": rows})
    (alone,) = page(tmp_path, on_cpu).items()
    assert alone[0] == "waterfall"
    assert "TensorRT None, A CPU, 2 cores: times are no result" in texts(alone[1])
    assert not any("A CPU" in text for text in texts(page(tmp_path, on_cpu, on_gpu)["waterfall"]))


def test_nothing_measured_nothing_drawn(a_result: ResultFile, tmp_path: Path) -> None:
    inspection(tmp_path, None)  # of a machine without a GPU
    assert page(tmp_path, a_result) == {}


@pytest.mark.parametrize("plan", [{}, {"gpu": "NVIDIA Y", "memory_mb": {"cuda": 1}}, 3])
def test_a_broken_inspection(plan: object, tmp_path: Path) -> None:
    path = inspection(tmp_path, plan)
    with pytest.raises(InputError, match=f"{path}: no inspection of schema 1: plan") as caught:
        page_plots(tmp_path, [])
    assert "\n" not in str(caught.value)
