"""RESULTS.md's tables and plots, made from the result files and the projections, between two markers."""

import os
from pathlib import Path

from bench.bargein import COLUMNS as BARGE_IN
from bench.bargein import BargeInFile, cells_of, read_bargein
from bench.combinations import COLUMNS, combinations
from bench.plots import plot_paths, plots
from bench.projection import LABEL, Projection, memory_span, read_projections, rtf_span, step_span
from bench.results import Provenance, ResultFile, Row, read_results
from bench.table import ENDPOINTS, data_label, figures, memory_label, waterfall_cells
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
    "Language model",
    "WER %",
    "RTF p50 / p95",
    "Step ms p50 / p95",
    "Decoding ms p50 / p95",
    "Words taken back per word",
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
LADDER = (
    "Model",
    "Rung",
    "Precision",
    "GPU",
    "Step ms p50 / p99, back to back",
    "Step ms p50, real time",
    "Floor ms",
    "Kernels a step",
    "GPU memory MB",
    "Times the runtime's",
)
PROJECTED = (
    "Model",
    "Precision",
    "Figures of the row",
    "Step ms, low - high (projection)",
    "RTF, low - high (projection)",
    "GPU memory MB (projection)",
    "From",
)
WATERFALL = ("Model", "Precision", "Engine", "GPU or CPU", "Data", "Stage", "Mean ms", "p50 ms", "p95 ms")
ABLATION = ("Model", "Precision", "Engine", "GPU or CPU", *COLUMNS)
PACES = {"fast": "back to back", "realtime": "real time"}
BOUNDS = (
    "Low: the bytes at the best bandwidth. High: nothing fused or overlapped, the clock throttled, the measured cost of every "
    "kernel on top. `bench/results/projections/*.json` list the assumptions and their sources."
)
NOTE = "Rows measured on a CPU are functional checks: their error rates hold, their times and memory are no result."


def page_text(page: Path, results: Path) -> str:
    """What the page should hold: its text with the tables of the folder's result files and projections between the markers.

    Raises:
        InputError: a missing page, markers missing or out of order, a missing folder, a broken result file or projection.
    """
    if not page.is_file():
        raise InputError(f"{page}: no such page; it needs the lines {START} and {END}")
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{page}: expected the lines {START} and {END}, in this order; put them where the table goes")
    return f"{before}{START}\n{tables(results, os.path.relpath(results, page.parent))}\n{END}{after}"


def tables(results: Path, link: str) -> str:
    """The tables of a folder's result files and projections, in Markdown; `link`: that folder as the page sees it."""
    measured, projections = table(read_results(results), link), read_projections(results)
    projected = [_projections(gpu, projections) for gpu in sorted({each.gpu for each in projections})]
    return "\n\n".join([measured, *projected, *map(_bargein, read_bargein(results).values())])


def refresh(page: Path, results: Path, check: bool) -> None:
    """Write the page's tables and the plots among the result files anew, or only check them.

    Raises:
        InputError: as `page_text` does.
        SystemExit: code 1, where `check` finds the page stale.
    """
    texts = {page: page_text(page, results)}
    for name, result in read_results(results).items():
        texts |= plots(results / f"{name}.json", result)
    for path, text in texts.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            print(f"{path} is up to date")
        elif check:
            raise SystemExit(f"{path} is stale: run `make results`")  # its text goes to stderr, with code 1
        else:
            with written_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


def table(results: dict[str, ResultFile], link: str) -> str:
    """Tables in Markdown: speech recognised, the step alone, the ladder to it, the ablation with its plots, and what was left out.

    Rows of a part of a data set (`--limit`) are in none.
    """
    rows = [
        (row, result.provenance)
        for result in results.values()
        for row in result.rows
        if row.limit is None and row.combination is None
    ]
    speech = [_speech(row, provenance) for row, provenance in rows if row.mode not in ("steps", "endpoint")]
    steps = [_step(row, provenance) for row, provenance in rows if row.mode == "steps" and row.rung is None]
    parts = [_markdown(SPEECH, speech), NOTE]
    ended = [(row, provenance) for row, provenance in rows if row.mode == "endpoint"]
    if ended:
        columns = ("Model", "Precision", "Engine", "GPU or CPU", *ENDPOINTS)
        cells = [(*_labels(*each), *(cell(each[0]) for cell in ENDPOINTS.values())) for each in ended]
        parts += ["Endpoints, latencies in ms, p50 / p95:", _markdown(columns, cells)]
        parts += [
            "From speech onset to the first text:",
            _markdown(WATERFALL, [each for one in ended for each in _waterfall(*one)]),
        ]
    parts += [_markdown(STEPS, steps)] if steps else []
    rungs = [each for result in results.values() for each in _rungs(result)]
    parts += [_markdown(LADDER, rungs)] if rungs else []
    ablations = {name: each for name, each in results.items() if _is_ablation(each)}
    combined = [each for result in ablations.values() for each in _combinations(result)]
    parts += [_markdown(ABLATION, combined)] if combined else []
    for name, result in ablations.items():
        parts += [f"![{path.stem}]({link}/{path.name})" for path in plot_paths(Path(f"{name}.json"), result)]
    parts += [
        f"Left out of {'' if name in ablations else 'the ladder of '}{name}:\n{_left_out(result)}"
        for name, result in results.items()
        if result.left_out and (name in ablations or not combinations(result))
    ]
    return "\n\n".join(parts)


def _markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ("---",) * len(columns), *rows))


def _labels(row: Row, provenance: Provenance) -> tuple[str, ...]:
    weights = "" if row.weights == "trained" else ", random weights"
    decoder = "" if row.decoder == "ctc" else ", RNN-T"
    version = {"tensorrt": f"TensorRT {provenance.tensorrt}", "torch": "NeMo in PyTorch"}.get(row.backend, row.backend)
    graph = {True: ", CUDA graph", False: ", no graph", None: ""}[row.cuda_graph]
    return (
        f"{row.model}, {row.lookahead_ms} ms{decoder}{weights}",
        row.precision,
        f"{version}{graph}",
        provenance.cpu if row.functional_check or provenance.gpu is None else provenance.gpu,
    )


def _speech(row: Row, provenance: Provenance) -> tuple[str, ...]:
    return (
        *_labels(row, provenance),
        data_label(row),
        row.lm or "none",
        figures([row.wer], 2),
        figures([row.rtf_p50, row.rtf_p95], 4),
        figures([row.step_ms_p50, row.step_ms_p95], 2),
        figures([row.decode_ms_p50, row.decode_ms_p95], 2),
        figures([row.churn], 2),
        figures([row.first_partial_onset_ms_p50, row.first_partial_onset_ms_p95], 0),
        figures([row.final_ms_p50, row.final_ms_p95], 1),
        memory_label(row),
    )


def _waterfall(row: Row, provenance: Provenance) -> list[tuple[str, ...]]:
    return [(*_labels(row, provenance), row.data, stage, *values) for stage, values in waterfall_cells(row).items()]


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


def _rungs(result: ResultFile) -> list[tuple[str, ...]]:
    paced = {(row.rung, row.precision): row for row in result.rows if row.pace == "realtime"}
    return [
        _rung(row, paced[row.rung, row.precision], result.provenance)
        for row in result.rows
        if row.rung is not None and row.pace == "fast"
    ]


def _rung(row: Row, paced: Row, provenance: Provenance) -> tuple[str, ...]:
    model, precision, _, gpu = _labels(row, provenance)
    return (
        model,
        row.rung or "",
        precision,
        gpu,
        figures([row.step_ms_p50, row.step_ms_p99], 2),
        figures([paced.step_ms_p50], 2),
        figures([row.floor_ms], 3),
        figures([row.launches_per_step], 0),
        figures([row.peak_gpu_memory_mb], 0),
        figures([row.times_runtime], 1),
    )


def _is_ablation(result: ResultFile) -> bool:
    """Whether it is an ablation, and of whole data sets."""
    return bool(combinations(result)) and all(row.limit is None for row in result.rows)


def _combinations(result: ResultFile) -> list[tuple[str, ...]]:
    rows = []
    for each in combinations(result):
        model, _, _, where = _labels(each.row, result.provenance)
        engine = f"TensorRT {result.provenance.tensorrt}" if each.row.backend == "tensorrt" else each.row.backend
        rows.append((model, each.precision, engine, where, *(cell(each) for cell in COLUMNS.values())))
    return rows


def _left_out(result: ResultFile) -> str:
    return "\n".join(f"- {rung}: {reason}" for rung, reason in result.left_out.items())


def _projections(gpu: str, projections: list[Projection]) -> str:
    rows = [_projection(each) for each in projections if each.gpu == gpu]
    return "\n\n".join([f"**{gpu} ({LABEL})**", _markdown(PROJECTED, rows), BOUNDS])


def _projection(projection: Projection) -> tuple[str, ...]:
    step, source = projection.steps[0], projection.source
    weights = "" if projection.weights == "trained" else ", random weights"
    return (
        f"{projection.model}, {projection.lookahead_ms} ms{weights}",
        projection.precision,
        LABEL,
        step_span(step),
        rtf_span(step),
        memory_span(projection),
        f"{source.kernels} kernels of TensorRT {source.tensorrt} on {source.gpu}",
    )


def _bargein(result: BargeInFile) -> str:
    token = ", a confirming token" if result.rules["confirming_token"] else ""
    title = f"**Barge-in: {result.model}, {result.lookahead_ms} ms, {result.precision} on {result.backend}{token}**"
    note = (
        "Without the reference an alarm by the echo up to 200 ms before the onset passes for a detection. "
        "Stale: partials from before the cut. Leaks: transcripts that differ from a fresh stream's."
    )
    return "\n\n".join(
        [title, _markdown(BARGE_IN, cells_of(result)), f"Scenes: {result.definitions['scenes']}. {note}"]
    )
