"""The ablation's combinations: the rows of a bundle in one precision side by side, as its tables and plots show them."""

from dataclasses import dataclass

from bench.figures import Column, change_label, column, memory_label, precision_label
from bench.results import ResultFile, Row, SpeechRow, StepRow


@dataclass(frozen=True)
class Combination:
    """A bundle in one precision, by what was measured of it."""

    speech: SpeechRow | None
    """All data sets together."""
    graph: StepRow | None
    """Steps back to back in a CUDA graph."""
    plain: StepRow | None
    """The same without a graph."""

    @property
    def row(self) -> Row:
        """Any of its rows, for what they share."""
        return next(row for row in (self.graph, self.plain, self.speech) if row is not None)

    @property
    def bundle(self) -> tuple[str, int]:
        """Model and look-ahead in ms."""
        return self.row.model, self.row.lookahead_ms

    @property
    def precision(self) -> str:
        """Precision, and the method of INT8's thresholds."""
        return precision_label(self.row)

    @property
    def steps(self) -> StepRow | None:
        """The step as the runtime runs it: in a CUDA graph where there are any."""
        return self.graph or self.plain


def combinations(result: ResultFile) -> list[Combination]:
    """Return a file's combinations, as they were measured; none where it is no ablation."""
    found = []
    for name in dict.fromkeys(row.combination for row in result.rows if row.combination is not None):
        speech = [row for row in result.rows_of(SpeechRow) if row.combination == name and row.mode == "utterance"]
        fast = [row for row in result.rows_of(StepRow) if row.combination == name and row.pace == "fast"]
        steps = {bool(row.cuda_graph): row for row in fast}
        # The row of all data sets together comes last.
        found.append(Combination(speech[-1] if speech else None, steps.get(True), steps.get(False)))
    return found


def is_ablation(result: ResultFile) -> bool:
    """Return whether it is an ablation, and of whole data sets."""
    return bool(combinations(result)) and all(row.limit is None for row in result.rows_of(SpeechRow))


def _of(part: str, shown: Column) -> Column:
    """Return a column of one of a combination's rows."""
    return Column(shown.title, lambda combination: shown.cell(getattr(combination, part)))


COMBINATION = {
    "name": Column("Combination", lambda each: f"{each.row.lookahead_ms} ms, {each.precision}"),
    "wer": _of("speech", column("wer")),
    "change": Column("From FP32,\npoints (95 %)", lambda each: change_label(each.speech)),
    "rtf": _of("speech", column("rtf", "p50", "p95")),
    "graph": _of("graph", column("step_ms", "p50", "p95", "p99", title="Step, CUDA graph,")),
    "plain": _of("plain", column("step_ms", "p50", "p95", "p99", title="Step, no graph,")),
    "first partial": _of("speech", column("first_partial_onset_ms", "p50", "p95")),
    "final": _of("speech", column("final_ms", "p50", "p95", title="Final")),
    "memory": Column("Peak memory\nMB", lambda each: memory_label(each.speech or each.row)),
    "plan": _of("steps", column("plan_mb")),
    "build": _of("steps", column("build_s")),
}
"""Name -> column of a table of combinations."""
