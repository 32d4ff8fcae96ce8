"""RESULTS.md's table, made from the result files, between two markers."""

from pathlib import Path

from bench.results import Provenance, ResultFile, Row, read_results
from bench.table import data_label, figures, memory_label
from runtime.errors import InputError
from runtime.files import written_whole

START = "<!-- results:start -->"
END = "<!-- results:end -->"
SPEECH = (
    "Model",
    "Precision",
    "Engine",
    "GPU or CPU",
    "Data",
    "WER %",
    "RTF p50 / p95",
    "Step ms p50 / p95",
    "First partial ms, from speech onset p50 / p95",
    "Finalization ms p50 / p95",
    "Peak memory MB",
)
STEPS = (
    "Model",
    "Precision",
    "Engine",
    "GPU or CPU",
    "Pace",
    "Step ms p50 / p95 / p99",
    "Floor ms",
    "Kernels a step",
    "GPU memory MB",
    "Plan MB",
    "Start to first result s",
)
PACES = {"fast": "back to back", "realtime": "real time"}
NOTE = "Rows measured on a CPU are functional checks: their error rates hold, their times and memory are no result."


def page_text(page: Path, results: Path) -> str:
    """What the page should hold: its text with the table of the folder's result files between the markers.

    Raises:
        InputError: a missing page, markers missing or out of order, a missing folder or a broken result file.
    """
    if not page.is_file():
        raise InputError(f"{page}: no such page; it needs the lines {START} and {END}")
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{page}: expected the lines {START} and {END}, in this order; put them where the table goes")
    return f"{before}{START}\n{table(read_results(results))}\n{END}{after}"


def refresh(page: Path, results: Path, check: bool) -> None:
    """Write the page's table anew, or only check it.

    Raises:
        InputError: as `page_text` does.
        SystemExit: code 1, where `check` finds the page stale.
    """
    text = page_text(page, results)
    if page.read_text(encoding="utf-8") == text:
        print(f"{page} is up to date")
    elif check:
        raise SystemExit(f"{page} is stale: run `make results`")  # its text goes to stderr, with code 1
    else:
        with written_whole(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {page}")


def table(results: dict[str, ResultFile]) -> str:
    """Two tables in Markdown: speech recognised, and the step alone. Rows of a part of a data set (`--limit`) are in neither."""
    rows = [(row, result.provenance) for result in results.values() for row in result.rows if row.limit is None]
    speech = [_speech(row, provenance) for row, provenance in rows if row.mode != "steps"]
    steps = [_step(row, provenance) for row, provenance in rows if row.mode == "steps"]
    parts = [_markdown(SPEECH, speech), NOTE]
    return "\n\n".join([*parts, _markdown(STEPS, steps)] if steps else parts)


def _markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ("---",) * len(columns), *rows))


def _labels(row: Row, provenance: Provenance) -> tuple[str, ...]:
    weights = "" if row.weights == "trained" else ", random weights"
    version = {"tensorrt": f"TensorRT {provenance.tensorrt}", "torch": "NeMo in PyTorch"}.get(row.backend, row.backend)
    graph = {True: ", CUDA graph", False: ", no graph", None: ""}[row.cuda_graph]
    return (
        f"{row.model}, {row.lookahead_ms} ms{weights}",
        row.precision,
        f"{version}{graph}",
        provenance.cpu if row.functional_check or provenance.gpu is None else provenance.gpu,
    )


def _speech(row: Row, provenance: Provenance) -> tuple[str, ...]:
    return (
        *_labels(row, provenance),
        data_label(row),
        figures([row.wer], 2),
        figures([row.rtf_p50, row.rtf_p95], 4),
        figures([row.step_ms_p50, row.step_ms_p95], 2),
        figures([row.first_partial_onset_ms_p50, row.first_partial_onset_ms_p95], 0),
        figures([row.final_ms_p50, row.final_ms_p95], 1),
        memory_label(row),
    )


def _step(row: Row, provenance: Provenance) -> tuple[str, ...]:
    return (
        *_labels(row, provenance),
        PACES[row.pace or "fast"],
        figures([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 2),
        figures([row.floor_ms], 3),
        figures([row.launches_per_step], 0),
        figures([row.peak_gpu_memory_mb], 0),
        figures([row.plan_mb], 0),
        figures([row.first_result_s], 1),
    )
