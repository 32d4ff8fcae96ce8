"""How many streams a GPU that is not at hand would serve in real time: a range, from `python -m bench batch` on another GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.results import read_result
from bench.step.batch import BatchReport, BatchRow
from bench.step.projection import (
    FP16_PEAKS,
    BatchRange,
    Gpu,
    GroupRange,
    Source,
    StreamsProjection,
    bounds,
    group_range,
    source_of,
)
from bench.step.workload import GroupWork, step_work
from runtime.bundle import Bundle, checked_file, read_bundle
from runtime.errors import InputError


@dataclass(frozen=True)
class Slower:
    """How many times as long something takes as on the GPU that was measured, at worst."""

    cycles: float
    """What clock cycles set: one stream's kernels, launch after launch."""
    work: float
    """What more streams add: the greater of the ratios of FP16 rates and of bandwidths."""


def project_streams(gpu: Gpu, folder: Path, file: Path, precision: str, argv: Sequence[str]) -> StreamsProjection:
    """Project a batch report in `file` to `gpu`, for the bundle in `folder`.

    Raises InputError for a report of another bundle, of a GPU whose datasheet is not known here, or without a row of one stream.
    """
    bundle = read_bundle(folder)
    report = read_result(file, BatchReport)
    one = _one_stream(file, report, bundle, precision)
    _, graph = bundle.graph(precision, "batched")
    path = checked_file(folder, graph)
    slower = slower_than(report, one, gpu)
    batches = []
    for row in report.rows:
        copies = GroupWork(name="slots", io_bytes=round(2e6 * row.streams * report.state_mb))
        work = [*step_work(path, row.streams), copies]
        groups = [group_range(group, gpu, bundle.chunk_frames * row.streams) for group in work]
        low, high = batch_ms(row, one, groups, slower)
        batches.append(
            BatchRange(
                streams=row.streams,
                measured_ms_p50=row.step_ms_p50,
                ms_low=low,
                ms_high=high,
                served_low=served(high, row, report, gpu),
                served_high=served(low, row, report, gpu),
            )
        )
    source = source_of(folder, graph.sha256, [file], report.provenance, one.kernels, argv)
    return StreamsProjection(
        projection=True,
        gpu=gpu.name,
        model=report.model,
        weights=report.weights,
        precision=precision,
        lookahead_ms=report.lookahead_ms,
        chunk_ms=report.chunk_ms,
        assumptions=assumptions(gpu, report, source, slower, _kernel_ms(one)),
        source=source,
        state_mb=report.state_mb,
        batches=batches,
    )


def _one_stream(file: Path, report: BatchReport, bundle: Bundle, precision: str) -> BatchRow:
    """Return the row of one stream. Raises InputError for a report that cannot be projected from."""
    wanted = f"{bundle.checkpoint.name}, {bundle.lookahead_ms} ms, {precision}"
    found = f"{report.model}, {report.lookahead_ms} ms, {report.precision}"
    if found != wanted:
        raise InputError(
            f"{file}: expected the step of {wanted}, found {found}; measure that with `python -m bench batch`"
        )
    if precision != "fp16":
        raise InputError(f"--precision: expected fp16 for a projection of streams, found {precision}")
    if report.provenance.gpu not in FP16_PEAKS:
        raise InputError(
            f"{file}: expected a report from one of {', '.join(FP16_PEAKS)}, found {report.provenance.gpu}; measure there"
        )
    one = next((row for row in report.rows if row.streams == 1 and row.sm_clock_mhz is not None), None)
    if one is None:
        raise InputError(
            f"{file}: expected a row of one stream with the SM clock, found none; measure with --streams 1,16,64,256"
        )
    return one


def slower_than(report: BatchReport, one: BatchRow, gpu: Gpu) -> Slower:
    """Return how much slower `gpu` is than the GPU of a report: throttled, and with the bandwidth that its copies reach."""
    rate = FP16_PEAKS[str(report.provenance.gpu)] / (gpu.tera_ops["fp16"] * gpu.throttled_mhz / gpu.boost_mhz)
    bandwidth = report.copy_gb_s / (gpu.bandwidth_gb_s * gpu.high_share)
    return Slower(cycles=float(one.sm_clock_mhz or 0) / gpu.throttled_mhz, work=max(rate, bandwidth))


def batch_ms(row: BatchRow, one: BatchRow, groups: Sequence[GroupRange], slower: Slower) -> tuple[float, float]:
    """Return the range of a batch's time in ms.

    Args:
        row: the batch as measured.
        one: the step of one stream as measured, whose kernels' cost is that of every batch.
        groups: the ranges of the batch's groups of nodes, the copies of states among them.
        slower: the GPU that is projected to, beside the measured one.
    """
    by_work = sum(group.ms_high for group in groups) + one.kernels * _kernel_ms(one) * slower.cycles
    by_time = one.step_ms_p50 * slower.cycles + (row.step_ms_p50 - one.step_ms_p50) * slower.work
    return sum(group.ms_low for group in groups), max(by_work, by_time)


def served(ms: float, row: BatchRow, report: BatchReport, gpu: Gpu) -> int:
    """Return the streams that batches of `row.streams` serve in real time, of `ms` each, as far as the GPU's memory holds their states."""
    beside_mb = 1e3 * gpu.memory_gb - (row.peak_gpu_memory_mb or 0.0)
    held = row.streams + max(0, int(beside_mb / report.state_mb))
    return min(held, row.streams * int(report.chunk_ms / ms))


def _kernel_ms(one: BatchRow) -> float:
    """Return what a kernel of one stream's step costs beyond its share of the floor."""
    return (one.step_ms_p50 - one.floor_ms) / one.kernels


def assumptions(gpu: Gpu, report: BatchReport, source: Source, slower: Slower, kernel_ms: float) -> list[str]:
    """Return what the ranges hold under, a line each."""
    other, peak = source.gpu, FP16_PEAKS[source.gpu]
    kernels = (
        f"{source.kernels} kernels in a graph cost {1e3 * kernel_ms * slower.cycles:.1f} us each beside their bytes"
    )
    return [
        *bounds(gpu),
        "both: the state of every stream is copied from its slot and to it, beside what the step reads and writes",
        f"high: {kernels}: {1e3 * kernel_ms:.1f} us beyond the floor of one stream on {other}, more by the ratio of the SM clocks",
        f"high, where longer: {slower.cycles:.1f} times one stream's step there, {slower.work:.1f} times what more streams add to it",
        f"{slower.work:.1f} is the greater ratio of two: FP16 rates ({other}: {peak:g} TFLOP/s by its datasheet) and bandwidths of copies",
        f"so in the high bound no greater share of {gpu.name}'s throttled peak is reached than of {other}'s",
        f"real time: as many whole batches, each full, as a chunk's {report.chunk_ms:g} ms hold; nothing else is on the GPU",
        "the host, which feeds and decodes all streams, is left out",
        "a chunk may wait for its turn as long as a chunk is; medians, nothing is said of p95 and p99",
        f"memory: of {gpu.memory_gb:g} GB the process takes what it took on {other}, each further stream {report.state_mb:.1f} MB",
        f"kernels as TensorRT {source.tensorrt} made them for {other}; another version or GPU fuses otherwise",
        *gpu.sources,
    ]
