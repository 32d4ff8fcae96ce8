"""The pages' plots: of whatever the files hold, the same bytes each time, a GPU's figures before a CPU's."""

import json
import re
from pathlib import Path

import pytest

from bench.pages.drawing import Plot
from bench.pages.plots import page_plots
from bench.pages.published import read_published
from bench.results import ResultFile, write_result
from bench.rows import Row, UtteranceRecord
from bench.speech.waterfall import STAGES
from bench.step.ladder import RUNTIME
from runtime.errors import InputError
from tests.bench.rows import changed


def texts(svg: str) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)<", svg)


def page(folder: Path, *results: ResultFile) -> dict[str, Plot]:
    for number, result in enumerate(results):
        write_result(folder / f"{number}.json", result)
    return {plot.name: plot for plot in page_plots(read_published(folder))}


@pytest.fixture
def on_gpu(a_row: Row, a_result: ResultFile) -> ResultFile:
    """Steps with a graph and without, a ladder of two rungs and one beside it, and first texts by stage."""
    base = changed(a_row, {"backend": "tensorrt", "functional_check": False})
    times = {"mode": "steps", "step_ms_p50": 1.0, "step_ms_p95": 1.2, "step_ms_p99": 1.5, "pace": "fast"}
    times["step_ms_percentiles"] = {"0": 0.9, "50": 1.0, "75": 1.1, "99.9": 1.9, "100": 5.0}
    steps = [changed(base, times | {"cuda_graph": graph}) for graph in (True, False)]
    rungs = [
        changed(base, times | {"precision": "fp16", "pace": pace, "rung": rung, "backend": backend, "step_ms_p50": ms})
        for rung, backend, ms in (("NeMo", "torch", 34.5), (RUNTIME.label, "tensorrt", 0.75), ("beside", "torch", 9.0))
        for pace in ("fast", "realtime")
    ]
    clips = [
        UtteranceRecord(
            data="set_en",
            lang="en",
            mode="endpoint",
            audio="a.wav",
            reference="a",
            hypothesis="a",
            audio_s=1.0,
            waterfall=dict.fromkeys(STAGES, ms),
        )
        for ms in (20.0, 40.0)
    ]
    update = {"mode": "endpoint", "waterfall": {"total_ms": {"mean": 240.0, "p50": 240.0, "p95": 321.0}}}
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    rows = [*steps, *rungs, changed(base, update)]
    return a_result.model_copy(update={"provenance": provenance, "rows": rows, "utterances": clips})


def test_a_plot_of_each_kind_and_the_same_bytes_again(on_gpu: ResultFile, tmp_path: Path) -> None:
    drawn, again = ({name: plot.svg() for name, plot in page(tmp_path, on_gpu).items()} for _ in range(2))
    assert list(drawn) == ["waterfall", "ladder", "steps"]
    assert again == drawn
    waterfall, ladder, steps = map(texts, drawn.values())
    assert {"evidence", "30", "first text", str(30 * len(STAGES)), "ms from speech onset, mean of 2 clips"} <= set(
        waterfall
    )
    assert {" 34.50  NeMo", f" 0.75  {RUNTIME.label}"} <= set(ladder)
    assert not any("beside" in text for text in ladder)
    assert {"fp32", "fp32, no graph", "99.9"} <= set(steps)
    for text in drawn.values():
        assert len(text) < 100_000
        assert "<dc:date>" not in text


def test_rows_without_a_distribution_have_no_line(on_gpu: ResultFile, tmp_path: Path) -> None:
    rows = [row if row.cuda_graph else changed(row, {"step_ms_percentiles": None}) for row in on_gpu.rows]
    both, one = (page(tmp_path, result)["steps"].svg() for result in (on_gpu, on_gpu.model_copy(update={"rows": rows})))
    assert "fp32, no graph" in texts(both)
    assert "fp32, no graph" not in texts(one)
    assert len(re.findall("<use ", both)) > len(re.findall("<use ", one))


def test_a_panel_for_each_model_look_ahead_and_decoder(on_gpu: ResultFile, tmp_path: Path) -> None:
    rows = [changed(row, update) for update in ({"lookahead_ms": 480}, {}, {"decoder": "rnnt"}) for row in on_gpu.rows]
    steps = page(tmp_path, on_gpu.model_copy(update={"rows": rows}))["steps"].svg()
    titles = [each for each in texts(steps) if each.startswith("m, ")]
    assert titles == ["m, 80 ms", "m, 80 ms, RNN-T", "m, 480 ms"]


def test_the_slowest_model_s_ladder_is_drawn(on_gpu: ResultFile, tmp_path: Path) -> None:
    slower = [changed(row, {"step_ms_p50": 5.5}) if row.mode == "steps" else row for row in on_gpu.rows]
    ladder = page(tmp_path, on_gpu.model_copy(update={"rows": slower}), on_gpu)["ladder"].svg()
    assert f" 5.50  {RUNTIME.label}" in texts(ladder)


def test_a_cpu_s_first_texts_give_way(on_gpu: ResultFile, a_result: ResultFile, tmp_path: Path) -> None:
    clips = [on_gpu.utterances[0]]
    rows = [changed(row, {"functional_check": True}) for row in on_gpu.rows if row.mode == "endpoint"]
    later = a_result.provenance.with_(date="2027-01-01T00:00:00+00:00")
    on_cpu = a_result.model_copy(update={"rows": rows, "utterances": clips, "provenance": later})
    alone = page(tmp_path, on_cpu)
    assert list(alone) == ["waterfall"]
    assert any("mean of 1 clips" in text for text in texts(alone["waterfall"].svg()))
    assert any("mean of 2 clips" in text for text in texts(page(tmp_path, on_cpu, on_gpu)["waterfall"].svg()))


def test_nothing_measured_nothing_drawn(a_result: ResultFile, tmp_path: Path) -> None:
    assert page(tmp_path, a_result) == {}


@pytest.mark.parametrize("plan", [{}, {"gpu": "NVIDIA Y", "memory_mb": {"cuda": 1}}, 3])
def test_a_broken_inspection(plan: object, tmp_path: Path) -> None:
    path = tmp_path / "inspect" / "toy.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"schema": 1, "bundle": "toy-80ms", "precision": "fp16", "onnx": {}, "plan": plan}))
    with pytest.raises(InputError, match=f"{path}: no inspection of schema 1: plan") as caught:
        read_published(tmp_path)
    assert "\n" not in str(caught.value)
