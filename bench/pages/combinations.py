"""The ablation's combinations: the rows of a bundle in one precision side by side, as its tables and plots show them."""

from dataclasses import dataclass

from bench.figures import Column, change_label, column, memory_label
from bench.pages.tables import Labelled
from bench.results import ResultFile
from bench.rows import Row, SpeechRow, StepRow


@dataclass(frozen=True)
class Combination(Labelled[Row]):
    """A bundle in one precision, by what was measured of it."""

    speech: SpeechRow | None
    """All data sets together."""
    graph: StepRow | None
    """Steps back to back in a CUDA graph."""
    plain: StepRow | None
    """The same without a graph."""

    @property
    def steps(self) -> StepRow | None:
        """The step as the runtime runs it: in a CUDA graph where there are any."""
        return self.graph or self.plain


def combinations(result: ResultFile) -> list[Combination]:
    """Return a file's combinations, as they were measured; none where it is no ablation."""
    found = []
    for name in dict.fromkeys(row.combination for row in result.rows if row.combination is not None):
        rows = [row for row in result.rows if row.combination == name]
        speech = [row for row in rows if isinstance(row, SpeechRow) and row.mode == "utterance"]
        steps = {bool(row.cuda_graph): row for row in rows if isinstance(row, StepRow) and row.pace == "fast"}
        together = speech[-1] if speech else None  # the row of all data sets comes last
        shared = rows[0].with_(cuda_graph=None)  # of both
        found.append(Combination(shared, result.provenance, together, steps.get(True), steps.get(False)))
    return found


def is_ablation(result: ResultFile) -> bool:
    """Return whether it is an ablation, and of whole data sets."""
    return bool(combinations(result)) and all(row.limit is None for row in result.rows_of(SpeechRow))


NAME = Column("Combination", lambda combination: f"{combination.row.lookahead_ms} ms, {combination.precision}")
DECIDING = (
    column("wer").of("speech"),
    Column("From FP32,\npoints (95 %)", lambda combination: change_label(combination.speech)),
    column("step_ms", "p50", "p95", "p99", title="Step, CUDA graph,").of("graph"),
    column("step_ms", "p50", "p95", "p99", title="Step, no graph,").of("plain"),
    column("plan_mb").of("steps"),
)
COSTS = (
    Column("Peak memory\nMB", lambda combination: memory_label(combination.speech or combination.row)),
    column("build_s").of("steps"),
)
TIMES = (
    column("rtf", "p50", "p95").of("speech"),
    column("first_partial_onset_ms", "p50", "p95").of("speech"),
    column("final_ms", "p50", "p95", title="Final").of("speech"),
)
"""Of combinations, each group as wide as a terminal has room for beside the name."""
