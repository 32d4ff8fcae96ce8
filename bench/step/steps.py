"""The step alone: its time back to back and at the pace of speech, beside the floor that the weights' bytes set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from bench.machine import collect, plan_figures
from bench.results import DEFINITIONS, ResultFile, Row, calibration_of, result_path, row, write_result
from bench.score.rates import percentiles
from bench.step.timing import Measured
from bench.step.worker import measure_backend
from runtime import InputError, Recognizer
from runtime.bundle import Bundle, Decoding, read_bundle

PERCENTS = (0, 5, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 100)  # of a step's distribution

PACES: tuple[Literal["fast", "realtime"], ...] = ("fast", "realtime")


@dataclass(frozen=True)
class StepOptions:
    """What to measure."""

    bundle: Path
    backend: str = "tensorrt"
    precision: str = "fp16"
    decoder: str | None = None  # rnnt: its evaluations are in the step; None: ctc, or rnnt where there is no CTC head
    steps: int = 1000  # back to back; a fifth of them at the pace of speech
    name: str | None = None  # of the result file; None: made of what is measured
    out: Path = Path("bench/results")


def run_steps(options: StepOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure, print, write the result file and return its path. Raises InputError for bad options or a bundle that can't be opened."""
    check_steps(options.steps)
    asked = options.decoder or read_bundle(options.bundle).step_decoder
    with Recognizer(
        options.bundle, precision=options.precision, backend=options.backend, lm=None, decoder=asked
    ) as recognizer:
        backend, bundle, decoder = recognizer.backend, recognizer.bundle, recognizer.decoder
        parts = [bundle.checkpoint.name, f"{bundle.lookahead_ms}ms", options.precision, backend.name]
        parts += ["rnnt"] if decoder == "rnnt" else []
        parts += ["nograph", "steps"] if backend.cuda_graph is False else ["steps"]
        path = result_path(options.out, options.name or "-".join(parts))
        measured = measure_backend(backend, bundle, options.precision, options.steps)
        provenance = collect(argv, [])
    rows = step_rows(options.bundle, bundle, options.precision, backend.name, measured, decoder)
    for each in rows:
        console.print(line(each), highlight=False)
    write_result(path, ResultFile(provenance=provenance, rows=rows, definitions=DEFINITIONS))
    console.print(f"wrote {path}", highlight=False)
    return path


def check_steps(steps: int) -> None:
    """Raise InputError for fewer steps than a 99th percentile needs."""
    if steps < 100:
        raise InputError(f"--steps: expected at least 100 for a 99th percentile, found {steps}")


def step_rows(  # noqa: PLR0917
    folder: Path, bundle: Bundle, precision: str, backend: str, measured: Measured, decoder: Decoding = "ctc"
) -> list[Row]:
    """A row back to back and one at the pace of speech; `folder` is the bundle's."""
    chunk_ms = 1e3 * bundle.chunk_samples / bundle.sample_rate
    bandwidth = measured.copy_bandwidth
    rows = []
    for pace in PACES:
        timed = getattr(measured.timings, pace)
        step = percentiles(each * 1e3 for each in timed.seconds)
        rows.append(
            row(
                model=bundle.checkpoint.name,
                weights=bundle.checkpoint.weights,
                decoder=decoder,
                precision=precision,
                calibration=calibration_of(bundle, precision),
                backend=backend,
                cuda_graph=measured.cuda_graph,
                lookahead_ms=bundle.lookahead_ms,
                pace=pace,
                data="noise",
                rtf_p50=step.p50 / chunk_ms if step.p50 else None,
                rtf_p95=step.p95 / chunk_ms if step.p95 else None,
                step_ms_p50=step.p50,
                step_ms_p95=step.p95,
                step_ms_p99=step.p99,
                launches_per_step=measured.launches_per_step,
                further_turns_per_step=measured.further_turns_per_step,
                floor_ms=None if bandwidth is None else 1e3 * measured.weights_bytes / bandwidth,
                peak_gpu_memory_mb=measured.timings.peak_gpu_memory_mb,
                **plan_figures(folder, precision, backend),
                mode="steps",
                functional_check=backend.endswith("-cpu"),
                steps=len(timed.seconds),
                step_ms_percentiles={f"{each:g}": 1e3 * float(np.percentile(timed.seconds, each)) for each in PERCENTS},
                copy_gb_s=None if bandwidth is None else bandwidth / 1e9,
                first_result_s=measured.timings.first_result_s,
                step_sm_clock_mhz=timed.sm_clock_mhz,
                step_power_draw_w=timed.power_draw_w,
                engine_version=measured.engine,
            )
        )
    return rows


def line(row: Row) -> str:
    """A row on the terminal."""
    floor = "" if row.floor_ms is None else f", floor {row.floor_ms:.3f} ms"
    step = f"{row.step_ms_p50:.3f} / {row.step_ms_p95:.3f} / {row.step_ms_p99:.3f} ms"
    return (
        f"{row.precision} {row.backend} {row.decoder} {row.pace}: step {step} (p50 / p95 / p99 of {row.steps}){floor}"
    )
