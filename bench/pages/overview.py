"""RESULTS.md's main table: one row a configuration, its data sets side by side."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from operator import attrgetter

from bench.figures import Column, column, shown
from bench.pages.result_tables import FINAL, FIRST_PARTIAL
from bench.pages.tables import PRECISION, Labelled, markdown, table
from bench.results import SEVERAL, ResultFile, Row, SpeechRow, StepRow, records_of
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
class Configuration(Labelled[SpeechRow | StepRow]):
    """A model in one precision on one engine, as one result file has it: all data sets together, or the steps at the pace of speech."""

    rows: Sequence[SpeechRow | StepRow]
    """Of its data sets, or of its paces."""

    @property
    def lm(self) -> str:
        """The language model's name; empty without one."""
        return getattr(self.row, "lm", None) or ""

    @property
    def engine(self) -> str:
        """What ran the model, and how it was fed."""
        paced = ", real time" if self.row.pace == "realtime" else ""
        return super().engine + {"offline": ", whole clips", "steps": ", steps"}.get(self.row.mode, paced)

    @property
    def timed(self) -> Row | None:
        """The row whose times are shown."""
        return None if self.on_cpu else self.row

    @property
    def recognises(self) -> tuple[str, int, str, str]:
        """What its error rate is of, whatever it ran on."""
        return self.row.model, self.row.lookahead_ms, self.lm, self.row.decoder


def overview(results: Sequence[ResultFile]) -> str:
    """Return the table: all measured on a GPU; of a CPU NeMo's own error rates, and what no row of a GPU recognises with."""
    found = [configuration for result in results for configuration in configurations(result)]
    by_gpu = {configuration.recognises for configuration in found if not configuration.on_cpu}
    kept = sorted(
        (configuration for configuration in found if _is_shown(configuration, by_gpu)),
        # Trained weights first, a GPU's rows before a CPU's.
        key=lambda shown: (shown.row.weights != "trained", shown.recognises[:2], shown.on_cpu, shown.recognises),
    )
    data = list(
        dict.fromkeys(row.data for configuration in kept for row in configuration.rows if isinstance(row, SpeechRow))
    )

    def error_rates(configuration: Configuration) -> str:
        rates = {row.data: getattr(row, "wer", None) for row in configuration.rows}
        return shown([rates.get(name) for name in data], 2)

    columns = (
        Column("Model", lambda configuration: ", ".join(filter(None, (configuration.model, configuration.lm)))),
        PRECISION,
        Column("Engine", attrgetter("engine")),
        Column(f"WER %{': ' if data else ''}{' / '.join(data)}", error_rates),
        *(figure.of("timed") for figure in TIMED),
        Column("GPU", lambda configuration: NO_RESULT if configuration.on_cpu else configuration.where),
    )
    return markdown(table("", columns, kept))


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


def _is_shown(configuration: Configuration, by_gpu: Container[object]) -> bool:
    mode, known = configuration.row.mode, configuration.recognises in by_gpu
    return not configuration.on_cpu or mode == "offline" or (mode != "steps" and not known)
