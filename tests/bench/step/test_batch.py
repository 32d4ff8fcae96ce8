"""`bench batch` on the fake GPU: every stream's results, what is captured, sizes and profiles, and freeing after failures."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.__main__ import parse_args
from bench.pages import results_page
from bench.pages.terminal import print_result
from bench.results import read_result
from bench.step import batch, peer, timing
from bench.step.batch import BatchReport, Options, run
from bench.step.batched import BatchedStep
from bench.step.timing import PaceTimes, StepMeasurement, Variant
from bench.step.workload import GroupWork
from runtime.backends.engine import LoadedPlan, check_plan
from runtime.bundle import read_bundle
from runtime.entries import STATE
from runtime.errors import InputError
from runtime.stamp import plan_path
from tests.runtime.fake_tensorrt import SIZES, toy_step
from tests.runtime.rig import Rig, add_batched, assert_every_failure_frees_everything

BANDWIDTH = 2e12
WORK = [
    GroupWork(name="mel", multiply_adds=Counter(fp32=500_000)),
    GroupWork(name="ffn", multiply_adds=Counter(fp16=2_000_000)),
]
"""What the toy's ONNX, of which there is no file, would need."""
VERSIONS = ["8.6.0", "10.16.1.11"]


@pytest.fixture
def many(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The toy bundle with the step over many streams and its plan; no GPU copies gigabytes here, and a warm-up warms nothing."""
    monkeypatch.setattr(batch, "gpu_bandwidth", lambda _: BANDWIDTH)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    monkeypatch.setattr(batch, "checked_file", lambda folder, entry: folder / entry.file)
    monkeypatch.setattr(batch, "step_work", lambda _: WORK)
    monkeypatch.setattr(peer, "run_child", lambda *_: no_peer())
    add_batched(rig.folder)
    return rig


def installed(rig: Rig, version: str, **gpu: Any) -> None:
    rig.install(version, **gpu)
    add_batched(rig.folder, version)


def no_peer() -> str:
    raise InputError("No module named 'torch'")


def measured(rig: Rig, out: Path, **options: Any) -> BatchReport:
    chosen = replace(Options(bundle=rig.folder, precision="fp32", steps=100, out=out), **options)
    written = run(chosen, ["batch"], Console(file=io.StringIO()))
    report = read_result(written.path, BatchReport)
    assert report == written.result
    return report


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("streams", "profile"), [(1, 0), (3, 1), (4, 1), (5, 2)])
def test_every_stream_s_result_after_its_cache_is_full(many: Rig, version: str, streams: int, profile: int) -> None:
    installed(many, version)
    checked = check_plan(many.folder, read_bundle(many.folder), "fp32", "batched")
    plan = LoadedPlan(checked)
    with BatchedStep(checked.device, plan, checked.entry, streams, profile) as step:
        heard = step.first_stream()
        audio = step._batch._audio.copy()
        results = {name: values.copy() for name, values in step._batch.results.items()}
        assert (step.whole.kernels, step.alone.kernels, step.copies.kernels) == (3, 3, 2)
        many.gpu.calls.clear()
        step.run(step.alone)
        assert Counter(many.gpu.calls) == Counter(cudaGraphLaunch=1, cudaEventRecord=1, cudaEventSynchronize=1)
    assert many.gpu.live == {handle: kind for handle, kind in many.gpu.live.items() if kind == "engine"}
    for row in range(streams):
        feeds = {"audio": audio[row : row + 1], "valid": np.array([1 << 30], np.int32)}
        state = {name: checked.entry.input(name).zeros() for name in STATE}
        for _ in range(1 + 2 + 1):  # the first, a cache of 4 frames in chunks of 2, and the step itself
            of = toy_step({**feeds, **state})
            state = {name: of[f"next_{name}"] for name in STATE}
        for name, values in results.items():
            assert np.array_equal(values[row], of[name][0]), (row, name)
    assert np.array_equal(heard, results["log_probs"][0])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_report(many: Rig, tmp_path: Path, version: str) -> None:
    installed(many, version)
    report = measured(many, tmp_path)
    assert [row.streams for row in report.rows] == list(SIZES)
    assert (report.sizes, report.copy_gb_s, report.build_s, report.left_out) == ("1,4,6", BANDWIDTH / 1e9, 1.0, {})
    state = read_bundle(many.folder).step("fp32").state_bytes
    assert state == 4 + 4 * 4 * 5 * 7 + 4 * 6 * 2
    for row in report.rows:
        assert row.floor_ms == round(1e3 * (4 + 2 * row.streams * state) / BANDWIDTH, 5)
        assert row.first_stream == 0
        assert row.stream_ms == row.step_ms_p50 / row.streams
        assert row.kernels_ms_p50 > 0
        assert row.copies_ms_p50 is not None
        assert row.tflop_s == pytest.approx(5e-3 * row.streams / row.kernels_ms_p50, rel=0.01, abs=1e-5)
        assert row.peer_ms_p50 is None
    assert (report.gflop, report.peer) == (5e-3, None)
    assert many.gpu.live == {}
    shown = io.StringIO()
    print_result(report, Console(file=shown, width=120))
    assert "plan for 1,4,6" in shown.getvalue()
    assert "NeMo" not in shown.getvalue()


@pytest.mark.parametrize("given", [{"peer_python": "python3 -X dev"}, {"encoder_config": "encoder.json"}, {}])
def test_the_peer_s_column(many: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    """One process for each number of streams, where options name one or it is found; one that fails is left out, our row stays."""
    config = tmp_path / "given" / "encoder.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"n_layers": 2}))
    options: dict[str, Any] = given | ({"encoder_config": config} if given else {})
    if not given:  # found: torch and a GPU are there, and NeMo reads the configuration
        monkeypatch.setattr(peer, "run_child", lambda *_: json.dumps({"n_layers": 2}))
        monkeypatch.setattr(peer, "nemo_python", lambda: ["nemo-python"])
    told: list[Variant] = []

    def child(variant: Variant, python: list[str]) -> StepMeasurement:
        told.append(variant)
        assert python == {"peer_python": ["python3", "-X", "dev"]}.get(next(iter(given), ""), peer.nemo_python())
        if variant.streams == 4:
            raise InputError("OutOfMemoryError: CUDA out of memory")
        pace = PaceTimes([1e-3 * variant.streams] * 3, None, None)
        return StepMeasurement(1.0, pace, PaceTimes([], None, None), None, "torch 2.0", True, 900, 4, BANDWIDTH)

    monkeypatch.setattr(batch, "measure_child", child)
    report = measured(many, tmp_path, **options)
    assert [(row.streams, row.peer_ms_p50, row.peer_ms_p95) for row in report.rows] == [
        (1, 1.0, 1.0),
        (4, None, None),
        (6, 6.0, 6.0),
    ]
    assert report.left_out == {"NeMo's encoder, 4 streams": "OutOfMemoryError: CUDA out of memory"}
    assert report.peer is not None
    assert "torch 2.0, one CUDA graph" in report.peer
    assert {(each.backend, each.precision, each.graph, each.paced, each.steps) for each in told} == {
        ("torch", "fp32", True, 0, 100)
    }
    assert all(each.encoder == {"n_layers": 2} for each in told)
    shown = io.StringIO()
    print_result(report, Console(file=shown, width=200))
    assert "6.000 / 6.000" in shown.getvalue()
    page = results_page.Options(page=tmp_path / "RESULTS.md", results=tmp_path)
    results_page.run(page, [], Console(file=io.StringIO()))
    text = (tmp_path / "batch.md").read_text()
    assert "| 6.000 / 6.000 |" in text
    assert f"NeMo: {report.peer}." in text
    assert "- NeMo's encoder, 4 streams: OutOfMemoryError: CUDA out of memory" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": "4,2"}, "--streams: expected numbers of streams that rise, such as 1,4,16,64,256, found '4,2'"),
        ({"streams": "7"}, "expected at most 6 streams for this plan, found 7"),
        ({"steps": 99}, "--steps: expected at least 100"),
        ({"encoder_config": Path("none.json")}, "--encoder-config: expected a JSON file, found none at none.json"),
        ({"precision": "fp16"}, "expected a precision of the bundle (fp32), found fp16"),
    ],
)
def test_what_is_refused(many: Rig, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        measured(many, tmp_path, **options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert many.gpu.live == {}
    assert not list(tmp_path.glob("*/*.json"))


def test_a_plan_that_is_not_there(many: Rig, tmp_path: Path) -> None:
    plan_path(many.folder, "fp32", "batched").unlink()
    with pytest.raises(InputError, match=r"found none; make it with `make engines PRECISION=fp32 BATCH=1`$"):
        measured(many, tmp_path)


def test_numbers_that_do_not_fit_are_left_out(many: Rig, tmp_path: Path) -> None:
    bundle = read_bundle(many.folder)
    step = bundle.step("fp32")
    specs = [*step.of_streams(6).tensors, *(step.input(name) for _ in range(6) for name in STATE)]
    block_and_slots = sum(-(-spec.size // 512) * 512 for spec in specs)
    many.install(costs={"cuda": (16 << 30) - block_and_slots})  # scratch and the rows' slots are too much
    report = measured(many, tmp_path)
    assert [row.streams for row in report.rows] == [1, 4]
    assert report.left_out.keys() == {"6 streams"}
    assert "cudaMalloc" in report.left_out["6 streams"]
    assert many.gpu.live == {}
    many.install(capturable=False)
    with pytest.raises(InputError, match="expected the step over 6 streams to run, found"):
        measured(many, tmp_path)
    assert many.gpu.live == {}


def test_every_failure_frees_everything(many: Rig) -> None:
    def use() -> None:
        checked = check_plan(many.folder, read_bundle(many.folder), "fp32", "batched")
        plan = LoadedPlan(checked)
        try:
            with BatchedStep(checked.device, plan, checked.entry, 4, 1) as step:
                step.first_stream()
        finally:
            plan.close()

    assert_every_failure_frees_everything(many, use)


def test_the_command_line(many: Rig) -> None:
    name, options = parse_args(["batch", "--bundle", str(many.folder), "--streams", "1,4,16,64,256"])
    assert (name, options.streams, options.precision) == ("batch", "1,4,16,64,256", "fp16")
