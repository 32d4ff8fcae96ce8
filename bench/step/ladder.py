"""The ladder: the step from NeMo's own encoder to the runtime on one GPU, each variant in a fresh process, one result file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from bench.child import Survey
from bench.results import ResultFile, result_path
from bench.rows import StepRow
from bench.session import Written, write_rows
from bench.step.peer import COPIED, ENCODER, PeerOptions, child_of
from bench.step.step_times import check_steps, rows_of_child
from bench.step.timing import Variant
from runtime.backends import default_backend
from runtime.bundle import Bundle, read_bundle
from runtime.errors import InputError

BOTH = ("fp32", "fp16")

STEP = "the whole step: from samples on the host to tokens, log-probabilities and encoded frames there"
TO_AND_FRO = f"{STEP}; the state goes to the host and back"
ON_GPU = f"{STEP}; the state stays on the GPU"


def _variants(label: str, what: str, *precisions: str, backend: str = "tensorrt", **how: Any) -> list[Variant]:
    return [Variant(label=label, precision=name, backend=backend, what=what, **how) for name in precisions]


_RUNTIME = f"{ON_GPU}; kernels and both copies in one graph"
(RUNTIME,) = _variants("+ device-resident state: the runtime", _RUNTIME, "fp16", graph=True)
_PAGEABLE, _GRAPH = f"{TO_AND_FRO}, pageable; no graph", f"{TO_AND_FRO}, pageable; kernels in a graph"
_PINNED = f"{TO_AND_FRO}, pinned; kernels and four copies in one graph"
VARIANTS = (
    *_variants("NeMo in PyTorch, eager", f"{ENCODER}; new caches are the next step's", *BOTH, backend="torch"),
    *_variants("NeMo in PyTorch, CUDA graph", f"{ENCODER}; {COPIED}", *BOTH, backend="torch", graph=True),
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
class Options(PeerOptions):
    """What to measure and with what; a fifth of the steps at the pace of speech too."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure variant by variant and write the result file; a variant that fails is in its `left_out`.

    Raises:
        InputError: bad options or bundle, no GPU, or no variant that ran; nothing is written then.
    """
    check_steps(options.steps)
    bundle = read_bundle(options.bundle)
    bundle.check_ctc("the ladder")
    path = result_path(options.out, options.name or f"{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-ladder")
    encoder = options.read_encoder()
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
    rows = rows_of_child(*child_of(options, bundle, encoder, variant))
    labels = {"rung": variant.label, "what": variant.what} | (
        {"weights": "random"} if variant.backend == "torch" else {}
    )
    return [row.with_(**labels) for row in rows]


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
