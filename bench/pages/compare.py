"""`python -m bench compare`: two result files side by side, and what differs between them beyond noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.pages.terminal import CHECK, data_label
from bench.results import ResultFile, Row, UtteranceRecord, read_result, records_of
from bench.score.bootstrap import (
    RESAMPLES,
    Difference,
    Interval,
    label,
    paired_difference,
    pairs_of,
    percentile_interval,
)
from bench.score.rates import percentiles
from runtime.errors import InputError

FIGURES = {
    "RTF p50": "rtf_p50",
    "RTF p95": "rtf_p95",
    "step p50, ms": "step_ms_p50",
    "step p95, ms": "step_ms_p95",
    "step p99, ms": "step_ms_p99",
    "chunk p50, ms": "chunk_ms_p50",
    "chunk p95, ms": "chunk_ms_p95",
    "chunk p99, ms": "chunk_ms_p99",
    "first partial from speech onset p50, ms": "first_partial_onset_ms_p50",
    "first partial from speech onset p95, ms": "first_partial_onset_ms_p95",
    "final from last frame p50, ms": "final_ms_p50",
    "final from last frame p95, ms": "final_ms_p95",
    "peak GPU memory, MB": "peak_gpu_memory_mb",
    "plan, MB": "plan_mb",
}

OF_A_CLIP: dict[str, Callable[[UtteranceRecord], float | None]] = {
    "rtf": lambda each: None if each.busy_s is None else each.busy_s / each.audio_s,
    **{key: attrgetter(key) for key in ("first_partial_onset_ms", "final_ms")},
}
"""What a row's key of FIGURES, without its percentile, is a percentile of."""

NOISE = (
    f"Intervals: the middle 95 % of {RESAMPLES:,} paired bootstrap resamples of the clips: chance in which clips they are. A slower day of "
    "the machine shifts them all: for that measure twice, and compare A with A."
)

ANSWERS = {True: "yes", False: "no", None: "-"}

_Kind = tuple[object, ...]


@dataclass(frozen=True)
class Change:
    """A figure of both files."""

    a: float
    b: float
    interval: Interval | None  # of B less A; None: of a figure that is no percentile over clips, or of too few

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the interval leaves out no change; None without one."""
        return None if self.interval is None else _leaves_out_zero(*self.interval)


@dataclass(frozen=True)
class Comparison:
    """What both files measured: one data set in one mode, all data sets clip by clip, or the steps."""

    data: str  # as the tables call it
    difference: Difference | None  # of B's WER from A's; None where one of them has none
    figures: dict[str, Change]  # of FIGURES, those that both have


def compare(a: ResultFile, b: ResultFile) -> list[Comparison]:
    """What both files measured, in A's order; several data sets that were fed clip by clip also as one.

    Raises:
        InputError: the files have no row in common, one has rows that cannot be told apart, or their clips differ.
    """
    rows_a, rows_b = _by_kind(a), _by_kind(b)
    pairs = [(row, rows_b[kind]) for kind, row in rows_a.items() if kind in rows_b]
    if not pairs:
        raise InputError("expected two result files of the same data sets and modes, found nothing that both measured")
    compared = []
    for row, other in pairs:
        left, right = records_of(a.utterances, row), records_of(b.utterances, other)
        compared.append(
            Comparison(_name(row), _difference([row, other], left, right), _figures(row, other, left, right))
        )
    # The ablation has a row for all data sets together.
    spoken = [pair for pair in pairs if pair[0].mode == "utterance" and pair[0].combination is None]
    if len(spoken) > 1:
        left, right = (
            [record for pair in spoken for record in records_of(result.utterances, pair[side])]
            for side, result in enumerate((a, b))
        )
        rows = [row for pair in spoken for row in pair]
        compared.append(
            Comparison("all of them, utterances", _difference(rows, left, right), _figures(None, None, left, right))
        )
    return compared


def run_compare(first: Path, second: Path, console: Console) -> None:
    """Print how B differs from A. Raises InputError as `compare` does, and where a file is missing or none."""
    a, b = read_result(first), read_result(second)
    compared = compare(a, b)
    for side, path, result in (("A", first, a), ("B", second, b)):
        console.print(f"{side}: {path}: {_measured(result)}", highlight=False, markup=False, soft_wrap=True)
    wer = _table("Data", "WER % of A", "of B", "B - A, points (95 %)", "Beyond noise", "Words")
    figures = _table("Data", "Figure", "A", "B", "Change", "B - A, 95 %", "Beyond noise")
    for each in compared:
        if (found := each.difference) is not None:
            change = label(found.points, found.low, found.high)
            beyond = None if found.low is None or found.high is None else _leaves_out_zero(found.low, found.high)
            wer.add_row(
                each.data, f"{found.wer_a:.2f}", f"{found.wer_b:.2f}", change, ANSWERS[beyond], str(found.words)
            )
        figures.add_section()
        for place, (name, pair) in enumerate(each.figures.items()):
            data = "" if place else each.data
            change = f"{100 * (pair.b / pair.a - 1):+.1f} %" if pair.a else "-"
            span = "-" if pair.interval is None else " to ".join(f"{bound:+.3g}" for bound in pair.interval)
            figures.add_row(data, name, f"{pair.a:.4g}", f"{pair.b:.4g}", change, span, ANSWERS[pair.beyond_noise])
    for table in (wer, figures):
        if table.row_count:
            console.print(table)
    if any(pair.interval for each in compared for pair in each.figures.values()):
        console.print(NOISE, highlight=False)
    if any(row.functional_check for row in (*a.rows, *b.rows)):
        console.print(CHECK, style="bold yellow")


def _by_kind(result: ResultFile) -> dict[_Kind, Row]:
    """The rows by what they have in common with those of another file, whose model, precision or machine may be another."""
    rows: dict[_Kind, Row] = {}
    for row in result.rows:
        of_one_run = () if row.rung is None and row.combination is None else (row.precision, row.cuda_graph)
        pace = row.pace if row.mode == "steps" else None
        kind = (row.data, row.mode, row.limit, row.streams, pace, row.rung, row.combination, *of_one_run)
        if kind in rows:
            raise InputError(
                f"expected one row of {_name(row)} in a result file, found two; compare files of one run each"
            )
        rows[kind] = row
    return rows


def _difference(
    rows: Sequence[Row], left: Sequence[UtteranceRecord], right: Sequence[UtteranceRecord]
) -> Difference | None:
    """Of the error rates over all clips of these rows."""
    return None if any(row.wer is None for row in rows) else paired_difference(left, right)


def _figures(
    a: Row | None, b: Row | None, left: Sequence[UtteranceRecord], right: Sequence[UtteranceRecord]
) -> dict[str, Change]:
    """What two rows of the same clips both have; without rows what the clips say of themselves."""
    pairs = pairs_of(left, right) if left and right else []
    found = {}
    for name, key in FIGURES.items():
        figure, _, percent = key.rpartition("_p")
        of_a_clip = OF_A_CLIP.get(figure)
        sides = [] if of_a_clip is None else [[of_a_clip(pair[side]) for pair in pairs] for side in (0, 1)]
        if a is not None and b is not None:
            values = [getattr(a, key), getattr(b, key)]
        else:
            values = [getattr(percentiles(side), f"p{percent}") for side in sides]
        if values and None not in values:
            interval = percentile_interval(sides[0], sides[1], float(percent)) if sides else None
            found[name] = Change(values[0], values[1], interval)
    return found


def _leaves_out_zero(low: float, high: float) -> bool:
    return low > 0 or high < 0


def _name(row: Row) -> str:
    graph = {True: ", CUDA graph", False: ", no graph", None: ""}[row.cuda_graph]
    of_one_run = row.combination or (f"{row.rung}, {row.precision}" if row.rung else None)
    return data_label(row) if of_one_run is None else f"{of_one_run}, {data_label(row)}{graph}"


def _measured(result: ResultFile) -> str:
    """What a file's rows are of, and where they were measured."""
    of = dict.fromkeys(f"{row.model}, {row.lookahead_ms} ms, {row.precision} on {row.backend}" for row in result.rows)
    more = f" and {len(of) - 1} more" if len(of) > 1 else ""
    return f"{next(iter(of))}{more}; {result.provenance.gpu or result.provenance.cpu}"


def _table(*columns: str) -> Table:
    table = Table()
    for number, header in enumerate(columns):
        table.add_column(header, justify="left" if number == 0 or header == "Figure" else "right")
    return table
