"""bench/results/README.md: every figure of the published result files, in tables."""

from collections.abc import Sequence
from itertools import chain, starmap
from operator import attrgetter
from pathlib import Path

from bench.figures import Column
from bench.pages.combinations import COSTS, DECIDING, TIMES, combinations, is_ablation
from bench.pages.plots import ablation_plots
from bench.pages.report_tables import accuracy_tables, bargein_tables
from bench.pages.result_tables import (
    ENDPOINTS,
    FINAL,
    FIRST_PARTIAL,
    MEMORY,
    PACE,
    SPEECH,
    STEPS,
    STREAMS,
    WATERFALL,
    streams_sentence,
    waterfall_cells,
)
from bench.pages.tables import LABELS, Labelled, Table, labelled, markdown, rows_of, table
from bench.results import EndpointRow, ResultFile, SpeechRow, StepRow, StreamsRow, read_results
from bench.speech.bargein import BargeInFile
from bench.step.int8_accuracy import AccuracyReport
from bench.step.ladder import ladder_rows

INTRODUCTION = """# All figures

Made by `make results` from the files of this folder, which hold provenance (hardware, versions, commit, data hash), the definition of
every figure and each utterance's transcript. What was not measured is a dash. Rows measured on a CPU are functional checks: their
error rates hold, their times and memory are no result. [RESULTS.md](../../RESULTS.md) has what matters of it."""

LM = Column("Language model", lambda row: row.lm or "none")


def all_figures(folder: Path) -> str:
    """Return the page of a folder's result files. Raises InputError for a broken one."""
    found = read_results(folder)
    results = list(found.values())

    ended = [text for text in rows_of(results, EndpointRow) if _is_shown(text.row)]
    speech, steps, streams = (
        [measured for measured in rows_of(results, kind) if _is_shown(measured.row)]
        for kind in (SpeechRow, StepRow, StreamsRow)
    )
    ladder = [Labelled(row, file.provenance) for file in results for pair in ladder_rows(file) for row in pair]
    sections = {
        "Speech": [labelled((SPEECH[0], PACE, LM, *SPEECH[1:-1], FIRST_PARTIAL, FINAL, MEMORY), speech)],
        "Endpoints": [labelled((LM, *ENDPOINTS), ended)],
        "From speech onset to the first text": [_waterfalls(ended)],
        "The step alone": [labelled(STEPS, steps)],
        "Streams at once, a thread each": [labelled(STREAMS, streams), *map(_streams, results)],
        "The ladder": [labelled((Column("Rung", attrgetter("rung")), *STEPS), ladder)],
        "The ablation": _ablations({name: result for name, result in found.items() if is_ablation(result)}),
        "INT8 against FP32 on calibration speech": chain.from_iterable(
            map(_accuracy, read_results(folder, AccuracyReport).values())
        ),
        "Left out": starmap(_left_out, found.items()),
        "Barge-in": chain.from_iterable(map(_bargein, read_results(folder, BargeInFile).values())),
    }
    written = {title: "\n\n".join(filter(None, parts)) for title, parts in sections.items()}
    return "\n\n".join([INTRODUCTION, *(f"## {title}\n\n{text}" for title, text in written.items() if text)]) + "\n"


def _is_shown(row: object) -> bool:
    """Return whether it is of a whole data set, and neither of an ablation nor of a ladder, which have tables of their own."""
    return (getattr(row, "limit", None), getattr(row, "combination", None), getattr(row, "rung", None)) == (None,) * 3


def _waterfalls(ended: Sequence[Labelled[EndpointRow]]) -> str:
    labels = table("", (*LABELS, LM.of("row"), Column("Data", attrgetter("row.data"))), ended)
    rows = [
        [*left, *stage] for left, text in zip(labels.rows, ended, strict=True) for stage in waterfall_cells(text.row)
    ]
    return markdown(Table("", [*labels.columns, *WATERFALL], rows)) if rows else ""


def _streams(result: ResultFile) -> str:
    rows = result.rows_of(StreamsRow)
    if not any(map(_is_shown, rows)):
        return ""
    labels = ", ".join(label.cell(Labelled(rows[0], result.provenance)) for label in LABELS)
    return f"- {labels}: {streams_sentence(rows)}"


def _ablations(ablations: dict[str, ResultFile]) -> list[str]:
    compared = list(chain.from_iterable(map(combinations, ablations.values())))
    plots = [f"{name}-{plot.name}" for name, result in ablations.items() for plot in ablation_plots(result)]
    shown = markdown(table("", (*LABELS, *DECIDING, *COSTS, *TIMES), compared)) if compared else ""
    return [shown, *(f"![{plot}]({plot}.svg)" for plot in plots)]


def _left_out(name: str, result: ResultFile) -> str:
    """Return what a ladder or an ablation of whole data sets did not measure, and why."""
    lines = [f"- {what}: {reason}" for what, reason in result.left_out.items()]
    return "\n".join([f"{name}:", *lines]) if lines and (is_ablation(result) or not combinations(result)) else ""


def _accuracy(report: AccuracyReport) -> list[str]:
    return [f"{report.model}, {report.lookahead_ms} ms, onnxruntime-cpu.", *map(_titled, accuracy_tables(report))]


def _bargein(result: BargeInFile) -> list[str]:
    note = (
        "Without the reference an alarm by the echo up to 200 ms before the onset passes for a detection. "
        "Stale: partials from before the cut. Leaks: transcripts that differ from a fresh stream's."
    )
    return [*map(_titled, bargein_tables(result)), f"Scenes: {result.definitions['scenes']}. {note}"]


def _titled(shown: Table) -> str:
    return f"{shown.title}:\n\n{markdown(shown)}"
