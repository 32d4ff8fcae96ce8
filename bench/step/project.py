"""Projects the step to a GPU that is not at hand: a range, from what it moves and computes and from a run measured elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from bench.machine import command, commit
from bench.results import Provenance, ResultFile, Row, read_result
from bench.step.counts import GroupCount, count_step
from bench.step.projection import (
    GPUS,
    LABEL,
    Gpu,
    GroupRange,
    Projection,
    Source,
    StepRange,
    memory_span,
    rtf_span,
    step_span,
    write_projection,
)
from runtime.bundle import Bundle, read_bundle, step_file
from runtime.errors import InputError

TILE_ROWS = 16  # of a product on Turing's tensor cores


@dataclass(frozen=True)
class ProjectOptions:
    """What to project, and from what."""

    gpu: str  # a key of GPUS
    bundle: Path
    measured: list[Path]  # result files of `python -m bench steps`, on one GPU
    precision: str = "fp16"
    out: Path = Path("bench/results")


@dataclass(frozen=True)
class MeasuredStep:
    """A measured row, all that is needed there."""

    cuda_graph: bool
    pace: Literal["realtime", "fast"]
    ms_p50: float
    floor_ms: float
    sm_clock_mhz: float
    gpu_memory_mb: float | None


@dataclass(frozen=True)
class Measured:
    """Steps of one model and precision through TensorRT on one GPU."""

    steps: list[MeasuredStep]  # the captured graph first
    kernels: int  # in a step
    provenance: Provenance


def run_project(options: ProjectOptions, argv: Sequence[str], console: Console) -> Path:
    """Project, print, write the projection's file and return its path. Raises InputError for bad input."""
    gpu = GPUS.get(options.gpu)
    if gpu is None:
        raise InputError(f"--gpu: expected one of {', '.join(GPUS)}, found {options.gpu!r}")
    bundle = read_bundle(options.bundle)
    file, entry = step_file(options.bundle, bundle, options.precision)
    measured = read_measured(options.measured, bundle, options.precision)
    groups = [group_range(each, gpu, bundle.chunk_frames) for each in count_step(file)]
    chunk_ms = 1e3 * bundle.chunk_samples / bundle.sample_rate
    steps = [step_range(each, measured.kernels, groups, gpu, chunk_ms) for each in measured.steps]
    projection = Projection(
        projection=True,
        gpu=gpu.name,
        model=bundle.checkpoint.name,
        weights=bundle.checkpoint.weights,
        precision=options.precision,
        lookahead_ms=bundle.lookahead_ms,
        chunk_ms=chunk_ms,
        gpu_memory_mb=measured.steps[0].gpu_memory_mb,
        groups=groups,
        steps=steps,
        assumptions=assumptions(gpu, bundle, measured, steps, chunk_ms),
        source=Source(
            bundle=options.bundle.name,
            step_sha256=entry.sha256,
            measured=[path.name for path in options.measured],
            gpu=str(measured.provenance.gpu),
            tensorrt=measured.provenance.tensorrt,
            kernels=measured.kernels,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            commit=commit(),
            command=command(argv),
        ),
    )
    path = write_projection(options.out, options.gpu, projection)
    print_projection(projection, console)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return path


def read_measured(paths: Sequence[Path], bundle: Bundle, precision: str) -> Measured:
    """The steps of these result files: with a captured graph and, where there, without; of each the slower pace.

    Raises InputError for a file without steps of that model, look-ahead and precision, for files of several GPUs, and where
    what the projection needs was not measured.
    """
    wanted = f"{bundle.checkpoint.name}, {bundle.lookahead_ms} ms, {precision}"
    results = [read_result(path) for path in paths]
    rows = [row for path, result in zip(paths, results, strict=True) for row in _rows(path, result, wanted)]
    gpus = {str(result.provenance.gpu) for result in results}
    if len(gpus) > 1:
        raise InputError(
            f"--measured: expected files of one GPU, found {' and '.join(sorted(gpus))}; leave out the others"
        )
    kernels = max((int(row.launches_per_step) for row in rows if row.launches_per_step), default=0)
    if not kernels:
        raise InputError(
            f"{paths[0]}: expected launches_per_step, found none; add a file that was measured with a captured graph"
        )
    steps = [step for row in rows if (step := _measured(row))]
    if not steps:
        raise InputError(
            f"{paths[0]}: expected cuda_graph, pace, step_ms_p50, floor_ms and step_sm_clock_mhz, found no row with all of them; "
            "measure again on a GPU"
        )
    kinds_of_launch = [[each for each in steps if each.cuda_graph is graph] for graph in (True, False)]
    return Measured([_slower_pace(each) for each in kinds_of_launch if each], kernels, results[0].provenance)


def _rows(path: Path, result: ResultFile, wanted: str) -> list[Row]:
    steps = [
        (f"{row.model}, {row.lookahead_ms} ms, {row.precision}", row)
        for row in result.rows
        if row.mode == "steps" and row.backend == "tensorrt"
    ]
    kinds = {kind for kind, _ in steps}
    if wanted not in kinds:
        found = " and ".join(sorted(kinds)) or "none"
        raise InputError(
            f"{path}: expected TensorRT's steps of {wanted}, found {found}; measure with `python -m bench steps`"
        )
    return [row for kind, row in steps if kind == wanted]


def _measured(row: Row) -> MeasuredStep | None:
    graph, pace, step, floor, clock = row.cuda_graph, row.pace, row.step_ms_p50, row.floor_ms, row.step_sm_clock_mhz
    if graph is None or pace is None or step is None or floor is None or clock is None:
        return None
    return MeasuredStep(graph, pace, step, floor, clock, row.peak_gpu_memory_mb)


def _slower_pace(steps: Sequence[MeasuredStep]) -> MeasuredStep:
    """The best of several at each pace, and of the two paces the slower: a live stream is paced."""
    paces = {pace: [each for each in steps if each.pace == pace] for pace in {each.pace for each in steps}}
    best = [min(each, key=lambda step: step.ms_p50) for each in paces.values()]
    return max(best, key=lambda step: step.ms_p50)


def group_range(count: GroupCount, gpu: Gpu, rows: int) -> GroupRange:
    """The range of a group's time, launches aside.

    Args:
        count: what the group moves and computes.
        gpu: the GPU to project to.
        rows: frames of the chunk, the rows of most products.
    """
    low_bytes = count.constant_bytes + count.io_bytes
    high_bytes = count.constant_bytes + max(count.io_bytes, count.node_bytes)
    clock = gpu.throttled_mhz / gpu.boost_mhz
    filled = min(1.0, rows / TILE_ROWS)
    rates = {kind: rate * clock * (1 if kind == "fp32" else filled) for kind, rate in gpu.tera_ops.items()}
    return GroupRange(
        **vars(count),
        ms_low=max(_bytes_ms(low_bytes, gpu, gpu.low_share), _products_ms(count, gpu.tera_ops)),
        ms_high=max(_bytes_ms(high_bytes, gpu, gpu.high_share), _products_ms(count, rates)),
    )


def _bytes_ms(count: int, gpu: Gpu, share: float) -> float:
    return count / (gpu.bandwidth_gb_s * share * 1e6)


def _products_ms(count: GroupCount, tera_ops: dict[str, float]) -> float:
    return sum(2 * number / (tera_ops[kind] * 1e9) for kind, number in count.multiply_adds.items())


def step_range(step: MeasuredStep, kernels: int, groups: Sequence[GroupRange], gpu: Gpu, chunk_ms: float) -> StepRange:
    """The range of the step's time: its groups', and above it what the measured step's kernels cost beyond its floor."""
    cost = (step.ms_p50 - step.floor_ms) / kernels
    high_cost = cost * step.sm_clock_mhz / gpu.throttled_mhz
    low = sum(each.ms_low for each in groups)
    high = sum(each.ms_high for each in groups) + kernels * high_cost
    return StepRange(
        cuda_graph=step.cuda_graph,
        measured_ms_p50=step.ms_p50,
        measured_pace=step.pace,
        measured_floor_ms=step.floor_ms,
        measured_sm_clock_mhz=step.sm_clock_mhz,
        measured_kernel_us=1e3 * cost,
        kernel_us_high=1e3 * high_cost,
        kernels_ms_high=kernels * high_cost,
        ms_low=low,
        ms_high=high,
        rtf_low=low / chunk_ms,
        rtf_high=high / chunk_ms,
    )


def assumptions(gpu: Gpu, bundle: Bundle, measured: Measured, steps: Sequence[StepRange], chunk_ms: float) -> list[str]:
    """What the range holds under, a line each."""
    rates = ", ".join(f"{rate:g} T{'OP' if kind == 'int8' else 'FLOP'}/s {kind}" for kind, rate in gpu.tera_ops.items())
    other = measured.provenance.gpu
    return [
        f"{gpu.name} by its datasheet: {gpu.bandwidth_gb_s:g} GB/s, {rates}, {gpu.multiprocessors} SMs, {gpu.l2_mb:g} MB L2",
        "both: constants, state, samples and results cross the memory bus once a step; L2 keeps none of them to the next",
        "both: a group of nodes takes the longer of its bytes and its operations; groups follow one another",
        f"low: {gpu.low_share:g} of the bandwidth, operations at the datasheet's rate, activations in L2, kernels that cost nothing",
        f"high: {gpu.high_share:g} of the bandwidth; no two nodes fused: all that they read and write crosses the bus",
        f"high: SM clock throttled to {gpu.throttled_mhz:g} of {gpu.boost_mhz:g} MHz",
        f"high: {bundle.chunk_frames} of the {TILE_ROWS} rows of a tensor core's tile are used",
        *(_kernel_cost(each, measured) for each in steps),
        "high: launch gaps and latencies are clock cycles, so they grow by the ratio of the SM clocks; none overlaps with bytes",
        f"kernels as TensorRT {measured.provenance.tensorrt} made them for {other}; another version or GPU fuses otherwise",
        f"a kernel that fills more than {gpu.multiprocessors} SMs of {other} may take longer here than its bytes",
        f"RTF: the step over its chunk's {chunk_ms:g} ms, one stream; medians, nothing is said of p95 and p99",
        f"memory: the process's on {other}; another GPU's CUDA context and kernels take another amount",
        *gpu.sources,
    ]


def _kernel_cost(step: StepRange, measured: Measured) -> str:
    graph = "in a graph" if step.cuda_graph else "launched one by one"
    return (
        f"high: {measured.kernels} kernels {graph} cost {step.kernel_us_high:.1f} us each beside their bytes: "
        f"{step.measured_kernel_us:.1f} us beyond the floor on {measured.provenance.gpu} at {step.measured_sm_clock_mhz:.0f} MHz"
    )


def print_projection(projection: Projection, console: Console) -> None:
    """The groups, the kernels and the step, each with its range; below them the assumptions."""
    title = f"{projection.gpu}: {LABEL}\n{projection.model}, look-ahead {projection.lookahead_ms} ms, {projection.precision}"
    table = Table("", title=title)
    for header in ("constants\nMB", "in, out\nMB", "unfused\nMB", "multiply-adds\nM", "low - high\nms, RTF"):
        table.add_column(header, justify="right")
    table.add_column("times are", no_wrap=True)
    for group in projection.groups:
        counted = (group.constant_bytes, group.io_bytes, group.node_bytes)
        products = "\n".join(f"{number / 1e6:.1f} {kind}" for kind, number in group.multiply_adds.items())
        span = f"{group.ms_low:.3f} - {group.ms_high:.3f}"
        table.add_row(group.name, *(f"{each / 1e6:.2f}" for each in counted), products, span, LABEL)
    for step in projection.steps:
        graph = "graph" if step.cuda_graph else "no graph"
        kernels = f"{projection.source.kernels} kernels, {graph}"
        blank = ("",) * 4
        table.add_section()
        table.add_row(kernels, *blank, f"0.000 - {step.kernels_ms_high:.3f}", LABEL)
        table.add_row(f"step, {graph}", *blank, step_span(step), LABEL, style="bold")
        table.add_row(f"RTF, {graph}", *blank, rtf_span(step), LABEL, style="bold")
    console.print(table)
    console.print(f"GPU memory, {LABEL}: {memory_span(projection)} MB", highlight=False)
    console.print(f"Assumptions of the {LABEL}:", highlight=False)
    for each in projection.assumptions:
        console.print(f"- {each}", highlight=False, soft_wrap=True)
