"""The step alone: its time back to back and at the pace of speech, beside the floor that the weights' bytes set."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from rich.console import Console

from bench.child import run_child
from bench.machine import plan_figures
from bench.results import calibration_of, result_path
from bench.rows import StepRow
from bench.session import FileOptions, Written, on_gpu, write_rows
from bench.step.timing import StepMeasurement, Variant
from bench.step.worker import measure_backend
from bench.summary import Keys, spread
from runtime import InputError, Recognizer
from runtime.bundle import Bundle, Decoding, read_bundle

LOAD_S = 300.0
"""Seconds that a measuring process may take beside its steps or speech."""
PERCENTS = (0, 5, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 100)
"""Of a step's distribution."""


@dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What to measure."""

    bundle: Path
    """Folder made by `make export`."""
    backend: str = "tensorrt"
    """tensorrt, onnxruntime-cpu or onnxruntime-cuda."""
    precision: str = "fp16"
    """fp32, fp16 or int8."""
    decoder: str | None = None
    """rnnt: its evaluations are in the step (default: ctc, or what there is)."""
    steps: int = 1000
    """Steps back to back; a fifth of them at the pace of speech."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:  # noqa: ARG001 -- a command's arguments
    """Measure and write the result. Raises InputError for bad options or a bundle that can't be opened."""
    check_steps(options.steps)
    asked = options.decoder or read_bundle(options.bundle).step_decoder
    with Recognizer(
        options.bundle, precision=options.precision, backend=options.backend, lm=None, decoder=asked
    ) as recognizer:
        backend, bundle, decoder = recognizer.backend, recognizer.bundle, recognizer.decoder
        parts = [bundle.checkpoint.name, f"{bundle.lookahead_ms}ms", options.precision, backend.name]
        parts += ["rnnt"] if decoder == "rnnt" else []
        parts += ["nograph", "steps"] if backend.launches.cuda_graph is False else ["steps"]
        path = result_path(options.out, options.name or "-".join(parts))
        measured = measure_backend(backend, bundle, options.precision, options.steps)
        rows = step_rows(options.bundle, bundle, options.precision, backend.name, measured, decoder)
        return write_rows(path, argv, rows)


def check_steps(steps: int) -> None:
    """Raise InputError for fewer steps than a 99th percentile needs."""
    if steps < 100:
        raise InputError(f"--steps: expected at least 100 for a 99th percentile, found {steps}")


def rows_of_child(variant: Variant, python: Sequence[str] = (sys.executable,)) -> list[StepRow]:
    """Measure in a process of its own; return its rows. Raises InputError as `measure_child` does."""
    folder = Path(variant.bundle)
    measured = measure_child(variant, python)
    return step_rows(folder, read_bundle(folder), variant.precision, variant.backend, measured)


def measure_child(variant: Variant, python: Sequence[str] = (sys.executable,)) -> StepMeasurement:
    """Measure in a process of its own. Raises InputError where it fails, or takes longer than its steps' chunks twice."""
    bundle = read_bundle(Path(variant.bundle))
    limit_s = LOAD_S + 2 * variant.steps * bundle.chunk_samples / bundle.sample_rate  # a slower step is of no use
    module = "bench.step.nemo_peer" if variant.backend == "torch" else "bench.step.worker"
    told = json.dumps(asdict(variant))
    printed = run_child([*python, "-m", module, told], limit_s, graph=variant.graph)
    return TypeAdapter(StepMeasurement).validate_json(printed.splitlines()[-1])


def step_rows(  # noqa: PLR0917
    folder: Path, bundle: Bundle, precision: str, backend: str, measured: StepMeasurement, decoder: Decoding = "ctc"
) -> list[StepRow]:
    """Return a row back to back and one at the pace of speech; `folder` is the bundle's."""
    bandwidth = measured.copy_bandwidth
    shared: Keys = {
        "model": bundle.checkpoint.name,
        "weights": bundle.checkpoint.weights,
        "decoder": decoder,
        "precision": precision,
        "calibration": calibration_of(bundle, precision),
        "backend": backend,
        "cuda_graph": measured.cuda_graph,
        "lookahead_ms": bundle.lookahead_ms,
        "functional_check": not on_gpu(backend),
        "mode": "steps",
        "data": "noise",
        "launches_per_step": measured.launches_per_step,
        "further_turns_per_step": measured.further_turns_per_step,
        "floor_ms": None if bandwidth is None else 1e3 * measured.weights_bytes / bandwidth,
        "copy_gb_s": None if bandwidth is None else bandwidth / 1e9,
        "peak_gpu_memory_mb": measured.peak_gpu_memory_mb,
        "first_result_s": measured.first_result_s,
        "engine_version": measured.engine,
        **plan_figures(folder, precision, backend),
    }
    rows = []
    for pace, times in (("fast", measured.fast), ("realtime", measured.realtime)):
        percentiles = np.percentile(times.seconds, PERCENTS)
        keys = {
            "pace": pace,
            "steps": len(times.seconds),
            **spread("rtf", (s * bundle.sample_rate / bundle.chunk_samples for s in times.seconds)),
            **spread("step_ms", (1e3 * seconds for seconds in times.seconds), p99=True),
            "step_ms_percentiles": {f"{at:g}": 1e3 * float(s) for at, s in zip(PERCENTS, percentiles, strict=True)},
            "step_sm_clock_mhz": times.sm_clock_mhz,
            "step_power_draw_w": times.power_draw_w,
        }
        rows.append(StepRow.model_validate(shared | keys))
    return rows
