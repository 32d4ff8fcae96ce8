"""The ladder's rungs: ways to run the step, from NeMo's own encoder to the runtime."""

from dataclasses import dataclass
from typing import Literal

from bench.results import ResultFile, Row

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")

ENCODER = "NeMo's cache_aware_stream_step alone, random weights, TF32 off: from log-mel to encoded frames and caches, all on the GPU"
STEP = "the whole step: from samples on the host to tokens, log-probabilities and encoded frames there"
TO_AND_FRO = "the state goes to the host and back"


@dataclass(frozen=True)
class Rung:
    """One way to run the step, in a precision."""

    label: str
    precision: Precision
    backend: Literal["torch", "onnxruntime-cuda", "tensorrt"]
    what: str  # its step computes and copies
    graph: bool = False
    host_state: bool = False  # of TensorRT; else it stays on the GPU
    pinned: bool = False  # the host's memory, with host_state

    @property
    def name(self) -> str:
        """Label and precision: one of a kind."""
        return f"{self.label}, {self.precision}"


RUNTIME = Rung(
    "+ device-resident state: the runtime",
    "fp16",
    "tensorrt",
    f"{STEP}; the state stays on the GPU; kernels and both copies in one graph",
    graph=True,
)

RUNGS = (
    *(
        Rung("NeMo in PyTorch, eager", precision, "torch", f"{ENCODER}; new caches are the next step's")
        for precision in PRECISIONS
    ),
    *(
        Rung(
            "NeMo in PyTorch, CUDA graph", precision, "torch", f"{ENCODER}; new caches copied over the old", graph=True
        )
        for precision in PRECISIONS
    ),
    *(
        Rung("onnxruntime CUDA", precision, "onnxruntime-cuda", f"{STEP}; {TO_AND_FRO}, as arrays")
        for precision in PRECISIONS
    ),
    *(
        Rung("TensorRT", precision, "tensorrt", f"{STEP}; {TO_AND_FRO}, pageable; no graph", host_state=True)
        for precision in PRECISIONS
    ),
    Rung(
        "+ CUDA graph",
        "fp16",
        "tensorrt",
        f"{STEP}; {TO_AND_FRO}, pageable; kernels in a graph",
        graph=True,
        host_state=True,
    ),
    Rung(
        "+ pinned copies",
        "fp16",
        "tensorrt",
        f"{STEP}; {TO_AND_FRO}, pinned; kernels and four copies in one graph",
        graph=True,
        host_state=True,
        pinned=True,
    ),
    RUNTIME,
    # Beside the ladder: the runtime's other settings.
    Rung("the runtime", "fp32", "tensorrt", RUNTIME.what, graph=True),
    *(
        Rung("the runtime, CUDA_GRAPH=0", precision, "tensorrt", f"{STEP}; the state stays on the GPU; no graph")
        for precision in PRECISIONS
    ),
)


def measured_rungs(result: ResultFile) -> list[tuple[Row, Row]]:
    """A ladder's rows: each rung back to back, and at the pace of speech."""
    paced = {(row.rung, row.precision): row for row in result.rows if row.pace == "realtime"}
    return [(row, paced[row.rung, row.precision]) for row in result.rows if row.rung is not None and row.pace == "fast"]


def of_the_runtime(row: Row) -> bool:
    """Whether a row of steps is of the runtime itself, not of a lower rung of the ladder."""
    lower = {each.label for each in RUNGS if each.backend != "tensorrt" or each.host_state}
    return row.rung not in lower
