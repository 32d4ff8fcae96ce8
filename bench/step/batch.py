"""`python -m bench batch`: the step over many streams alone, beside the floor that its bytes set and NeMo's encoder in PyTorch."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from rich.console import Console

from bench.child import Survey
from bench.machine import collect
from bench.process import gpu_memory_mb
from bench.results import Report, result_path, write_result
from bench.rows import Measured, Provenance, Record, Rounded
from bench.session import Written
from bench.step.batched import BatchedStep
from bench.step.peer import COPIED, ENCODER, PeerOptions, child_of, has_peer
from bench.step.step_times import check_steps, measure_child
from bench.step.timing import StepMeasurement, Variant, timed
from bench.step.worker import gpu_bandwidth
from bench.step.workload import step_work
from bench.summary import spread
from runtime.backends.engine import LoadedPlan, check_plan
from runtime.backends.sizes import captured_sizes, profile_for, sizes_of
from runtime.bundle import Bundle, checked_file, read_bundle
from runtime.cuda import Graph
from runtime.errors import CudaError, InputError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Options(PeerOptions):
    """What to measure."""

    bundle: Path
    """Folder made by `make export BATCH=1`, with a plan by `make engines BATCH=1`."""
    precision: str = "fp16"
    """fp32 or fp16."""
    streams: str | None = None
    """Numbers of streams, with commas between (default: those that a runtime of the plan captures)."""


class BatchRow(Record):
    """The step over one number of streams, back to back. Times are of the host's clock, the wait for the GPU included."""

    streams: int
    step_ms_p50: Rounded
    """In one graph with the copies of samples to the GPU and of all results to the host, and of states from slots and to slots."""
    step_ms_p95: Rounded
    step_ms_p99: Rounded
    kernels_ms_p50: Rounded
    """Without the copies from and to the host."""
    copies_ms_p50: Measured = None
    """The copies of states alone, from slots and to slots; None of a step that had none."""
    floor_ms: Rounded
    """The weights' bytes, and those of every stream's state read and written, over the bandwidth of copies within the GPU's memory."""
    kernels: int
    """In the captured graph."""
    first_stream: Rounded
    """Largest difference of the first stream's log-probabilities, without a CTC head of its encoded frames, from those of the first row."""
    tflop_s: Measured = None
    """10**12 operations of matrix products per second of `kernels_ms_p50`."""
    peer_ms_p50: Measured = None
    """Of NeMo's encoder with as many streams: the report's `peer`."""
    peer_ms_p95: Measured = None
    peak_gpu_memory_mb: Measured = None
    sm_clock_mhz: Measured = None
    """Median while the steps with copies ran, and so for the next."""
    power_draw_w: Measured = None

    @property
    def stream_ms(self) -> float:
        """Of the GPU for one chunk of one stream, the copies included."""
        return self.step_ms_p50 / self.streams


class BatchReport(Report):
    """batch/NAME.json of a folder of results."""

    what = "batch report"
    folder = "batch"

    schema_: Literal[1] = Field(default=1, alias="schema_version")
    provenance: Provenance
    model: str
    weights: Literal["trained", "random"]
    lookahead_ms: int
    chunk_ms: Rounded
    """Of audio in a step of one stream."""
    precision: str
    sizes: str
    """Numbers of streams that the plan is built for."""
    plan_mb: Rounded
    build_s: Rounded
    copy_gb_s: Rounded
    """Bytes read and written by large copies within the GPU's memory."""
    state_mb: Rounded
    """Of one stream."""
    gflop: Measured = None
    """10**9 operations of the matrix products in one stream's step; a multiply-add is two."""
    peer: str | None = None
    """What NeMo's encoder computed, and in what; None: it was not measured."""
    steps: int
    rows: list[BatchRow] = Field(min_length=1)
    left_out: dict[str, str] = Field(default_factory=dict)
    """What did not run, with its number of streams, and why."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure one number of streams after the other and write the report.

    Raises InputError for bad options, a bundle or plan that cannot be used, no GPU, or where no number of streams ran.
    """
    check_steps(options.steps)
    asked = None if options.streams is None else sizes_of(options.streams, "--streams")
    bundle = read_bundle(options.bundle)
    parts = [bundle.checkpoint.name, f"{bundle.lookahead_ms}ms", options.precision]
    path = result_path(options.out, options.name or "-".join(parts), BatchReport)
    encoder = options.read_encoder()
    checked = check_plan(options.bundle, bundle, options.precision, "batched")
    gflop = _gflop(options.bundle, bundle, options.precision)
    sizes = sizes_of(str(checked.stamp.options.get("sizes")))
    profiles = {streams: profile_for(sizes, streams) for streams in asked or captured_sizes(sizes, sizes[-1])}
    bandwidth = gpu_bandwidth(checked.device)
    rows: list[BatchRow] = []
    survey = Survey(console)
    first: Floats | None = None
    with closing(LoadedPlan(checked)) as plan:
        for streams, profile in profiles.items():
            try:
                with (
                    console.status(f"{streams} streams"),
                    BatchedStep(checked.device, plan, checked.entry, streams, profile) as step,
                ):
                    heard = step.first_stream()
                    first = heard if first is None else first
                    row = _measured(step, options.steps)
            except CudaError as error:
                survey.left_out[f"{streams} streams"] = str(error)
                continue
            floor_s = (checked.entry.bytes + 2 * streams * checked.entry.state_bytes) / bandwidth
            change = float(np.abs(heard - first).max())
            row |= {"floor_ms": 1e3 * floor_s, "tflop_s": streams * gflop / row["kernels_ms_p50"]}
            rows.append(BatchRow(streams=streams, first_stream=change, **row))
    if not rows:
        number, reason = survey.left_out.popitem()
        raise InputError(f"expected the step over {number} to run, found {reason}")
    peers = measure_peers(options, bundle, encoder, list(profiles), survey) if has_peer(options) else {}
    engines = {measured.engine for measured in peers.values()}
    report = BatchReport(
        provenance=collect(argv, []),
        model=bundle.checkpoint.name,
        weights=bundle.checkpoint.weights,
        lookahead_ms=bundle.lookahead_ms,
        chunk_ms=1e3 * bundle.chunk_samples / bundle.sample_rate,
        precision=options.precision,
        sizes=",".join(map(str, sizes)),
        plan_mb=checked.path.stat().st_size / 1e6,
        build_s=checked.stamp.build_s,
        copy_gb_s=bandwidth / 1e9,
        state_mb=checked.entry.state_bytes / 1e6,
        gflop=gflop,
        peer=f"{ENCODER}; {COPIED}; {', '.join(engines)}, one CUDA graph" if peers else None,
        steps=options.steps,
        rows=[row.with_(**_peer_keys(peers.get(row.streams))) for row in rows],
        left_out=survey.left_out,
    )
    write_result(path, report)
    notes = [f"not measured: {what}: {why}" for what, why in survey.left_out.items()]
    return Written(path, report, notes if report.peer is None else [f"NeMo: {report.peer}", *notes])


def _measured(step: BatchedStep, steps: int) -> dict[str, Any]:
    """Return a row's keys that are measured."""
    whole, alone, copies = (timed(partial(_run, step, graph), steps) for graph in (step.whole, step.alone, step.copies))
    return {
        **spread("step_ms", (1e3 * seconds for seconds in whole.seconds), p99=True),
        "kernels_ms_p50": 1e3 * median(alone.seconds),
        "copies_ms_p50": 1e3 * median(copies.seconds),
        "kernels": step.whole.kernels,
        "peak_gpu_memory_mb": gpu_memory_mb(),
        "sm_clock_mhz": whole.sm_clock_mhz,
        "power_draw_w": whole.power_draw_w,
    }


def measure_peers(
    options: Options, bundle: Bundle, encoder: dict[str, Any] | None, numbers: Sequence[int], survey: Survey
) -> dict[int, StepMeasurement]:
    """Measure NeMo's encoder in one CUDA graph for each number of streams, in a fresh process each; what fails is left out.

    `encoder`: its configuration, None: to be read with NeMo.
    """

    def measure(streams: int) -> StepMeasurement:
        variant = Variant(backend="torch", precision=options.precision, graph=True, streams=streams, paced=0)
        return measure_child(*child_of(options, bundle, encoder, variant))

    peers = {}
    for streams in numbers:
        what = f"NeMo's encoder, {streams} streams"
        with survey.console.status(what):
            if (measured := survey.tried(what, partial(measure, streams))) is not None:
                peers[streams] = measured
    return peers


def _peer_keys(measured: StepMeasurement | None) -> dict[str, float | None]:
    """Return a row's keys of NeMo's encoder."""
    return {} if measured is None else spread("peer_ms", (1e3 * seconds for seconds in measured.fast.seconds))


def _gflop(folder: Path, bundle: Bundle, precision: str) -> float:
    """Return 10**9 operations of the matrix products in one stream's step over many streams. Raises InputError as `step_work` does."""
    _, graph = bundle.graph(precision, "batched")
    groups = step_work(checked_file(folder, graph))
    return 2e-9 * sum(group.multiply_adds.total() for group in groups)


def _run(step: BatchedStep, graph: Graph, _: int) -> None:
    step.run(graph)
