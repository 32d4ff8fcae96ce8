"""The step alone: its time back to back and at the pace of speech, beside the floor that the weights' bytes set."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.feed import RealClock
from bench.metrics import percentiles
from bench.provenance import collect, gpu_memory_mb, process_age_s
from bench.results import DEFINITIONS, ResultFile, Row, result_path, row, write_result
from runtime import InputError, Recognizer
from runtime.recognizer import ALL_VALID
from runtime.stamp import plan_path, read_stamp

WARM_UP = 50  # steps
WINDOWS = 16  # different windows of noise, so that no step repeats its predecessor's
COPY_BYTES, COPIES = 1 << 30, 10  # of the bandwidth measurement


@dataclass(frozen=True)
class StepOptions:
    """What to measure."""

    bundle: Path
    backend: str = "tensorrt"
    precision: str = "fp16"
    steps: int = 1000  # back to back; a fifth of them at the pace of speech
    name: str | None = None  # of the result file; None: made of what is measured
    out: Path = Path("bench/results")


@dataclass(frozen=True)
class Clocks:
    """What the GPU ran at meanwhile: medians of samples 100 ms apart; None without nvidia-smi."""

    sm_clock_mhz: float | None
    power_draw_w: float | None


def run_steps(options: StepOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure, print, write the result file and return its path. Raises InputError for bad options or a bundle that can't be opened."""
    if options.steps < 100:
        raise InputError(f"--steps: expected at least 100 for a 99th percentile, found {options.steps}")
    with Recognizer(options.bundle, options.precision, options.backend) as recognizer:
        backend = recognizer.backend
        parts = [
            recognizer.bundle.checkpoint.name,
            f"{recognizer.bundle.lookahead_ms}ms",
            options.precision,
            backend.name,
        ]
        graph = getattr(backend, "cuda_graph", None)
        parts += ["nograph", "steps"] if graph is False else ["steps"]
        path = result_path(options.out, options.name or "-".join(parts))
        first_result_s = _first_result(recognizer)
        bandwidth = copy_bandwidth(backend) if backend.name == "tensorrt" else None
        rows = []
        for pace, steps in (("fast", options.steps), ("realtime", options.steps // 5)):
            seconds, clocks = _steps(recognizer, steps, pace == "realtime")
            rows.append(_row(recognizer, options, graph, pace, seconds, clocks, bandwidth, first_result_s))
            console.print(_line(rows[-1]), highlight=False)
        provenance = collect(argv, [])
    write_result(path, ResultFile(provenance=provenance, rows=rows, definitions=DEFINITIONS))
    console.print(f"wrote {path}", highlight=False)
    return path


def copy_bandwidth(backend: Any) -> float:  # noqa: ANN401 -- the TensorRT backend
    """Bytes read and written per second by large copies within the GPU's memory."""
    from runtime.cuda import Queue

    call = backend.device.call
    with Queue(backend.device) as queue:
        source, target = queue.allocate(COPY_BYTES), queue.allocate(COPY_BYTES)
        kind = backend.device.api.cudaMemcpyKind.cudaMemcpyDeviceToDevice

        def copy() -> None:
            call("cudaMemcpyAsync", target, source, COPY_BYTES, kind, queue.handle)

        copy()
        queue.wait()
        begin = time.perf_counter()
        for _ in range(COPIES):
            copy()
        queue.wait()
        return 2 * COPY_BYTES * COPIES / (time.perf_counter() - begin)


def _first_result(recognizer: Recognizer) -> float:
    """Seconds from the start of this process to its first step's result."""
    recognizer.stream().push(np.zeros(recognizer.bundle.first_step_samples, np.float32))
    return process_age_s()


def _steps(recognizer: Recognizer, steps: int, paced: bool) -> tuple[list[float], Clocks]:
    bundle, backend = recognizer.bundle, recognizer.backend
    windows = np.random.default_rng(0).standard_normal((WINDOWS, bundle.window_samples)).astype(np.float32) * 0.05
    state = backend.new_state()
    for index in range(WARM_UP):
        state = backend.step(windows[index % WINDOWS], ALL_VALID, state).state
    chunk_s = bundle.chunk_samples / bundle.sample_rate
    clock = RealClock()
    seconds = []
    with _sampled() as samples:
        start = clock.now()
        for index in range(steps):
            if paced:
                clock.wait_until(start + index * chunk_s)
            begin = time.perf_counter()
            state = backend.step(windows[index % WINDOWS], ALL_VALID, state).state
            seconds.append(time.perf_counter() - begin)
    medians = np.median(np.array(samples), axis=0) if samples else (None, None)
    return seconds, Clocks(*(None if each is None else float(each) for each in medians))


def _row(  # noqa: PLR0917
    recognizer: Recognizer,
    options: StepOptions,
    graph: bool | None,
    pace: str,
    seconds: list[float],
    clocks: Clocks,
    bandwidth: float | None,
    first_result_s: float,
) -> Row:
    bundle, backend = recognizer.bundle, recognizer.backend
    step = percentiles(each * 1e3 for each in seconds)
    weights = bundle.step(options.precision).parameters * (2 if options.precision == "fp16" else 4)
    plan = plan_path(options.bundle, options.precision) if backend.name == "tensorrt" else None
    chunk_ms = 1e3 * bundle.chunk_samples / bundle.sample_rate
    return row(
        model=bundle.checkpoint.name,
        weights=bundle.checkpoint.weights,
        decoder="ctc",
        precision=options.precision,
        backend=backend.name,
        cuda_graph=graph,
        lookahead_ms=bundle.lookahead_ms,
        pace=pace,
        data="noise",
        rtf_p50=step.p50 / chunk_ms if step.p50 else None,
        rtf_p95=step.p95 / chunk_ms if step.p95 else None,
        step_ms_p50=step.p50,
        step_ms_p95=step.p95,
        step_ms_p99=step.p99,
        launches_per_step=getattr(backend, "kernels_per_step", None),
        floor_ms=None if bandwidth is None else 1e3 * weights / bandwidth,
        peak_gpu_memory_mb=gpu_memory_mb(),
        plan_mb=None if plan is None else plan.stat().st_size / 1e6,
        build_s=None if plan is None else read_stamp(plan).build_s,
        mode="steps",
        functional_check=backend.name.endswith("-cpu"),
        steps=len(seconds),
        copy_gb_s=None if bandwidth is None else bandwidth / 1e9,
        first_result_s=first_result_s,
        step_sm_clock_mhz=clocks.sm_clock_mhz,
        step_power_draw_w=clocks.power_draw_w,
    )


def _line(row: Row) -> str:
    floor = "" if row.floor_ms is None else f", floor {row.floor_ms:.3f} ms"
    return (
        f"{row.precision} {row.backend} {row.pace}: step {row.step_ms_p50:.3f} / {row.step_ms_p95:.3f} / {row.step_ms_p99:.3f} ms "
        f"(p50 / p95 / p99 of {row.steps}){floor}"
    )


@contextmanager
def _sampled() -> Iterator[list[tuple[float, float]]]:
    """Samples of SM clock in MHz and power draw in W while the block runs; none where nvidia-smi is missing."""
    samples: list[tuple[float, float]] = []
    query = ["nvidia-smi", "--query-gpu=clocks.sm,power.draw", "--format=csv,noheader,nounits", "-lms", "100"]
    try:
        process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield samples
        return

    def read() -> None:
        for line in process.stdout or ():
            fields = line.split(",")
            if len(fields) == 2 and all(each.strip().replace(".", "").isdigit() for each in fields):
                samples.append((float(fields[0]), float(fields[1])))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        reader.join()
