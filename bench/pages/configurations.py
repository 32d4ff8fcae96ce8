"""Configurations: a model in one precision on one engine, fed in one way, with all data sets together."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from bench.figures import Column, column, shown
from bench.pages.result_tables import EARLY, FINAL, FIRST_PARTIAL, PACE
from bench.pages.tables import ENGINE, MODEL, PRECISION, WHERE, Labelled
from bench.results import ResultFile, records_of
from bench.rows import SEVERAL, SpeechRow, StepRow
from bench.summary import together

RUN = attrgetter(
    "combination", "mode", "lm", "precision", "calibration", "decoder", "backend", "lookahead_ms", "early_tokens"
)
"""What the rows of one configuration share within a result file."""


@dataclass(frozen=True)
class Configuration(Labelled[SpeechRow | StepRow]):
    """A configuration as one result file has it: its row is of all data sets together, or of the steps at the pace of speech."""

    rows: Sequence[SpeechRow | StepRow]
    """Of its data sets, or of its paces."""

    @property
    def data(self) -> str:
        """Its data sets, in the order of their error rates."""
        return " / ".join(dict.fromkeys(row.data for row in self.rows))

    @property
    def error_rates(self) -> str:
        """The WER of each data set in percent."""
        return shown([getattr(row, "wer", None) for row in self.rows], 2)

    @property
    def fed(self) -> str:
        """How audio came."""
        return {"offline": "whole clips", "steps": "steps alone"}.get(self.row.mode) or PACE.cell(self.row)


CONDITIONS = (
    MODEL,
    WHERE,
    ENGINE,
    Column("Bench", lambda configuration: "ablation" if configuration.row.combination else "-"),
    Column("Data", attrgetter("data")),
    Column("Decoding", lambda configuration: getattr(configuration.row, "lm", None) or "greedy"),
    PRECISION,
    Column("Audio", attrgetter("fed")),
    EARLY.of("row"),
)
FIGURES_OF_ALL = (
    Column("WER %", attrgetter("error_rates")),
    *(each.of("row") for each in (column("rtf", "p50", "p95"), FIRST_PARTIAL, FINAL, column("peak_gpu_memory_mb"))),
)


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
        found.append(Configuration((together(rows, records) or rows)[0], result.provenance, rows))
    steps = [row for row in result.rows_of(StepRow) if (row.combination, row.rung) == (None, None)]
    if steps:
        paced = next((row for row in steps if row.pace == "realtime"), steps[0])
        found.append(Configuration(paced, result.provenance, steps))
    return found
