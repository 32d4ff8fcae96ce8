"""RESULTS.md's main table: one row a configuration, its data sets side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from bench.pages import markdown
from bench.pages.terminal import figures
from bench.results import SEVERAL, Provenance, ResultFile, Row, records_of
from bench.speech.measure import together

NO_RESULT = "none: error rate only, on a CPU"
NOTE = (
    "RTF, first partial (from speech onset) and finalization are over all clips, whose frames wait for the clock in rows of `real time` "
    "and follow one another without a wait in others. `steps`: the step alone, at the pace of speech. Rows without a GPU are functional "
    "references: NeMo's own offline forward, and what no GPU has run yet."
)

_one = attrgetter(
    "model", "weights", "lookahead_ms", "decoder", "lm", "precision", "calibration", "backend", "cuda_graph", "mode"
)


@dataclass(frozen=True)
class Configuration:
    """A model in one precision on one engine, as one result file has it."""

    rows: list[Row]  # of its data sets
    whole: Row  # all of them together
    provenance: Provenance

    @property
    def on_cpu(self) -> bool:
        """Whether it is a functional reference."""
        return markdown.on_cpu(self.whole, self.provenance)

    @property
    def recognises(self) -> tuple[object, ...]:
        """What its error rate is of, whatever it ran on."""
        row = self.whole
        return row.model, row.lookahead_ms, row.decoder, row.lm


def overview(results: Sequence[ResultFile]) -> str:
    """The table: all measured on a GPU; on a CPU NeMo's own error rates, and what no row of a GPU recognises with."""
    found = [each for result in results for each in _configurations(result)]
    on_gpu = {each.recognises for each in found if not each.on_cpu}
    shown = [
        each
        for each in found
        if not each.on_cpu
        or (each.whole.mode != "steps" and (each.whole.mode == "offline" or each.recognises not in on_gpu))
    ]
    shown.sort(key=_place)
    data = list(dict.fromkeys(row.data for each in shown if each.whole.mode != "steps" for row in each.rows))
    columns = (
        "Model",
        "Precision",
        "Engine",
        f"WER %{': ' if data else ''}{' / '.join(data)}",
        "RTF p50 / p95",
        "First partial ms p50 / p95",
        "Finalization ms p50 / p95",
        "Peak GPU memory MB",
        "GPU",
    )
    return markdown.table(columns, [_cells(each, data) for each in shown])


def _configurations(result: ResultFile) -> list[Configuration]:
    """The file's rows of whole data sets clip by clip, an ablation's too, and of the step alone; no rung of a ladder."""
    of_page = [
        row
        for row in result.rows
        if (row.mode in ("utterance", "offline") and SEVERAL not in row.data)
        or (row.mode == "steps" and row.combination is None)
        if (row.limit, row.rung) == (None, None)
    ]
    found = []
    for name in dict.fromkeys(map(_one, of_page)):
        rows = [row for row in of_page if _one(row) == name]
        if rows[0].mode == "steps":
            whole = next((row for row in rows if row.pace == "realtime"), rows[0])
        else:
            records = [each for row in rows for each in records_of(result.utterances, row)]
            whole = (together(rows, records, rows[0].data.rpartition("_")[2]) or rows)[0]
        found.append(Configuration(rows, whole, result.provenance))
    return found


def _place(each: Configuration) -> tuple[object, ...]:
    """Trained weights first, a GPU's rows before a CPU's."""
    row = each.whole
    return row.weights != "trained", row.model, row.lookahead_ms, each.on_cpu, row.lm or "", row.decoder


def _cells(each: Configuration, data: Sequence[str]) -> tuple[str, ...]:
    row = each.whole
    lm = "" if row.lm is None else f", {row.lm}"
    paced = ", real time" if row.pace == "realtime" else ""
    how = {"offline": ", whole clips", "steps": ", steps"}.get(row.mode, paced)
    wer = {one.data: one.wer for one in each.rows}
    timed = (
        ("-",) * 4 + (NO_RESULT,)
        if each.on_cpu
        else (
            figures([row.rtf_p50, row.rtf_p95], 4),
            figures([row.first_partial_onset_ms_p50, row.first_partial_onset_ms_p95], 0),
            figures([row.final_ms_p50, row.final_ms_p95], 1),
            figures([row.peak_gpu_memory_mb], 0),
            each.provenance.gpu or "",
        )
    )
    return (
        f"{markdown.model_label(row)}{lm}",
        markdown.precision_label(row),
        f"{markdown.engine_label(row, each.provenance)}{how}",
        figures([wer.get(name) for name in data], 2),
        *timed,
    )
