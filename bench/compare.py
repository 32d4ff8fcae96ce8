"""`python -m bench compare`: two result files side by side, and what differs between them beyond noise."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.paired import Difference, label, paired_difference
from bench.results import ResultFile, Row, read_result, records_of
from bench.table import CHECK, data_label
from runtime.errors import InputError

FIGURES = {
    "RTF p50": "rtf_p50",
    "RTF p95": "rtf_p95",
    "step p50, ms": "step_ms_p50",
    "step p95, ms": "step_ms_p95",
    "step p99, ms": "step_ms_p99",
    "first partial from speech onset p50, ms": "first_partial_onset_ms_p50",
    "first partial from speech onset p95, ms": "first_partial_onset_ms_p95",
    "final from last frame p50, ms": "final_ms_p50",
    "final from last frame p95, ms": "final_ms_p95",
    "peak GPU memory, MB": "peak_gpu_memory_mb",
    "plan, MB": "plan_mb",
}

_Kind = tuple[object, ...]


@dataclass(frozen=True)
class Comparison:
    """What both files measured: one data set in one mode, all data sets clip by clip, or the steps."""

    data: str  # as the tables call it
    difference: Difference | None  # of B's WER from A's; None where one of them has none
    figures: dict[str, tuple[float, float]]  # A's and B's of FIGURES, those that both have


def compare(a: ResultFile, b: ResultFile) -> list[Comparison]:
    """What both files measured, in A's order; several data sets that were fed clip by clip also as one.

    Raises:
        InputError: the files have no row in common, one has rows that cannot be told apart, or their clips differ.
    """
    left, right = _by_kind(a), _by_kind(b)
    pairs = [(row, right[kind]) for kind, row in left.items() if kind in right]
    if not pairs:
        raise InputError("expected two result files of the same data sets and modes, found nothing that both measured")
    compared = [
        Comparison(_name(row), _difference((a, [row]), (b, [other])), _figures(row, other)) for row, other in pairs
    ]
    # The ablation has a row for all data sets together.
    spoken = [pair for pair in pairs if pair[0].mode == "utterance" and pair[0].combination is None]
    if len(spoken) > 1:
        rows, others = ([pair[side] for pair in spoken] for side in (0, 1))
        compared.append(Comparison("all of them, utterances", _difference((a, rows), (b, others)), {}))
    return compared


def run_compare(first: Path, second: Path, console: Console) -> None:
    """Print how B differs from A. Raises InputError as `compare` does, and where a file is missing or none."""
    a, b = read_result(first), read_result(second)
    compared = compare(a, b)
    for side, path, result in (("A", first, a), ("B", second, b)):
        console.print(f"{side}: {path}: {_measured(result)}", highlight=False, markup=False, soft_wrap=True)
    wer = _table("Data", "WER % of A", "of B", "B - A, points (95 %)", "Words")
    figures = _table("Data", "Figure", "A", "B", "Change")
    for each in compared:
        if (found := each.difference) is not None:
            change = label(found.points, found.low, found.high)
            wer.add_row(each.data, f"{found.wer_a:.2f}", f"{found.wer_b:.2f}", change, str(found.words))
        for name, (before, after) in each.figures.items():
            change = f"{100 * (after / before - 1):+.1f} %" if before else "-"
            figures.add_row(each.data, name, f"{before:.4g}", f"{after:.4g}", change)
    for table in (wer, figures):
        if table.row_count:
            console.print(table)
    if any(row.functional_check for row in (*a.rows, *b.rows)):
        console.print(CHECK, style="bold yellow")


def _by_kind(result: ResultFile) -> dict[_Kind, Row]:
    """The rows by what they have in common with those of another file, whose model, precision or machine may be another."""
    rows: dict[_Kind, Row] = {}
    for row in result.rows:
        of_one_run = () if row.rung is None and row.combination is None else (row.precision, row.cuda_graph)
        pace = row.pace if row.mode == "steps" else None
        kind = (row.data, row.mode, row.limit, pace, row.rung, row.combination, *of_one_run)
        if kind in rows:
            raise InputError(
                f"expected one row of {_name(row)} in a result file, found two; compare files of one run each"
            )
        rows[kind] = row
    return rows


def _difference(a: tuple[ResultFile, list[Row]], b: tuple[ResultFile, list[Row]]) -> Difference | None:
    """Over all clips of these rows of the two files."""
    if any(row.wer is None for row in (*a[1], *b[1])):
        return None
    first, second = (
        [record for row in rows for record in records_of(result.utterances, row)] for result, rows in (a, b)
    )
    return paired_difference(first, second)


def _figures(a: Row, b: Row) -> dict[str, tuple[float, float]]:
    both = {name: (getattr(a, key), getattr(b, key)) for name, key in FIGURES.items()}
    return {name: pair for name, pair in both.items() if None not in pair}


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
