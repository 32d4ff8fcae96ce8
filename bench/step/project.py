"""Projects the step to a GPU that is not at hand: a range, from what it moves and computes and from a run measured elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from rich.console import Console

from bench.results import read_result, result_path, write_result
from bench.rows import Provenance, StepRow
from bench.session import FileOptions, Written
from bench.step.project_streams import project_streams
from bench.step.projection import (
    GPUS,
    TILE_ROWS,
    Gpu,
    GroupRange,
    Projection,
    Source,
    StepRange,
    StreamsProjection,
    bounds,
    group_range,
    source_of,
)
from bench.step.workload import step_work
from bench.summary import Keys
from runtime.bundle import Bundle, read_bundle, step_file
from runtime.errors import InputError

NEEDED = ("cuda_graph", "pace", "step_ms_p50", "floor_ms", "step_sm_clock_mhz")
"""Keys of a row of steps that a projection needs values of."""


@dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What to project, and from what."""

    gpu: str
    """GPU to project to: t4."""
    bundle: Path
    """Folder made by `make export`."""
    measured: tuple[Path, ...] = ()
    """Result files of `bench steps` for this bundle on another GPU, with a graph and, if there, without."""
    batched: Path | None = None
    """Instead, to project how many streams it serves: a report of `bench batch` on another GPU, of one stream too."""
    precision: str = "fp16"
    """fp32, fp16 or int8."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:  # noqa: ARG001 -- a command's arguments
    """Project and write the projection's file. Raises InputError for bad input."""
    gpu = GPUS.get(options.gpu)
    if gpu is None:
        raise InputError(f"--gpu: expected one of {', '.join(GPUS)}, found {options.gpu!r}")
    bundle = read_bundle(options.bundle)
    usual = f"projection-{options.gpu}-{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-{options.precision}"
    if options.batched is not None:
        if options.measured:
            raise InputError("--batched: expected no --measured beside it, found both; project one after the other")
        streams = project_streams(gpu, options.bundle, options.batched, options.precision, argv)
        path = result_path(options.out, options.name or usual, StreamsProjection)
        write_result(path, streams)
        return Written(path, streams)
    file, entry = step_file(options.bundle, bundle, options.precision)
    measured, kernels, provenance = read_measured(options.measured, bundle, options.precision)
    groups = [group_range(group, gpu, bundle.chunk_frames) for group in step_work(file)]
    chunk_ms = 1e3 * bundle.chunk_samples / bundle.sample_rate
    steps = [step_range(step, kernels, groups, gpu, chunk_ms) for step in measured]
    source = source_of(options.bundle, entry.sha256, options.measured, provenance, kernels, argv)
    projection = Projection(
        projection=True,
        gpu=gpu.name,
        model=bundle.checkpoint.name,
        weights=bundle.checkpoint.weights,
        precision=options.precision,
        lookahead_ms=bundle.lookahead_ms,
        chunk_ms=chunk_ms,
        gpu_memory_mb=measured[0]["peak_gpu_memory_mb"],
        groups=groups,
        steps=steps,
        assumptions=assumptions(gpu, bundle, source, steps, chunk_ms),
        source=source,
    )
    path = result_path(options.out, options.name or usual, Projection)
    write_result(path, projection)
    return Written(path, projection)


def read_measured(paths: Sequence[Path], bundle: Bundle, precision: str) -> tuple[list[Keys], int, Provenance]:
    """Read steps of these result files: with a captured graph and, where there, without; of each the slower pace, a live stream's.

    Returns:
        Keys of the steps' rows, the captured graph first; the kernels in a step; what it was measured on.

    Raises:
        InputError: a file without steps of that model, look-ahead and precision, files of several GPUs, or a figure that the
            projection needs was not measured.
    """
    if not paths:
        raise InputError("--measured: expected result files of `python -m bench steps`, found none; or give --batched")
    wanted = f"{bundle.checkpoint.name}, {bundle.lookahead_ms} ms, {precision}"
    results = {path: read_result(path) for path in paths}
    rows: list[StepRow] = []
    for path, result in results.items():
        by_kind: dict[str, list[StepRow]] = {}
        for row in result.rows_of(StepRow):
            if row.backend == "tensorrt":
                by_kind.setdefault(f"{row.model}, {row.lookahead_ms} ms, {row.precision}", []).append(row)
        if wanted not in by_kind:
            raise InputError(
                f"{path}: expected TensorRT's steps of {wanted}, found {' and '.join(sorted(by_kind)) or 'none'}; "
                "measure with `python -m bench steps`"
            )
        rows += by_kind[wanted]
    gpus = {str(result.provenance.gpu) for result in results.values()}
    if len(gpus) > 1:
        raise InputError(
            f"--measured: expected files of one GPU, found {' and '.join(sorted(gpus))}; leave out the others"
        )
    kernels = max((int(row.launches_per_step) for row in rows if row.launches_per_step), default=0)
    if not kernels:
        raise InputError(
            f"{paths[0]}: expected launches_per_step, found none; add a file that was measured with a captured graph"
        )
    p50 = itemgetter("step_ms_p50")
    steps = sorted((row.model_dump() for row in rows if all(getattr(row, key) is not None for key in NEEDED)), key=p50)
    if not steps:
        raise InputError(
            f"{paths[0]}: expected cuda_graph, pace, step_ms_p50, floor_ms and step_sm_clock_mhz, found no row with all of them; "
            "measure again on a GPU"
        )
    best = {(step["cuda_graph"], step["pace"]): step for step in reversed(steps)}
    slower = {step["cuda_graph"]: step for step in sorted(best.values(), key=p50)}
    return [slower[graph] for graph in (True, False) if graph in slower], kernels, results[paths[0]].provenance


def step_range(step: Keys, kernels: int, groups: Sequence[GroupRange], gpu: Gpu, chunk_ms: float) -> StepRange:
    """Return the range of the step's time: that of its groups, and above it what the measured step's kernels cost beyond its floor."""
    cost = (step["step_ms_p50"] - step["floor_ms"]) / kernels
    high_cost = cost * step["step_sm_clock_mhz"] / gpu.throttled_mhz
    low = sum(group.ms_low for group in groups)
    high = sum(group.ms_high for group in groups) + kernels * high_cost
    return StepRange(
        cuda_graph=step["cuda_graph"],
        measured_ms_p50=step["step_ms_p50"],
        measured_pace=step["pace"],
        measured_floor_ms=step["floor_ms"],
        measured_sm_clock_mhz=step["step_sm_clock_mhz"],
        measured_kernel_us=1e3 * cost,
        kernel_us_high=1e3 * high_cost,
        kernels_ms_high=kernels * high_cost,
        ms_low=low,
        ms_high=high,
        rtf_low=low / chunk_ms,
        rtf_high=high / chunk_ms,
    )


def assumptions(gpu: Gpu, bundle: Bundle, source: Source, steps: Sequence[StepRange], chunk_ms: float) -> list[str]:
    """Return what the range holds under, a line each."""
    other = source.gpu
    return [
        *bounds(gpu),
        f"high: {bundle.chunk_frames} of the {TILE_ROWS} rows of a tensor core's tile are used",
        *(
            f"high: {source.kernels} kernels {'in a graph' if step.cuda_graph else 'launched one by one'} cost "
            f"{step.kernel_us_high:.1f} us each beside their bytes: {step.measured_kernel_us:.1f} us beyond the floor on {other} at "
            f"{step.measured_sm_clock_mhz:.0f} MHz"
            for step in steps
        ),
        "high: launch gaps and latencies are clock cycles, so they grow by the ratio of the SM clocks; none overlaps with bytes",
        f"kernels as TensorRT {source.tensorrt} made them for {other}; another version or GPU fuses otherwise",
        f"a kernel that fills more than {gpu.multiprocessors} SMs of {other} may take longer here than its bytes",
        f"RTF: the step over its chunk's {chunk_ms:g} ms, one stream; medians, nothing is said of p95 and p99",
        f"memory: the process's on {other}; another GPU's CUDA context and kernels take another amount",
        *gpu.sources,
    ]
