"""The ablation's combinations, each with its rows together: what its table and its plots show."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.pages.markdown import precision_label
from bench.pages.terminal import CHECK, figures, memory_label
from bench.results import ResultFile, Row
from bench.score import bootstrap as paired


@dataclass(frozen=True)
class Combination:
    """A bundle in one precision, by what was measured of it."""

    speech: Row | None  # all data sets together
    graph: Row | None  # steps back to back in a CUDA graph
    plain: Row | None  # the same without

    @property
    def row(self) -> Row:
        """Any of its rows, for what they share."""
        return next(each for each in (self.graph, self.plain, self.speech) if each is not None)

    @property
    def bundle(self) -> tuple[str, int]:
        """Model and look-ahead in ms."""
        return self.row.model, self.row.lookahead_ms

    @property
    def precision(self) -> str:
        """Precision, and the method of INT8's thresholds."""
        return precision_label(self.row)

    @property
    def steps(self) -> Row | None:
        """The step as the runtime runs it: in a CUDA graph where there are any."""
        return self.graph or self.plain


def combinations(result: ResultFile) -> list[Combination]:
    """A file's combinations, as they were measured; none where it is no ablation."""
    found = []
    for name in dict.fromkeys(row.combination for row in result.rows if row.combination is not None):
        rows = [row for row in result.rows if row.combination == name]
        speech = [row for row in rows if row.mode == "utterance"]
        steps = {bool(row.cuda_graph): row for row in rows if row.mode == "steps" and row.pace == "fast"}
        found.append(
            Combination(speech[-1] if speech else None, steps.get(True), steps.get(False))
        )  # all data sets come last
    return found


def is_ablation(result: ResultFile) -> bool:
    """Whether it is an ablation, and of whole data sets."""
    return bool(combinations(result)) and all(row.limit is None for row in result.rows)


def _of(row: Row | None, keys: str, digits: int) -> str:
    return "-" if row is None else figures([getattr(row, key) for key in keys.split()], digits)


def _step(row: Row | None) -> str:
    return _of(row, "step_ms_p50 step_ms_p95 step_ms_p99", 2)


def _change(row: Row | None) -> str:
    return "-" if row is None else paired.label(row.wer_change, row.wer_change_low, row.wer_change_high)


COLUMNS: dict[str, Callable[[Combination], str]] = {
    "WER %": lambda each: _of(each.speech, "wer", 2),
    "Change from FP32, points (95 %)": lambda each: _change(each.speech),
    "RTF p50 / p95": lambda each: _of(each.speech, "rtf_p50 rtf_p95", 4),
    "Step ms p50 / p95 / p99, CUDA graph": lambda each: _step(each.graph),
    "the same, no graph": lambda each: _step(each.plain),
    "First partial ms, from speech onset p50 / p95": lambda each: _of(
        each.speech, "first_partial_onset_ms_p50 first_partial_onset_ms_p95", 0
    ),
    "Finalization ms p50 / p95": lambda each: _of(each.speech, "final_ms_p50 final_ms_p95", 1),
    "Peak memory MB": lambda each: memory_label(each.speech or each.row),
    "Plan MB": lambda each: _of(each.steps, "plan_mb", 0),
    "Build s": lambda each: _of(each.steps, "build_s", 0),
}
"""Header and cell of what the ablation is about."""

TERMINAL = {
    "WER %": "WER %",
    "From FP32\npoints (95 %)": "Change from FP32, points (95 %)",
    "Step ms, CUDA graph\np50 / p95 / p99": "Step ms p50 / p95 / p99, CUDA graph",
    "Step ms, no graph\np50 / p95 / p99": "the same, no graph",
    "Plan\nMB": "Plan MB",
}


def print_combinations(result: ResultFile, console: Console) -> None:
    """Print what decides between the combinations, readable at 120 columns."""
    table = Table()
    for header in ("Combination", *TERMINAL):
        table.add_column(header, justify="left" if header == "Combination" else "right")
    for each in combinations(result):
        cells = (COLUMNS[name](each) for name in TERMINAL.values())
        table.add_row(f"{each.row.lookahead_ms} ms, {each.precision}", *cells)
    console.print(table)
    if any(row.functional_check for row in result.rows):
        console.print(CHECK, style="bold yellow")
