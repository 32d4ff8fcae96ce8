"""The projection of streams to a GPU that is not at hand: ranges by hand, labels, the page's table, refusals."""

import io
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.__main__ import run as run_command
from bench.pages import results_page
from bench.pages.publish import Options as PublishOptions
from bench.pages.publish import run as publish
from bench.pages.terminal import print_written
from bench.results import ResultFile, read_result, write_result
from bench.step.batch import BatchReport, BatchRow
from bench.step.project import Options, run
from bench.step.project_streams import Slower, batch_ms, served, slower_than
from bench.step.projection import GPUS, LABEL, GroupRange, StreamsProjection
from bench.step.workload import GroupWork
from runtime.bundle import read_bundle
from runtime.errors import InputError, exit_code

T4 = GPUS["t4"]
MODEL = "streaming_fastconformer_ctc_en_small"
TIMES = {1: 1.0, 16: 1.3, 256: 3.0}
"""Streams -> ms of the step."""


def row(streams: int, ms: float, **keys: Any) -> BatchRow:
    figures = {"step_ms_p50": ms, "step_ms_p95": ms, "step_ms_p99": ms, "kernels_ms_p50": ms, "floor_ms": 0.2}
    figures |= {"kernels": 400, "first_stream": 0.0, "sm_clock_mhz": 1800.0, "peak_gpu_memory_mb": 1000.0}
    return BatchRow.model_validate({"streams": streams, **figures, **keys})


@pytest.fixture
def report(a_result: ResultFile) -> BatchReport:
    """Of the embedded checkpoint on an H200, by hand."""
    return BatchReport(
        provenance=a_result.provenance.model_copy(update={"gpu": "NVIDIA H200", "tensorrt": "8.6.0"}),
        model=MODEL,
        weights="trained",
        lookahead_ms=80,
        chunk_ms=160.0,
        precision="fp16",
        sizes="256",
        plan_mb=32.0,
        build_s=1.0,
        copy_gb_s=4200.0,
        state_mb=0.8,
        steps=1000,
        rows=[row(streams, ms) for streams, ms in TIMES.items()],
    )


def projected(bundle: Path, report: BatchReport, folder: Path) -> tuple[Path, StreamsProjection]:
    """The file that `bench project` wrote, and what is read from it."""
    write_result(folder / "batch.json", report)
    options = Options(gpu="t4", bundle=bundle, batched=folder / "batch.json", out=folder / "results")
    written = run(options, ["project"], Console(file=io.StringIO()))
    projection = read_result(written.path, StreamsProjection)
    assert written.result == projection
    return written.path, projection


def test_how_much_slower(report: BatchReport) -> None:
    one = report.rows[0]
    found = slower_than(report, one, T4)
    assert (found.cycles, found.work) == pytest.approx((2.0, 989 / (65 * 900 / 1590)))
    copies = report.with_(copy_gb_s=12_000.0)  # 50 times 240 GB/s, more than the 26.9 times of the rates
    assert slower_than(copies, one, T4).work == pytest.approx(50)


@pytest.mark.parametrize(
    ("measured_ms", "group_ms", "expected"),
    [
        (1.5, (1.0, 2.0), (1.0, 1.0 * 2 + 0.5 * 10)),  # the time there: 7 ms, more than 2 + 400 kernels of 0.002 x 2 ms
        (1.1, (1.0, 9.0), (1.0, 9.0 + 0.8 * 2)),  # the work: 10.6 ms, more than 2 + 1
        (1.0, (0.1, 0.2), (0.1, 2.0)),  # one stream: all that it took there, by the clock
    ],
)
def test_a_batch_by_hand(measured_ms: float, group_ms: tuple[float, float], expected: tuple[float, float]) -> None:
    groups = [
        GroupRange(**vars(GroupWork(name=name)), ms_low=group_ms[0] / 2, ms_high=group_ms[1] / 2) for name in "ab"
    ]
    found = batch_ms(row(8, measured_ms), row(1, 1.0), groups, Slower(cycles=2.0, work=10.0))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ms", "memory_gb", "streams"),
    [
        (30.0, 16.0, 5 * 256),
        (160.0, 16.0, 256),
        (161.0, 16.0, 0),
        (0.1, 16.0, 256 + 18_750),  # what 15 GB hold beside the batch's own
        (0.1, 0.5, 256),
    ],
)
def test_streams_in_real_time(report: BatchReport, ms: float, memory_gb: float, streams: int) -> None:
    assert served(ms, report.rows[-1], report, replace(T4, memory_gb=memory_gb)) == streams


def test_projected(batched_bundle: Path, report: BatchReport, tmp_path: Path) -> None:
    path, projection = projected(batched_bundle, report, tmp_path)
    assert path.relative_to(tmp_path / "results").parts[:2] == ("projections", "streams")
    assert [batch.streams for batch in projection.batches] == list(TIMES)
    weights_ms = 2 * read_bundle(batched_bundle).step("fp16").parameters / 320e6
    for batch in projection.batches:
        states_ms = 4 * batch.streams * report.state_mb / 320  # read and written by the step, and by the slots' kernels
        print(
            f"{batch.streams} streams: {batch.ms_low} to {batch.ms_high} ms; bytes alone {weights_ms + states_ms:.3f}"
        )
        assert weights_ms + states_ms < batch.ms_low < batch.ms_high
        assert batch.served_low == batch.streams * int(160 / batch.ms_high)
        assert batch.served_low < batch.served_high
    assert projection.batches[-1].ms_high == pytest.approx(2 * 1.0 + 2.0 * 989 / (65 * 900 / 1590), rel=0.01)
    assert (projection.source.gpu, projection.source.kernels) == ("NVIDIA H200", 400)
    assert any("26.9 times" in line for line in projection.assumptions)


def test_it_is_labelled_wherever_it_is_shown(
    batched_bundle: Path, report: BatchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = iter(["c0ffee", "c0ffee-dirty"])
    monkeypatch.setattr("bench.step.projection.commit", lambda: next(commits))
    write_result(tmp_path / "batch.json", report)
    console = Console(file=io.StringIO(), width=120)
    options = Options(gpu="t4", bundle=batched_bundle, batched=tmp_path / "batch.json", out=tmp_path)
    written = run(options, ["project"], console)
    print_written(written, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"NVIDIA T4: {LABEL}" in shown
    assert f"Assumptions of the {LABEL}:" in shown
    assert "the host, which feeds and decodes all streams, is left out" in shown
    page, results = tmp_path / "RESULTS.md", tmp_path / "published"
    results.mkdir()
    publish(PublishOptions(result=written.path, results=results, page=page), [], console)
    last = read_result(written.path, StreamsProjection).batches[-1]
    text = (results / "projection.md").read_text()
    assert f"NVIDIA T4: {LABEL}\n{MODEL}, 80 ms, fp16, from the step on NVIDIA H200:\n" in text
    assert (
        f"| 256 | 3.00 | {last.ms_low:.2f} - {last.ms_high:.2f} | {last.served_low:,} - {last.served_high:,} |" in text
    )
    results_page.run(results_page.Options(page=page, results=results, check=True), [], console)
    written = run(options, ["project"], console)
    with pytest.raises(
        InputError, match="expected a result of a commit, found one of files that were changed after it"
    ):
        publish(PublishOptions(result=written.path, results=results, page=page), [], console)


BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("found large, 80 ms, fp16; measure that with", {"model": "large"}, []),
    ("found streaming_fastconformer_ctc_en_small, 80 ms, fp32; measure", {"precision": "fp32"}, []),
    ("expected fp16 for a projection of streams, found fp32", {"precision": "fp32"}, ["--precision", "fp32"]),
    ("expected a row of one stream with the SM clock, found none", {"rows": [row(16, 1.3)]}, []),
    ("expected a row of one stream with the SM clock", {"rows": [row(1, 1.0, sm_clock_mhz=None)]}, []),
    ("NVIDIA H200, found NVIDIA X; measure there", {"gpu": "NVIDIA X"}, []),
    ("--batched: expected no --measured beside it", {}, ["--measured", "a.json"]),
    ("none.json: cannot read the batch report", {}, ["--batched", "none.json"]),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[0])
def test_bad_input(
    bad: tuple[str, dict[str, Any], list[str]], batched_bundle: Path, report: BatchReport, tmp_path: Path
) -> None:
    message, update, words = bad
    keys = {key: value for key, value in update.items() if key != "gpu"}
    if "gpu" in update:
        keys["provenance"] = report.provenance.model_copy(update={"gpu": update["gpu"]})
    write_result(tmp_path / "batch.json", report.with_(**keys))
    argv = ["project", "--gpu", "t4", "--bundle", str(batched_bundle), "--out", str(tmp_path / "results")]
    error = io.StringIO()
    with redirect_stderr(error):
        assert exit_code(lambda: run_command([*argv, "--batched", str(tmp_path / "batch.json"), *words])) == 2
    assert message in error.getvalue()
    assert error.getvalue().count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_bundle_without_the_step_over_many_streams(
    manifest_of_one: Path, report: BatchReport, tmp_path: Path
) -> None:
    write_result(tmp_path / "batch.json", report)
    argv = ["project", "--gpu", "t4", "--bundle", str(manifest_of_one), "--batched", str(tmp_path / "batch.json")]
    error = io.StringIO()
    with redirect_stderr(error):
        assert exit_code(lambda: run_command([*argv, "--out", str(tmp_path / "results")])) == 2
    assert "make export BATCH=1" in error.getvalue()
