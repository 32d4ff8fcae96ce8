"""The projection to a GPU that is not at hand: ranges by hand, labels, the page's table, refusals."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import run as run_command
from bench.pages import results_page
from bench.pages.report_tables import projection_notes, projection_tables
from bench.results import ResultFile, read_result, read_results, write_result
from bench.step.project import Options, run, step_range
from bench.step.projection import GPUS, LABEL, Gpu, GroupRange, Projection, group_range
from bench.step.workload import GroupWork
from runtime.bundle import read_bundle
from runtime.errors import InputError, exit_code
from tests.bench.rows import changed

MODEL = "streaming_fastconformer_ctc_en_small"

SIMPLE = Gpu(
    name="G",
    bandwidth_gb_s=100,
    tera_ops={"fp32": 1, "fp16": 8},
    multiprocessors=1,
    l2_mb=1,
    memory_gb=1,
    boost_mhz=2000,
    low_share=1.0,
    high_share=0.5,
    throttled_mhz=1000,
    sources=(),
)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (GroupWork(name="bytes", constant_bytes=80_000_000, io_bytes=20_000_000, node_bytes=120_000_000), 1.0, 4.0),
        (GroupWork(name="state through a view", io_bytes=50_000_000), 0.5, 1.0),
        (GroupWork(name="fp32, half the clock", multiply_adds=Counter(fp32=500_000_000)), 1.0, 2.0),
        (GroupWork(name="fp16, 4 of 16 rows at half the clock", multiply_adds=Counter(fp16=4_000_000_000)), 1.0, 8.0),
        (GroupWork(name="both types", multiply_adds=Counter(fp32=500_000_000, fp16=4_000_000_000)), 2.0, 10.0),
        (GroupWork(name="the longer", constant_bytes=100_000_000, multiply_adds=Counter(fp32=750_000_000)), 1.5, 3.0),
    ],
    ids=lambda value: value.name if isinstance(value, GroupWork) else "",
)
def test_group_by_hand(count: GroupWork, low: float, high: float) -> None:
    found = group_range(count, SIMPLE, rows=4)
    assert (found.ms_low, found.ms_high) == pytest.approx((low, high))


def test_step_by_hand() -> None:
    groups = [GroupRange(**vars(GroupWork(name=name)), ms_low=0.25, ms_high=0.5) for name in "ab"]
    figures = {"step_ms_p50": 1.5, "floor_ms": 0.5, "step_sm_clock_mhz": 1500, "peak_gpu_memory_mb": None}
    step = {"cuda_graph": True, "pace": "realtime", **figures}
    found = step_range(step, 100, groups, SIMPLE, 160)
    assert (found.measured_kernel_us, found.kernel_us_high, found.kernels_ms_high) == pytest.approx((10, 15, 1.5))
    assert (found.ms_low, found.ms_high) == pytest.approx((0.5, 2.5))
    assert (found.rtf_low, found.rtf_high) == pytest.approx((0.5 / 160, 2.5 / 160), abs=1e-5)


def measured(a_result: ResultFile, path: Path, **update: object) -> Path:
    """Steps as `bench steps` writes them: back to back, 0.2 ms slower paced, and an older, slower variant of the first."""
    figures = {
        "model": MODEL,
        "mode": "steps",
        "backend": "tensorrt",
        "precision": "fp16",
        "cuda_graph": True,
        "floor_ms": 0.01,
        "launches_per_step": 400.0,
        "step_sm_clock_mhz": 1980.0,
        "peak_gpu_memory_mb": 600.0,
        "functional_check": False,
    }
    times = [("fast", 1.2), ("fast", 3.0), ("realtime", 1.4)]
    rows = [changed(a_result.rows[0], figures | {"pace": pace, "step_ms_p50": ms} | update) for pace, ms in times]
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    write_result(path, ResultFile(provenance=provenance, rows=rows))
    return path


def projected(bundle: Path, files: Sequence[Path], out: Path) -> tuple[Path, Projection]:
    """The file that `bench project` wrote, and what is read from it."""
    options = Options(gpu="t4", bundle=bundle, measured=tuple(files), out=out)
    written = run(options, ["project"], Console(file=io.StringIO()))
    projection = read_result(written.path, Projection)
    assert written.result == projection
    return written.path, projection


def refresh(page: Path, results: Path, *, check: bool) -> None:
    results_page.run(results_page.Options(page=page, results=results, check=check), [], Console(file=io.StringIO()))


def test_projected(bundle: Path, a_result: ResultFile, tmp_path: Path) -> None:
    files = [
        measured(a_result, tmp_path / "graph.json"),
        measured(a_result, tmp_path / "none.json", cuda_graph=False, launches_per_step=None, floor_ms=0.02),
    ]
    path, projection = projected(bundle, files, tmp_path)
    assert path == tmp_path / "projections" / f"projection-t4-{MODEL}-80ms-fp16.json"
    written = json.loads(path.read_text())
    assert written["projection"] is True
    assert written["source"]["command"] == "python -m bench project"
    graph, single = projection.steps
    assert (graph.cuda_graph, graph.measured_pace, graph.measured_ms_p50) == (True, "realtime", 1.4)
    assert (single.cuda_graph, single.measured_floor_ms, single.ms_low) == (False, 0.02, graph.ms_low)
    assert graph.measured_kernel_us == pytest.approx(1390 / 400)
    weights_ms = 2 * read_bundle(bundle).step("fp16").parameters / 320e6
    print(f"step {graph.ms_low} to {graph.ms_high} ms, its weights at the full bandwidth {weights_ms:.3f} ms")
    assert weights_ms < graph.ms_low < graph.kernels_ms_high < graph.ms_high
    assert graph.rtf_high == pytest.approx(graph.ms_high / 160, abs=1e-5)
    assert (projection.gpu_memory_mb, projection.source.kernels, projection.source.gpu) == (600, 400, "NVIDIA X")
    assert all(each.ms_low <= each.ms_high for each in projection.groups)
    assert len(projection.assumptions) > 10


def test_tables_say_in_every_row_that_it_is_a_projection(bundle: Path, a_result: ResultFile, tmp_path: Path) -> None:
    files = [measured(a_result, tmp_path / "graph.json"), measured(a_result, tmp_path / "none.json", cuda_graph=False)]
    _, projection = projected(bundle, files, tmp_path)
    (table,) = projection_tables(projection)
    assert len(table.rows) == len(projection.groups) + 6
    assert {len(cells) for cells in table.rows} == {len(table.columns)}
    assert LABEL in table.title
    assert all(LABEL in cells for cells in table.rows)
    step = projection.steps[0]
    assert f"{step.ms_low:.2f} - {step.ms_high:.2f}" in next(cells for cells in table.rows if cells[0] == "step, graph")
    memory, _, *assumptions = projection_notes(projection)
    assert memory == f"GPU memory, {LABEL}: about 600 MB"
    assert assumptions == [f"- {each}" for each in projection.assumptions]


OF_STEPS_ALONE = dict.fromkeys(("floor_ms", "launches_per_step", "step_sm_clock_mhz"))
BAD: list[tuple[str, dict[str, object], list[str]]] = [
    ("--gpu: expected one of t4, found 'p4'", {}, ["--gpu", "p4"]),
    ("found large, 80 ms, fp16", {"model": "large"}, []),
    ("80 ms, fp16, found streaming_fastconformer_ctc_en_small, 480 ms, fp16", {"lookahead_ms": 480}, []),
    ("fp16, found streaming_fastconformer_ctc_en_small, 80 ms, fp32", {"precision": "fp32"}, []),
    ("found none; measure with", {"backend": "torch"}, []),
    ("found none; measure with", {"mode": "utterance", **OF_STEPS_ALONE}, []),
    ("expected launches_per_step, found none", {"launches_per_step": None}, []),
    ("found no row with all of them", {"step_sm_clock_mhz": None}, []),
    ("found no row with all of them", {"cuda_graph": None}, []),
    ("found int4; choose one of them", {}, ["--precision", "int4"]),
    ("no-such.json: cannot read the result file", {}, ["--measured", "no-such.json"]),
    ("no-such-bundle", {}, ["--bundle", "no-such-bundle"]),
    ("--measured: expected result files", {}, ["--measured"]),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[0])
def test_bad_input(
    bad: tuple[str, dict[str, object], list[str]], bundle: Path, a_result: ResultFile, tmp_path: Path
) -> None:
    message, update, words = bad
    file = measured(a_result, tmp_path / "m.json", **update)
    argv = ["project", "--gpu", "t4", "--bundle", str(bundle), "--measured", str(file), "--out", str(tmp_path), *words]
    error = io.StringIO()
    with redirect_stderr(error):
        assert exit_code(lambda: run_command(argv)) == 2
    assert message in error.getvalue()
    assert error.getvalue().startswith("error: ")
    assert error.getvalue().count("\n") == 1
    assert not (tmp_path / "projections").exists()


def test_files_of_two_gpus(bundle: Path, a_result: ResultFile, tmp_path: Path) -> None:
    files = [measured(a_result, tmp_path / name) for name in ("a.json", "b.json")]
    files[1].write_text(files[1].read_text().replace("NVIDIA X", "NVIDIA Y"))
    with pytest.raises(InputError, match="expected files of one GPU, found NVIDIA X and NVIDIA Y"):
        projected(bundle, files, tmp_path)


def test_the_t4_is_that_of_its_datasheet() -> None:
    gpu = GPUS["t4"]
    assert (gpu.bandwidth_gb_s, gpu.multiprocessors, gpu.l2_mb, gpu.memory_gb) == (320, 40, 4, 16)
    assert gpu.tera_ops == {"fp32": 8.1, "fp16": 65, "int8": 130}


def test_the_page_has_a_table_of_projections(bundle: Path, a_result: ResultFile, tmp_path: Path) -> None:
    page, results = tmp_path / "RESULTS.md", tmp_path / "results"
    write_result(results / "a.json", a_result)
    refresh(page, results, check=False)
    assert not (results / "projection.md").exists()
    file = measured(a_result, tmp_path / "m.json")
    path, projection = projected(bundle, [file], results)
    with pytest.raises(SystemExit):
        refresh(page, results, check=True)
    refresh(page, results, check=False)
    refresh(page, results, check=True)
    step = projection.steps[0]
    text = (results / "projection.md").read_text()
    assert f"NVIDIA T4, {LABEL}, from kernels of TensorRT 8.6.0 on NVIDIA X, {MODEL}, 80 ms, fp16:\n" in text
    spans = f"{step.ms_low:.2f} - {step.ms_high:.2f} | {step.rtf_low:.4f} - {step.rtf_high:.4f}"
    assert f"| {spans} | about 600 | 400 |" in text
    write_result(path, projection.with_(gpu_memory_mb=None))
    with pytest.raises(SystemExit):
        refresh(page, results, check=True)


@pytest.mark.parametrize("change", [{"projection": False}, {"extra": 1}, {"steps": []}, {"schema": 2}])
def test_a_broken_projection(change: dict[str, object], bundle: Path, a_result: ResultFile, tmp_path: Path) -> None:
    file = measured(a_result, tmp_path / "m.json")
    path, _ = projected(bundle, [file], tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"no projection of schema 1.*project again") as broken:
        read_results(tmp_path, Projection)
    assert "\n" not in str(broken.value)
