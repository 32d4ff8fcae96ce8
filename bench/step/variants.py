"""The ladder's variants: ways to run the step, from NeMo's own encoder to the runtime. Result files call one a rung."""

from dataclasses import dataclass
from typing import Literal

from bench.results import ResultFile, StepRow

Precision = Literal["fp32", "fp16"]
BOTH: tuple[Precision, ...] = ("fp32", "fp16")

ENCODER = "NeMo's cache_aware_stream_step alone, random weights, TF32 off: from log-mel to encoded frames and caches, all on the GPU"
STEP = "the whole step: from samples on the host to tokens, log-probabilities and encoded frames there"
TO_AND_FRO = f"{STEP}; the state goes to the host and back"
ON_GPU = f"{STEP}; the state stays on the GPU"


@dataclass(frozen=True)
class Variant:
    """One way to run the step, in a precision."""

    label: str
    precision: Precision
    backend: Literal["torch", "onnxruntime-cuda", "tensorrt"]
    what: str
    """What its step computes and copies."""
    graph: bool = False
    """Whether it runs in a CUDA graph."""
    host_state: bool = False
    """Of TensorRT: whether the state is on the host. Else it stays on the GPU."""
    pinned: bool = False
    """Whether the host's memory is pinned, with host_state."""

    @property
    def name(self) -> str:
        """Label and precision, which no other variant has."""
        return f"{self.label}, {self.precision}"


def _torch(label: str, caches: str, *, graph: bool = False) -> list[Variant]:
    what = f"{ENCODER}; {caches}"
    return [Variant(f"NeMo in PyTorch, {label}", precision, "torch", what, graph) for precision in BOTH]


def _tensorrt(label: str, what: str, *precisions: Precision, **how: bool) -> list[Variant]:
    return [Variant(label, precision, "tensorrt", what, **how) for precision in precisions]


RUNTIME = Variant(
    "+ device-resident state: the runtime",
    "fp16",
    "tensorrt",
    f"{ON_GPU}; kernels and both copies in one graph",
    graph=True,
)
_PAGEABLE, _GRAPH = f"{TO_AND_FRO}, pageable; no graph", f"{TO_AND_FRO}, pageable; kernels in a graph"
_PINNED = f"{TO_AND_FRO}, pinned; kernels and four copies in one graph"
VARIANTS = (
    *_torch("eager", "new caches are the next step's"),
    *_torch("CUDA graph", "new caches copied over the old", graph=True),
    *(Variant("onnxruntime CUDA", precision, "onnxruntime-cuda", f"{TO_AND_FRO}, as arrays") for precision in BOTH),
    *_tensorrt("TensorRT", _PAGEABLE, *BOTH, host_state=True),
    *_tensorrt("+ CUDA graph", _GRAPH, "fp16", graph=True, host_state=True),
    *_tensorrt("+ pinned copies", _PINNED, "fp16", graph=True, host_state=True, pinned=True),
    RUNTIME,
    # Beside the ladder: the runtime's other settings.
    *_tensorrt("the runtime", RUNTIME.what, "fp32", graph=True),
    *_tensorrt("the runtime, CUDA_GRAPH=0", f"{ON_GPU}; no graph", *BOTH),
)


def ladder_rows(result: ResultFile) -> list[tuple[StepRow, StepRow]]:
    """Return the rows of a ladder's variants, each back to back and at the pace of speech."""
    rows = [row for row in result.rows_of(StepRow) if row.rung is not None]
    paced = {(row.rung, row.precision): row for row in rows if row.pace == "realtime"}
    return [(row, paced[row.rung, row.precision]) for row in rows if row.pace == "fast"]


def is_runtime(row: StepRow) -> bool:
    """Return whether a row of steps is of the runtime itself, not of a lower variant of the ladder."""
    lower = [variant.label for variant in VARIANTS if variant.backend != "tensorrt" or variant.host_state]
    return row.rung not in lower
