"""Tables in Markdown, and how rows of result files are called in them."""

from collections.abc import Iterable, Sequence

from bench.results import Provenance, Row


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Headers and cells as a table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ("---",) * len(columns), *rows))


def model_label(row: Row) -> str:
    """Model, look-ahead, what decodes it if not greedy CTC, and whether its weights are random."""
    decoder = "" if row.decoder == "ctc" else ", RNN-T"
    weights = "" if row.weights == "trained" else ", random weights"
    return f"{row.model}, {row.lookahead_ms} ms{decoder}{weights}"


def precision_label(row: Row) -> str:
    """Precision, and the method of INT8's thresholds."""
    return row.precision if row.calibration is None else f"{row.precision} {row.calibration}"


def engine_label(row: Row, provenance: Provenance) -> str:
    """What ran the row, and whether in a CUDA graph."""
    version = {"tensorrt": f"TensorRT {provenance.tensorrt}", "torch": "NeMo in PyTorch"}.get(row.backend, row.backend)
    return version + {True: ", CUDA graph", False: ", no graph", None: ""}[row.cuda_graph]


def on_cpu(row: Row, provenance: Provenance) -> bool:
    """Whether the row was measured without a GPU: its error rate holds, its times and memory are no result."""
    return row.functional_check or provenance.gpu is None


def where_label(row: Row, provenance: Provenance) -> str:
    """The GPU, or the CPU where none computed."""
    return provenance.cpu if on_cpu(row, provenance) else provenance.gpu or ""
