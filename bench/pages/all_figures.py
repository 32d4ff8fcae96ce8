"""bench/results/README.md: every figure of the published result files, in tables."""

from collections.abc import Sequence
from pathlib import Path

from bench.figures import Column, model_label
from bench.pages.ablation_plots import plot_paths
from bench.pages.bargein_tables import bargein_tables
from bench.pages.combinations import COMBINATION, combinations, is_ablation
from bench.pages.int8_tables import accuracy_tables
from bench.pages.markdown import LABELS, MeasuredRow, engine_label, labelled, markdown, where_label
from bench.pages.tables import (
    ENDPOINTS,
    FINAL,
    FIRST_PARTIAL,
    MEMORY,
    PACES,
    SPEECH,
    STEPS,
    STREAMS,
    WATERFALL,
    Table,
    streams_sentence,
    table,
    waterfall_cells,
)
from bench.results import EndpointRow, OnSpeech, ResultFile, SpeechRow, StepRow, StreamsRow, read_results
from bench.speech.bargein import BargeInFile
from bench.step.int8_accuracy import AccuracyReport
from bench.step.variants import ladder_rows

INTRODUCTION = """# All figures

Made by `make results` from the files of this folder, which hold provenance (hardware, versions, commit, data hash), the definition of
every figure and each utterance's transcript. What was not measured is a dash. Rows measured on a CPU are functional checks: their
error rates hold, their times and memory are no result. [RESULTS.md](../../RESULTS.md) has what matters of it."""

LM = Column("Language model", lambda row: row.lm or "none")
PACE = Column("Pace", lambda row: PACES[row.pace])


def all_figures(folder: Path) -> str:
    """Return the page of a folder's result files. Raises InputError for a broken one."""
    found = read_results(folder)
    results = list(found.values())
    measured = [(row, result.provenance) for result in results for row in result.rows if _is_shown(row)]
    ended = [(row, provenance) for row, provenance in measured if isinstance(row, EndpointRow)]
    streams = [result for result in results if any(map(_is_shown, result.rows_of(StreamsRow)))]
    sections = {
        "Speech": labelled(
            (SPEECH[0], PACE, LM, *SPEECH[1:-1], FIRST_PARTIAL, FINAL, MEMORY), _of_kind(measured, SpeechRow)
        ),
        "Endpoints": labelled((LM, *ENDPOINTS), ended),
        "From speech onset to the first text": _waterfalls(ended),
        "The step alone": labelled(STEPS, _of_kind(measured, StepRow)),
        "Streams at once, a thread each": "\n\n".join(
            [labelled(STREAMS, _of_kind(measured, StreamsRow)), *map(_streams, streams)] if streams else []
        ),
        "The ladder": _ladder(results),
        "The ablation": _ablations({name: result for name, result in found.items() if is_ablation(result)}),
        "INT8 against FP32 on calibration speech": "\n\n".join(
            map(_accuracy, read_results(folder, AccuracyReport).values())
        ),
        "Left out": _left_out(found),
        "Barge-in": "\n\n".join(map(_bargein, read_results(folder, BargeInFile).values())),
    }
    parts = [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join([INTRODUCTION, *parts]) + "\n"


def _is_shown(row: object) -> bool:
    """Return whether it is of a whole data set, and neither of an ablation nor of a ladder, which have tables of their own."""
    return (getattr(row, "limit", None), getattr(row, "combination", None), getattr(row, "rung", None)) == (None,) * 3


def _of_kind(measured: Sequence[MeasuredRow], kind: type[OnSpeech | StepRow]) -> list[MeasuredRow]:
    return [(row, provenance) for row, provenance in measured if isinstance(row, kind)]


def _waterfalls(ended: Sequence[tuple[EndpointRow, object]]) -> str:
    rows = [
        [*(label(row, provenance) for label in LABELS.values()), row.lm or "none", row.data, *cells]  # type: ignore[arg-type]
        for row, provenance in ended
        for cells in waterfall_cells(row)
    ]
    return markdown(Table("", [*LABELS, "Language model", "Data", *WATERFALL], rows)) if rows else ""


def _streams(result: ResultFile) -> str:
    rows = result.rows_of(StreamsRow)
    return f"- {', '.join(label(rows[0], result.provenance) for label in LABELS.values())}: {streams_sentence(rows)}"


def _ladder(results: Sequence[ResultFile]) -> str:
    rung = Column("Rung", lambda row: row.rung)
    rows = [(row, result.provenance) for result in results for pair in ladder_rows(result) for row in pair]
    return labelled((rung, *STEPS), rows)


def _ablations(ablations: dict[str, ResultFile]) -> str:
    if not ablations:
        return ""
    rows, images = [], []
    columns = [shown for name, shown in COMBINATION.items() if name != "name"]
    for name, result in ablations.items():
        compared = combinations(result)
        cells = table("", columns, compared).rows
        for each, right in zip(compared, cells, strict=True):
            engine = engine_label(each.row, result.provenance, graph=False)
            rows.append(
                [model_label(each.row), each.precision, engine, where_label(each.row, result.provenance), *right]
            )
        images += [f"![{path.stem}]({path.name})" for path in plot_paths(Path(f"{name}.json"), result)]
    shown = Table("", [*LABELS, *(each.title for each in columns)], rows)
    return "\n\n".join([markdown(shown), *images])


def _left_out(found: dict[str, ResultFile]) -> str:
    """Return what a ladder or an ablation of whole data sets did not measure, and why."""
    return "\n\n".join(
        f"{name}:\n" + "\n".join(f"- {what}: {reason}" for what, reason in result.left_out.items())
        for name, result in found.items()
        if result.left_out and (is_ablation(result) or not combinations(result))
    )


def _accuracy(report: AccuracyReport) -> str:
    tables = [f"{shown.title}:\n\n{markdown(shown)}" for shown in accuracy_tables(report)]
    return "\n\n".join([f"{report.model}, {report.lookahead_ms} ms, onnxruntime-cpu.", *tables])


def _bargein(result: BargeInFile) -> str:
    token = ", a confirming token" if result.rules["confirming_token"] else ""
    title = f"{result.model}, {result.lookahead_ms} ms, {result.precision} on {result.backend}{token}:"
    everything, by_level = bargein_tables(result)
    note = (
        "Without the reference an alarm by the echo up to 200 ms before the onset passes for a detection. "
        "Stale: partials from before the cut. Leaks: transcripts that differ from a fresh stream's."
    )
    scenes = f"Scenes: {result.definitions['scenes']}. {note}"
    return "\n\n".join([title, markdown(everything), f"{by_level.title}:", markdown(by_level), scenes])
