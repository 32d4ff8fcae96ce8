"""One way to run the step, timed back to back and at the pace of speech.

The standard library alone: NeMo's encoder is timed in an interpreter that has torch and little else.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryFile
from typing import Any

from bench.process import first_visible, gpu_memory_mb, process_age_s

WARM_UP = 50  # steps
PACED_SHARE = 5  # one step in so many is timed at the pace of speech too
COPY_BYTES, COPIES = 1 << 30, 10  # of the bandwidth's measurement

Step = Callable[[int], object]
"""Runs the step of that number to its end: what it computed is there when it returns."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run the step; in JSON, the argument of the process that measures it."""

    backend: str
    """As `bench steps` has them, or torch."""
    precision: str
    graph: bool = False
    """Whether it runs in a CUDA graph."""
    host_state: bool = False
    """Of TensorRT: whether the state is on the host. Else it stays on the GPU."""
    pinned: bool = False
    """Whether the host's memory is pinned, with host_state."""
    label: str = ""
    """Of the ladder: its rung."""
    what: str = ""
    """Of the ladder: what its step computes and copies."""
    bundle: str = ""
    """Folder."""
    steps: int = 0
    """Back to back."""
    paced: int | None = None
    """Steps at the pace of speech; None: a fifth of the steps."""
    encoder: dict[str, Any] | None = None
    """Of torch: the encoder's part of a NeMo model's configuration."""
    lookahead_frames: int = 0
    chunk_s: float = 0.0
    """Seconds of audio in a step."""
    streams: int = 1
    """Of torch: streams that step together."""
    device: str = "cuda"
    """Of torch; cpu: a functional check, eager."""

    @property
    def name(self) -> str:
        """Label and precision, which no other variant has."""
        return f"{self.label}, {self.precision}"


@dataclass(frozen=True)
class PaceTimes:
    """Steps at one pace, and what the GPU ran at meanwhile: medians of samples 100 ms apart, None without nvidia-smi."""

    seconds: list[float]
    """Of each step."""
    sm_clock_mhz: float | None
    power_draw_w: float | None


@dataclass(frozen=True)
class StepMeasurement:
    """One way to run the step, measured; in JSON, the last line that a process of its own prints."""

    first_result_s: float
    """From the process's start."""
    fast: PaceTimes
    """Back to back."""
    realtime: PaceTimes
    """One step a chunk."""
    peak_gpu_memory_mb: float | None
    engine: str
    """What ran the steps, with its version."""
    cuda_graph: bool | None
    launches_per_step: int | None
    """Kernels."""
    weights_bytes: int
    copy_bandwidth: float | None
    """Bytes read and written per second by large copies within the GPU's memory."""
    further_turns_per_step: float | None = None
    """Launches of RNN-T evaluations after those in the step."""


def time_steps(step: Step, steps: int, chunk_s: float, paced: int | None = None) -> dict[str, Any]:
    """Time `steps` steps back to back and `paced` of them (None: a fifth) one every `chunk_s` seconds, each after a warm-up of its own.

    Returns the keys of a StepMeasurement that every process can tell.
    """
    step(0)
    first_result_s = process_age_s()
    fast = timed(step, steps)
    realtime = timed(step, steps // PACED_SHARE if paced is None else paced, chunk_s)
    measured = {"first_result_s": first_result_s, "fast": fast, "realtime": realtime}
    return measured | {"peak_gpu_memory_mb": gpu_memory_mb()}


def copy_bandwidth(copy: Callable[[], object], wait: Callable[[], object]) -> float:
    """Return the bytes read and written per second by copies of COPY_BYTES. `copy` starts one, `wait` waits until all are done."""
    copy()
    wait()
    begin = time.perf_counter()
    for _ in range(COPIES):
        copy()
    wait()
    return 2 * COPY_BYTES * COPIES / (time.perf_counter() - begin)


def timed(step: Step, steps: int, interval_s: float = 0.0) -> PaceTimes:
    """Time steps, one every `interval_s` seconds or back to back, after a warm-up."""
    for index in range(WARM_UP):
        step(index)
    seconds = []
    with _sampled() as samples:
        start = time.perf_counter()
        for index in range(steps):
            # Deadlines are absolute: oversleeping one of them does not move the next.
            if (left := start + index * interval_s - time.perf_counter()) > 0:
                time.sleep(left)
            begin = time.perf_counter()
            step(index)
            seconds.append(time.perf_counter() - begin)
    clocks, powers = ([sample[place] for sample in samples] for place in (0, 1))
    return PaceTimes(seconds, median(clocks) if clocks else None, median(powers) if powers else None)


@contextmanager
def _sampled() -> Iterator[list[tuple[float, float]]]:
    """Samples of SM clock in MHz and power draw in W while the block ran, there once it has; none where nvidia-smi is missing."""
    samples: list[tuple[float, float]] = []
    query = [
        "nvidia-smi",
        *first_visible(),
        "--query-gpu=clocks.sm,power.draw",
        "--format=csv,noheader,nounits",
        "-lms",
        "100",
    ]
    with TemporaryFile("w+", encoding="ascii") as log:
        try:
            process = subprocess.Popen(query, stdout=log)
        except OSError:
            yield samples
            return
        try:
            yield samples
        finally:
            process.terminate()
            process.wait()
            log.seek(0)
            for line in log:
                with suppress(ValueError):  # of a line cut short, or a figure that the GPU does not tell
                    clock, power = line.split(",")
                    samples.append((float(clock), float(power)))
