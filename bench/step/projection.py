"""A projection's record: GPUs by their datasheets, what is written of a projection, and reading it back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.results import Figure, read_record
from runtime.files import written_whole

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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_by_name=True)


class GroupRange(_Strict):
    """A group of nodes: what was counted (bench/step/counts.py), and the range of its time."""

    name: str
    constant_bytes: int
    io_bytes: int
    node_bytes: int
    multiply_adds: dict[str, int]
    ms_low: Figure
    ms_high: Figure


class StepRange(_Strict):
    """The whole step, and the measured one that its launch cost comes from."""

    cuda_graph: bool
    measured_ms_p50: Figure
    measured_pace: Literal["realtime", "fast"]
    measured_floor_ms: Figure
    measured_sm_clock_mhz: Figure
    measured_kernel_us: Figure
    """What a kernel costs beyond its share of the floor."""
    kernel_us_high: Figure
    kernels_ms_high: Figure
    """All of them together; the low bound has none."""
    ms_low: Figure
    ms_high: Figure
    rtf_low: Figure
    rtf_high: Figure


class Source(_Strict):
    """What a projection was made from, and by."""

    bundle: str
    step_sha256: str
    measured: list[str]
    """Names of the result files."""
    gpu: str
    """That the result files were measured on."""
    tensorrt: str | None
    kernels: int
    """In a step, as measured."""
    date: str
    """UTC, ISO 8601."""
    commit: str | None
    command: str


class Projection(_Strict):
    """bench/results/projections/projection-GPU-NAME.json: no time in it was measured on that GPU."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    projection: Literal[True]
    gpu: str
    model: str
    weights: Literal["trained", "random"]
    precision: str
    lookahead_ms: int
    chunk_ms: Figure
    gpu_memory_mb: Figure | None
    """As measured on the other GPU."""
    groups: list[GroupRange]
    steps: list[StepRange] = Field(min_length=1)
    """The captured graph first."""
    assumptions: list[str] = Field(min_length=1)
    source: Source


def write_projection(folder: Path, gpu: str, projection: Projection) -> Path:
    """Write a projection whole into the folder of projections among the result files of `folder`; return its path."""
    name = f"{projection.model}-{projection.lookahead_ms}ms-{projection.precision}"
    path = _folder(folder) / f"projection-{gpu}-{name}.json"
    with written_whole(path) as temporary:
        temporary.write_text(projection.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    return path


def read_projections(folder: Path) -> list[Projection]:
    """The projections among the result files of `folder`, sorted by name; raises InputError for a broken one."""
    again = "project again with `python -m bench project`"
    return [read_record(Projection, path, "projection", again) for path in sorted(_folder(folder).glob("*.json"))]


def step_span(step: StepRange) -> str:
    """The step's time in ms."""
    return f"{step.ms_low:.2f} - {step.ms_high:.2f}"


def rtf_span(step: StepRange) -> str:
    """The step's time over its chunk's."""
    return f"{step.rtf_low:.4f} - {step.rtf_high:.4f}"


def memory_span(projection: Projection) -> str:
    """GPU memory in MB; a dash where it was not measured anywhere."""
    return "-" if projection.gpu_memory_mb is None else f"about {projection.gpu_memory_mb:.0f}"


def _folder(results: Path) -> Path:
    return results / "projections"
