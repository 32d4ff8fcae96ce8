"""bench/results/README.md: every figure of the result files, in tables."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.pages import markdown
from bench.pages.ablation_plots import plot_paths
from bench.pages.combinations import COLUMNS, combinations, is_ablation
from bench.pages.markdown import engine_label, model_label, precision_label, where_label
from bench.pages.streams_table import STREAMS, sentence
from bench.pages.terminal import ENDPOINTS, data_label, figures, memory_label, waterfall_cells
from bench.results import Provenance, ResultFile, Row, read_results
from bench.speech.bargein_results import BY_LEVEL, BargeInFile, cells_by_level, cells_of, read_bargein
from bench.speech.bargein_results import COLUMNS as BARGE_IN
from bench.step.int8_accuracy import AccuracyReport, read_accuracy
from bench.step.rungs import measured_rungs
from calibration.tables import drift_table, layers_table

INTRODUCTION = """# All figures

Made by `make results` from the files of this folder, which hold provenance (hardware, versions, commit, data hash), the definition of
every figure and each utterance's transcript. What was not measured is a dash. Rows measured on a CPU are functional checks: their
error rates hold, their times and memory are no result. [RESULTS.md](../../RESULTS.md) has what matters of it."""

Cell = Callable[[Row, Provenance], str]

LABELS: dict[str, Cell] = {
    "Model": lambda row, _: model_label(row),
    "Precision": lambda row, _: precision_label(row),
    "Engine": engine_label,
    "GPU or CPU": where_label,
}
PACES = {"fast": "back to back", "realtime": "real time"}
SPEECH: dict[str, Cell] = {
    **LABELS,
    "Data": lambda row, _: data_label(row),
    "Pace": lambda row, _: PACES.get(row.pace or "", "-"),
    "Language model": lambda row, _: row.lm or "none",
    "WER %": lambda row, _: figures([row.wer], 2),
    "RTF p50 / p95": lambda row, _: figures([row.rtf_p50, row.rtf_p95], 4),
    "Step ms p50 / p95": lambda row, _: figures([row.step_ms_p50, row.step_ms_p95], 2),
    "Decoding ms p50 / p95": lambda row, _: figures([row.decode_ms_p50, row.decode_ms_p95], 2),
    "Words taken back per word": lambda row, _: figures([row.churn], 2),
    "First partial ms, from speech onset p50 / p95": lambda row, _: figures(
        [row.first_partial_onset_ms_p50, row.first_partial_onset_ms_p95], 0
    ),
    "Finalization ms p50 / p95": lambda row, _: figures([row.final_ms_p50, row.final_ms_p95], 1),
    "Peak memory MB": lambda row, _: memory_label(row),
}
ENDED: dict[str, Cell] = {
    **LABELS,
    "Language model": SPEECH["Language model"],
    **{name: lambda row, _, cell=cell: cell(row) for name, cell in ENDPOINTS.items()},  # type: ignore[misc]
}
SEVERAL: dict[str, Cell] = {
    **LABELS,
    **{name: lambda row, _, cell=cell: cell(row) for name, cell in STREAMS.items()},  # type: ignore[misc]
}
STEPS: dict[str, Cell] = {
    **LABELS,
    "Pace": SPEECH["Pace"],
    "Step ms p50 / p95 / p99": lambda row, _: figures([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 2),
    "Floor ms": lambda row, _: figures([row.floor_ms], 3),
    "Kernels a step": lambda row, _: figures([row.launches_per_step], 0),
    "Further RNN-T turns a step": lambda row, _: figures([row.further_turns_per_step], 2),
    "GPU memory MB": lambda row, _: figures([row.peak_gpu_memory_mb], 0),
    "Plan MB": lambda row, _: figures([row.plan_mb], 0),
    "Start to first result s": lambda row, _: figures([row.first_result_s], 1),
}
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
WATERFALL = (*LABELS, "Language model", "Data", "Stage", "Mean ms", "p50 ms", "p95 ms")
"""Of the first text."""


def appendix(results: Path) -> str:
    """The page of a folder's result files. Raises InputError for a broken one."""
    found = read_results(results)
    rows = [
        (row, result.provenance)
        for result in found.values()
        for row in result.rows
        if (row.limit, row.combination, row.rung) == (None, None, None)
    ]
    ended = [each for each in rows if each[0].mode == "endpoint"]
    stages = [cells for row, provenance in ended for cells in _waterfall(row, provenance)]
    ablations = {name: result for name, result in found.items() if is_ablation(result)}
    images = [
        f"![{path.stem}]({path.name})"
        for name, result in ablations.items()
        for path in plot_paths(Path(f"{name}.json"), result)
    ]
    combined = [cells for result in ablations.values() for cells in _combinations(result)]
    sections = {
        "Speech": _of_rows(SPEECH, [each for each in rows if each[0].mode not in ("steps", "endpoint", "streams")]),
        "Endpoints, latencies in ms p50 / p95": _of_rows(ENDED, ended),
        "From speech onset to the first text": markdown.table(WATERFALL, stages) if stages else "",
        "The step alone": _of_rows(STEPS, [each for each in rows if each[0].mode == "steps"]),
        "Streams at once, a thread each": _streams(list(found.values())),
        "The ladder": _ladder(list(found.values())),
        "The ablation": "\n\n".join([markdown.table((*LABELS, *COLUMNS), combined), *images]) if combined else "",
        "INT8 against FP32 on calibration speech": "\n\n".join(map(_accuracy, read_accuracy(results))),
        "Left out": _left_out(found),
        "Barge-in": "\n\n".join(map(_bargein, read_bargein(results).values())),
    }
    parts = [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join([INTRODUCTION, *parts]) + "\n"


def _of_rows(columns: dict[str, Cell], rows: Sequence[tuple[Row, Provenance]]) -> str:
    """A table; columns that no row has a figure for are not in it."""
    cells = {name: [cell(*each) for each in rows] for name, cell in columns.items()}
    kept = {name: values for name, values in cells.items() if any(value != "-" for value in values)}
    return markdown.table(list(kept), zip(*kept.values(), strict=True)) if rows else ""


def _waterfall(row: Row, provenance: Provenance) -> list[tuple[str, ...]]:
    labels = [cell(row, provenance) for cell in LABELS.values()]
    return [(*labels, row.lm or "none", row.data, stage, *values) for stage, values in waterfall_cells(row).items()]


def _streams(results: Sequence[ResultFile]) -> str:
    runs = [each for each in results if each.rows and each.rows[0].mode == "streams" and each.rows[0].limit is None]
    rows = [(row, each.provenance) for each in runs for row in each.rows]
    said = [
        f"- {', '.join(cell(each.rows[0], each.provenance) for cell in LABELS.values())}: {sentence(each.rows)}"
        for each in runs
    ]
    return "\n\n".join([_of_rows(SEVERAL, rows), "\n".join(said)]) if runs else ""


def _ladder(results: Sequence[ResultFile]) -> str:
    cells = [_rung(fast, paced, result.provenance) for result in results for fast, paced in measured_rungs(result)]
    return markdown.table(LADDER, cells) if cells else ""


def _rung(row: Row, paced: Row, provenance: Provenance) -> tuple[str, ...]:
    return (
        model_label(row),
        row.rung or "",
        row.precision,
        where_label(row, provenance),
        figures([row.step_ms_p50, row.step_ms_p99], 2),
        figures([paced.step_ms_p50], 2),
        figures([row.floor_ms], 3),
        figures([row.launches_per_step], 0),
        figures([row.peak_gpu_memory_mb], 0),
        figures([row.times_runtime], 1),
    )


def _combinations(result: ResultFile) -> list[tuple[str, ...]]:
    provenance = result.provenance
    rows = []
    for each in combinations(result):
        engine = engine_label(each.row.model_copy(update={"cuda_graph": None}), provenance)
        labels = (model_label(each.row), each.precision, engine, where_label(each.row, provenance))
        rows.append((*labels, *(cell(each) for cell in COLUMNS.values())))
    return rows


def _left_out(found: dict[str, ResultFile]) -> str:
    """What a ladder or an ablation of whole data sets did not measure, and why."""
    return "\n\n".join(
        f"{name}:\n" + "\n".join(f"- {what}: {reason}" for what, reason in result.left_out.items())
        for name, result in found.items()
        if result.left_out and (is_ablation(result) or not combinations(result))
    )


def _accuracy(report: AccuracyReport) -> str:
    tables = [
        (title, markdown.table(headers, rows)) for title, headers, rows in (layers_table(report), drift_table(report))
    ]
    parts = [
        f"{report.model}, {report.lookahead_ms} ms, onnxruntime-cpu.",
        *(f"{title}:\n\n{table}" for title, table in tables),
    ]
    return "\n\n".join(parts)


def _bargein(result: BargeInFile) -> str:
    token = ", a confirming token" if result.rules["confirming_token"] else ""
    title = f"{result.model}, {result.lookahead_ms} ms, {result.precision} on {result.backend}{token}:"
    note = (
        "Without the reference an alarm by the echo up to 200 ms before the onset passes for a detection. "
        "Stale: partials from before the cut. Leaks: transcripts that differ from a fresh stream's."
    )
    return "\n\n".join(
        [
            title,
            markdown.table(list(BARGE_IN), cells_of(result)),
            "With the reference, at all echoes, by the level of the user's speech:",
            markdown.table(list(BY_LEVEL), cells_by_level(result)),
            f"Scenes: {result.definitions['scenes']}. {note}",
        ]
    )
