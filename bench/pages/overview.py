"""RESULTS.md's main table: one row a configuration, its data sets side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from bench.figures import column, model_label, on_cpu, precision_label, shown
from bench.pages.markdown import engine_label, markdown
from bench.pages.tables import FINAL, FIRST_PARTIAL, Table
from bench.results import SEVERAL, Provenance, ResultFile, SpeechRow, StepRow, records_of
from bench.summary import together

NO_RESULT = "none: error rate only, on a CPU"
NOTE = (
    "RTF, first partial and finalization are over all clips, whose frames wait for the clock in rows of `real time` "
    "and follow one another without a wait in others. `steps`: the step alone, at the pace of speech. Rows without a GPU are functional "
    "references: NeMo's own offline forward, and what no GPU has run yet."
)
TIMED = (column("rtf", "p50", "p95"), FIRST_PARTIAL, FINAL, column("peak_gpu_memory_mb"))
RUN = attrgetter("combination", "mode", "lm", "precision", "calibration", "decoder", "backend", "lookahead_ms")
"""What the rows of one configuration share within a result file."""


@dataclass(frozen=True)
class Configuration:
    """A model in one precision on one engine, as one result file has it."""

    rows: Sequence[SpeechRow | StepRow]
    """Of its data sets, or of its paces."""
    whole: SpeechRow | StepRow
    """All data sets together, or the steps at the pace of speech."""
    provenance: Provenance

    @property
    def on_cpu(self) -> bool:
        """Whether it is a functional reference."""
        return on_cpu(self.whole, self.provenance)

    @property
    def recognises(self) -> tuple[object, ...]:
        """What its error rate is of, whatever it ran on."""
        row = self.whole
        return row.model, row.lookahead_ms, row.decoder, getattr(row, "lm", None)


def overview(results: Sequence[ResultFile]) -> str:
    """Return the table: all measured on a GPU; of a CPU NeMo's own error rates, and what no row of a GPU recognises with."""
    found = [configuration for result in results for configuration in configurations(result)]
    by_gpu = {each.recognises for each in found if not each.on_cpu}
    kept = sorted((each for each in found if _is_shown(each, by_gpu)), key=_place)
    data = list(dict.fromkeys(row.data for each in kept for row in each.rows if isinstance(row, SpeechRow)))
    wer = f"WER %{': ' if data else ''}{' / '.join(data)}"
    titles = ["Model", "Precision", "Engine", wer, *(each.title for each in TIMED), "GPU"]
    return markdown(Table("", titles, [_cells(each, data) for each in kept]))


def configurations(result: ResultFile) -> list[Configuration]:
    """Return the file's rows of whole data sets clip by clip, an ablation's too, and of the step alone; no rung of a ladder."""
    speech = [
        row
        for row in result.rows_of(SpeechRow)
        if row.mode != "continuous" and SEVERAL not in row.data and row.limit is None
    ]
    found = []
    for run in dict.fromkeys(map(RUN, speech)):
        rows = [row for row in speech if RUN(row) == run]
        records = [record for row in rows for record in records_of(result.utterances, row)]
        found.append(Configuration(rows, (together(rows, records) or rows)[0], result.provenance))
    steps = [row for row in result.rows_of(StepRow) if (row.combination, row.rung) == (None, None)]
    if steps:
        whole = next((row for row in steps if row.pace == "realtime"), steps[0])
        found.append(Configuration(steps, whole, result.provenance))
    return found


def _is_shown(each: Configuration, by_gpu: set[tuple[object, ...]]) -> bool:
    row = each.whole
    return not each.on_cpu or (isinstance(row, SpeechRow) and (row.mode == "offline" or each.recognises not in by_gpu))


def _place(each: Configuration) -> tuple[object, ...]:
    """Return the sort key: trained weights first, a GPU's rows before a CPU's."""
    row = each.whole
    return row.weights != "trained", row.model, row.lookahead_ms, each.on_cpu, getattr(row, "lm", "") or "", row.decoder


def _cells(each: Configuration, data: Sequence[str]) -> list[str]:
    row = each.whole
    lm = getattr(row, "lm", None)
    how = {"offline": ", whole clips", "steps": ", steps"}.get(
        row.mode, ", real time" if row.pace == "realtime" else ""
    )
    wer = {own.data: own.wer for own in each.rows if isinstance(own, SpeechRow)}
    return [
        f"{model_label(row)}{f', {lm}' if lm else ''}",
        precision_label(row),
        f"{engine_label(row, each.provenance)}{how}",
        shown([wer.get(name) for name in data], 2),
        *(["-"] * len(TIMED) if each.on_cpu else [timed.cell(row) for timed in TIMED]),
        NO_RESULT if each.on_cpu else each.provenance.gpu or "",
    ]
