"""What projections share: GPUs by their datasheets, the range of a group of nodes, and what is written of a projection."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.machine import command, commit
from bench.results import Report
from bench.rows import Measured, Provenance, Record, Rounded
from bench.step.workload import GroupWork

LABEL = "projection, not measured"
TILE_ROWS = 16
"""Rows of a matrix product on Turing's tensor cores."""
FP16_PEAKS = {"NVIDIA H100 80GB HBM3": 989.0, "NVIDIA H200": 989.0}
"""GPU that streams are measured on -> 10**12 operations per second in FP16 by its datasheet, of dense matrices."""


@dataclass(frozen=True)
class Gpu:
    """A GPU by its datasheet, and what is publicly known of what it reaches."""

    name: str
    bandwidth_gb_s: float
    tera_ops: dict[str, float]
    """10**12 operations per second by type; a multiply-add is two."""
    multiprocessors: int
    l2_mb: float
    memory_gb: float
    boost_mhz: float
    low_share: float
    """Of the bandwidth: better than it was ever seen to reach."""
    high_share: float
    """Of the bandwidth: what its copies reach."""
    throttled_mhz: float
    """SM clock at its power limit."""
    sources: tuple[str, ...]


GPUS = {
    "t4": Gpu(
        name="NVIDIA T4",
        bandwidth_gb_s=320,
        tera_ops={"fp32": 8.1, "fp16": 65, "int8": 130},
        multiprocessors=40,
        l2_mb=4,
        memory_gb=16,
        boost_mhz=1590,
        low_share=0.9,
        high_share=0.75,
        throttled_mhz=900,
        sources=(
            "low share of the bandwidth: what copies reach of an H100's (3.0 of 3.35 TB/s); no T4 was seen above 0.77",
            "high share of the bandwidth: 239.6 GB/s by bandwidthTest on a T4 (github.com/router-gao/cuda-demo)",
            "the same: 245.2 GB/s by a microbenchmark on another T4 (github.com/cissieAB/ifarm-gpus)",
            "throttled clock: a T4 set to 1590 MHz, one stream of BERT (github.com/mlcommons/inference_results_v0.5/issues/20)",
        ),
    )
}


class GroupRange(GroupWork):
    """A group of nodes, and the range of its time."""

    ms_low: Rounded
    ms_high: Rounded


class StepRange(Record):
    """The whole step, and the measured one that its launch cost comes from."""

    cuda_graph: bool
    measured_ms_p50: Rounded
    measured_pace: Literal["realtime", "fast"]
    measured_floor_ms: Rounded
    measured_sm_clock_mhz: Rounded
    measured_kernel_us: Rounded
    """What a kernel costs beyond its share of the floor."""
    kernel_us_high: Rounded
    kernels_ms_high: Rounded
    """All of them together; the low bound has none."""
    ms_low: Rounded
    ms_high: Rounded
    rtf_low: Rounded
    rtf_high: Rounded


class Source(Record):
    """What a projection was made from, and by."""

    bundle: str
    step_sha256: str
    measured: list[str]
    """Names of the result files."""
    gpu: str
    """That the result files were measured on."""
    tensorrt: str | None = None
    kernels: int
    """In a step, as measured."""
    date: str
    """UTC, ISO 8601."""
    commit: str | None = None
    command: str


class AnyProjection(Report):
    """What every projection says: no time in it was measured on that GPU."""

    what = "projection"
    advice = "project again with `python -m bench project`"

    projection: Literal[True]
    gpu: str
    model: str
    weights: Literal["trained", "random"]
    precision: str
    lookahead_ms: int
    chunk_ms: Rounded
    assumptions: list[str] = Field(min_length=1)
    source: Source


class Projection(AnyProjection):
    """projections/NAME.json: the step of one stream."""

    folder = "projections"

    gpu_memory_mb: Measured = None
    """As measured on the other GPU."""
    groups: list[GroupRange]
    steps: list[StepRange] = Field(min_length=1)
    """The captured graph first."""

    @property
    def step(self) -> StepRange:
        """With a CUDA graph, where one was measured."""
        return self.steps[0]


class BatchRange(Record):
    """The step over so many streams, and the streams that such batches one after another serve in real time."""

    streams: int
    """In a batch."""
    measured_ms_p50: Rounded
    ms_low: Rounded
    ms_high: Rounded
    served_low: int
    """By batches that take `ms_high`; 0: not even one batch a chunk."""
    served_high: int
    """By batches that take `ms_low`, as far as the GPU's memory holds their states."""


class StreamsProjection(AnyProjection):
    """projections/streams/NAME.json: the streams that a GPU serves in real time."""

    what = "projection of streams"
    folder = "projections/streams"

    state_mb: Rounded
    """Of one stream."""
    batches: list[BatchRange] = Field(min_length=1)


def group_range(work: GroupWork, gpu: Gpu, rows: int) -> GroupRange:
    """Return the range of a group's time, launches aside.

    Args:
        work: what the group moves and computes.
        gpu: the GPU to project to.
        rows: frames of the chunk, the rows of most matrix products.
    """
    low_bytes = work.constant_bytes + work.io_bytes
    high_bytes = work.constant_bytes + max(work.io_bytes, work.node_bytes)
    clock = gpu.throttled_mhz / gpu.boost_mhz
    filled = min(1.0, rows / TILE_ROWS)
    rates = {kind: rate * clock * (1 if kind == "fp32" else filled) for kind, rate in gpu.tera_ops.items()}

    def ms(count: int, share: float, tera_ops: dict[str, float]) -> float:
        operations = sum(2 * number / (tera_ops[kind] * 1e9) for kind, number in work.multiply_adds.items())
        return max(count / (gpu.bandwidth_gb_s * share * 1e6), operations)

    low, high = ms(low_bytes, gpu.low_share, gpu.tera_ops), ms(high_bytes, gpu.high_share, rates)
    return GroupRange(**vars(work), ms_low=low, ms_high=high)


def bounds(gpu: Gpu) -> list[str]:
    """Return what the ranges of groups hold under, a line each."""
    rates = ", ".join(f"{rate:g} T{'OP' if kind == 'int8' else 'FLOP'}/s {kind}" for kind, rate in gpu.tera_ops.items())
    return [
        f"{gpu.name} by its datasheet: {gpu.bandwidth_gb_s:g} GB/s, {rates}, {gpu.multiprocessors} SMs, {gpu.l2_mb:g} MB L2",
        "both: constants, state, samples and results cross the memory bus once a step; L2 keeps none of them to the next",
        "both: a group of nodes takes the longer of its bytes and its operations; groups follow one another",
        f"low: {gpu.low_share:g} of the bandwidth, operations at the datasheet's rate, activations in L2, kernels that cost nothing",
        f"high: {gpu.high_share:g} of the bandwidth; no two nodes fused: all that they read and write crosses the bus",
        f"high: SM clock throttled to {gpu.throttled_mhz:g} of {gpu.boost_mhz:g} MHz",
    ]


def source_of(  # noqa: PLR0917
    folder: Path, sha256: str, measured: Sequence[Path], provenance: Provenance, kernels: int, argv: Sequence[str]
) -> Source:
    """Return what is projected from now: a bundle's folder, its graph's hash, and files measured with that many kernels in a step."""
    return Source(
        bundle=folder.name,
        step_sha256=sha256,
        measured=[path.name for path in measured],
        gpu=str(provenance.gpu),
        tensorrt=provenance.tensorrt,
        kernels=kernels,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit(),
        command=command(argv),
    )
