"""The ladder: the step from NeMo's own encoder to the runtime on one GPU, each variant in a fresh process, one result file."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.child import Survey, run_child
from bench.results import ResultFile, result_path
from bench.rows import StepRow
from bench.session import FileOptions, Written, write_rows
from bench.step.encoder_config import encoder_config
from bench.step.step_times import LOAD_S, check_steps, rows_of_child
from bench.step.timing import Variant
from runtime.backends import default_backend
from runtime.bundle import Bundle, read_bundle
from runtime.errors import InputError
from setup.environments import EXPORT, Part
from setup.machine import CPU

BOTH = ("fp32", "fp16")

ENCODER = "NeMo's cache_aware_stream_step alone, random weights, TF32 off: from log-mel to encoded frames and caches, all on the GPU"
STEP = "the whole step: from samples on the host to tokens, log-probabilities and encoded frames there"
TO_AND_FRO = f"{STEP}; the state goes to the host and back"
ON_GPU = f"{STEP}; the state stays on the GPU"


def _variants(label: str, what: str, *precisions: str, backend: str = "tensorrt", **how: Any) -> list[Variant]:
    return [Variant(label=label, precision=name, backend=backend, what=what, **how) for name in precisions]


_RUNTIME = f"{ON_GPU}; kernels and both copies in one graph"
(RUNTIME,) = _variants("+ device-resident state: the runtime", _RUNTIME, "fp16", graph=True)
_COPIED = "new caches copied over the old"
_PAGEABLE, _GRAPH = f"{TO_AND_FRO}, pageable; no graph", f"{TO_AND_FRO}, pageable; kernels in a graph"
_PINNED = f"{TO_AND_FRO}, pinned; kernels and four copies in one graph"
VARIANTS = (
    *_variants("NeMo in PyTorch, eager", f"{ENCODER}; new caches are the next step's", *BOTH, backend="torch"),
    *_variants("NeMo in PyTorch, CUDA graph", f"{ENCODER}; {_COPIED}", *BOTH, backend="torch", graph=True),
    *_variants("onnxruntime CUDA", f"{TO_AND_FRO}, as arrays", *BOTH, backend="onnxruntime-cuda"),
    *_variants("TensorRT", _PAGEABLE, *BOTH, host_state=True),
    *_variants("+ CUDA graph", _GRAPH, "fp16", graph=True, host_state=True),
    *_variants("+ pinned copies", _PINNED, "fp16", graph=True, host_state=True, pinned=True),
    RUNTIME,
    # Beside the ladder: the runtime's other settings.
    *_variants("the runtime", _RUNTIME, "fp32", graph=True),
    *_variants("the runtime, CUDA_GRAPH=0", f"{ON_GPU}; no graph", *BOTH),
)


@dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What to measure and with what."""

    bundle: Path
    """Folder made by `make export`."""
    steps: int = 1000
    """Steps back to back; a fifth of them at the pace of speech."""
    peer_python: str | None = None
    """Command of an interpreter with torch, NeMo's encoder and onnxruntime-gpu, such as python3.11 or
    env -u PYTHONHOME python3 (default: this one, and for NeMo the CPU environment's, where torch is)."""
    encoder_config: Path | None = None
    """JSON of NeMo's encoder, made by `python -m bench.step.encoder_config` (default: read with NeMo)."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure variant by variant and write the result file; a variant that fails is in its `left_out`.

    Raises:
        InputError: bad options or bundle, no GPU, or no variant that ran; nothing is written then.
    """
    check_steps(options.steps)
    bundle = read_bundle(options.bundle)
    bundle.check_ctc("the ladder")
    path = result_path(options.out, options.name or f"{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-ladder")
    encoder = None
    if options.encoder_config is not None:
        try:
            encoder = dict(json.loads(options.encoder_config.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"--encoder-config: expected a JSON file, found none at {options.encoder_config}"
            ) from error
    if default_backend() != "tensorrt":
        raise InputError("expected an NVIDIA GPU that nvidia-smi lists, found none; the ladder is measured on one")
    survey = Survey(console)
    rows: list[StepRow] = []
    for number, variant in enumerate(VARIANTS, 1):
        with console.status(f"{number}/{len(VARIANTS)} {variant.name}"):
            measured = survey.tried(variant.name, partial(measure, options, bundle, encoder, variant)) or []
        for row in measured:
            survey.say_steps(f"{variant.name}, {row.pace}", row)
        rows += measured
    if not rows:
        name, reason = survey.left_out.popitem()
        raise InputError(f"no rung of the ladder ran; the last, {name}: {reason}")
    return write_rows(path, argv, _compared(rows), left_out=survey.left_out)


def measure(options: Options, bundle: Bundle, encoder: dict[str, Any] | None, variant: Variant) -> list[StepRow]:
    """Run a variant in its process. `encoder`: the configuration of NeMo's encoder, None: to be read with NeMo.

    Raises InputError where the process fails, or NeMo's encoder has no configuration.
    """
    on_torch = variant.backend == "torch"
    python = [sys.executable]
    if options.peer_python is not None and variant.backend != "tensorrt":
        python = shlex.split(options.peer_python)
    elif on_torch:
        python = nemo_python()
    told = replace(
        variant,
        bundle=str(options.bundle),
        steps=options.steps,
        encoder=(encoder or _encoder_config(options, bundle)) if on_torch else None,
        lookahead_frames=bundle.lookahead_ms // bundle.encoder_frame_ms,
        chunk_s=bundle.chunk_samples / bundle.sample_rate,
    )
    rows = rows_of_child(told, python)
    labels = {"rung": variant.label, "what": variant.what} | ({"weights": "random"} if on_torch else {})
    return [row.with_(**labels) for row in rows]


def nemo_python() -> list[str]:
    """Return the command of the interpreter with torch and NeMo: the CPU environment's where they are set up, otherwise this one."""
    export = Part(CPU, EXPORT)
    return [str(export.python.absolute())] if export.stamp.exists() else [sys.executable]


def _encoder_config(options: Options, bundle: Bundle) -> dict[str, Any]:
    """Read the configuration of NeMo's encoder where NeMo is. Raises InputError where it cannot be read."""
    name, python = bundle.checkpoint.name, nemo_python()
    if options.peer_python is not None or python == [sys.executable]:
        return encoder_config(name)
    return dict(json.loads(run_child([*python, "-m", "bench.step.encoder_config", name], LOAD_S)))


def _compared(rows: list[StepRow]) -> list[StepRow]:
    """Return the rows with what others of them say: kernels of the same plan, times the runtime's p50."""
    kernels = {row.precision: row.launches_per_step for row in rows if row.backend == "tensorrt" and row.cuda_graph}
    runtime = {
        row.pace: row.step_ms_p50 for row in rows if (row.rung, row.precision) == (RUNTIME.label, RUNTIME.precision)
    }
    compared = []
    for row in rows:
        launches, reference = row.launches_per_step, runtime.get(row.pace)
        if row.backend == "tensorrt" and launches is None:
            launches = kernels.get(row.precision)
        times = round(row.step_ms_p50 / reference, 3) if row.step_ms_p50 and reference else None
        compared.append(row.with_(launches_per_step=launches, times_runtime=times))
    return compared


def ladder_rows(result: ResultFile) -> list[tuple[StepRow, StepRow]]:
    """Return the rows of a ladder's variants, each back to back and at the pace of speech."""
    rows = [row for row in result.rows_of(StepRow) if row.rung is not None]
    paced = {(row.rung, row.precision): row for row in rows if row.pace == "realtime"}
    return [(row, paced[row.rung, row.precision]) for row in rows if row.pace == "fast"]


def is_runtime(row: StepRow) -> bool:
    """Return whether a row of steps is of the runtime itself, not of a lower variant of the ladder."""
    lower = [variant.label for variant in VARIANTS if variant.backend != "tensorrt" or variant.host_state]
    return row.rung not in lower
