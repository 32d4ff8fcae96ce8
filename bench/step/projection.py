"""A projection's record: GPUs by their datasheets, and what is written of a projection."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from bench.results import Report
from bench.rows import Measured, Record, Rounded
from bench.step.workload import GroupWork

LABEL = "projection, not measured"


@dataclass(frozen=True)
class Gpu:
    """A GPU by its datasheet, and what is publicly known of what it reaches."""

    name: str
    bandwidth_gb_s: float
    tera_ops: dict[str, float]
    """10**12 operations per second by type; a multiply-add is two."""
    multiprocessors: int
    l2_mb: float
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


class Projection(Report):
    """projection-GPU-NAME.json: no time in it was measured on that GPU."""

    what = "projection"
    advice = "project again with `python -m bench project`"
    folder = "projections"

    projection: Literal[True]
    gpu: str
    model: str
    weights: Literal["trained", "random"]
    precision: str
    lookahead_ms: int
    chunk_ms: Rounded
    gpu_memory_mb: Measured = None
    """As measured on the other GPU."""
    groups: list[GroupRange]
    steps: list[StepRange] = Field(min_length=1)
    """The captured graph first."""
    assumptions: list[str] = Field(min_length=1)
    source: Source

    @property
    def step(self) -> StepRange:
        """With a CUDA graph, where one was measured."""
        return self.steps[0]
