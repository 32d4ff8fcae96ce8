"""`python -m bench compare`: two result files side by side, and what differs between them beyond noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import tyro
from rich.console import Console

from bench.figures import CHECK, FIGURES, data_label, figure_name, graph_label
from bench.pages.tables import Table
from bench.pages.terminal import print_table
from bench.results import ResultFile, pairs_of, read_result, records_of
from bench.rows import Row, SpeechRow, UtteranceRecord
from bench.score.bootstrap import RESAMPLES, Difference, Interval, label, paired_difference, percentile_interval
from bench.summary import together
from runtime.errors import InputError

COMPARED = (
    *(f"{name}_{percent}" for name in ("rtf", "first_partial_onset_ms", "final_ms") for percent in ("p50", "p95")),
    *(f"{name}_{percent}" for name in ("step_ms", "chunk_ms") for percent in ("p50", "p95", "p99")),
    "peak_gpu_memory_mb",
    "plan_mb",
)
"""Keys of rows."""

OF_A_CLIP: dict[str, Callable[[UtteranceRecord], float | None]] = {
    "rtf": lambda record: None if record.busy_s is None else record.busy_s / record.audio_s,
    **{key: attrgetter(key) for key in ("first_partial_onset_ms", "final_ms")},
}
"""What a key of COMPARED, without its percentile, is a percentile of."""

NOISE = (
    f"Intervals: the middle 95 % of {RESAMPLES:,} paired bootstrap resamples of the clips: chance in which clips they are. A slower day of "
    "the machine shifts them all: for that measure twice, and compare A with A."
)


@dataclass(frozen=True)
class Options:
    """The two files."""

    first: tyro.conf.Positional[Path]
    """Result file A."""
    second: tyro.conf.Positional[Path]
    """Result file B."""


@dataclass(frozen=True)
class Change:
    """A figure of both files."""

    a: float
    b: float
    interval: Interval | None
    """Of B less A; None: of a figure that is no percentile over clips, or of too few."""


@dataclass(frozen=True)
class Comparison:
    """What both files measured: one data set in one mode, all data sets clip by clip, or the steps."""

    data: str
    """What it is of, as the tables call it."""
    difference: Difference | None
    """Of B's WER from A's; None where one of them has none."""
    figures: dict[str, Change]
    """By key of COMPARED, those that both have."""


def compare(a: ResultFile, b: ResultFile) -> list[Comparison]:
    """Return what both files measured, in A's order; several data sets that were fed clip by clip also as one.

    Raises:
        InputError: the files have no row in common, one has rows that cannot be told apart, or their clips differ.
    """
    rows_a, rows_b = _by_kind(a), _by_kind(b)
    common = [(row, rows_b[kind]) for kind, row in rows_a.items() if kind in rows_b]
    if not common:
        found = ("; ".join(dict.fromkeys(map(_name, each.rows))) for each in (a, b))
        raise InputError(
            f"expected two result files of the same data sets and modes, found {' in A and '.join(found)} in B"
        )
    # The ablation has a row for all data sets together.
    spoken = [pair for pair in common if pair[0].mode == "utterance" and pair[0].combination is None]
    both = []
    for side, result in zip(zip(*spoken, strict=True), (a, b), strict=False):
        rows = [row for row in side if isinstance(row, SpeechRow)]
        both.append(together(rows, [record for row in rows for record in records_of(result.utterances, row)]))
    common += zip(*both, strict=True)
    return [
        _compared(row, other, records_of(a.utterances, row), records_of(b.utterances, other)) for row, other in common
    ]


def _compared(row: Row, other: Row, left: Sequence[UtteranceRecord], right: Sequence[UtteranceRecord]) -> Comparison:
    scored = None not in (getattr(row, "wer", None), getattr(other, "wer", None))
    pairs = pairs_of(left, right) if scored or (left and right) else []
    figures = {}
    for key in COMPARED:
        value, other_value = getattr(row, key, None), getattr(other, key, None)
        if value is not None and other_value is not None:
            interval = None
            if pairs and (of_a_clip := OF_A_CLIP.get(figure_name(key))):
                clips, other_clips = (list(map(of_a_clip, side)) for side in zip(*pairs, strict=True))
                interval = percentile_interval(clips, other_clips, float(key.rpartition("_p")[2]))
            figures[key] = Change(value, other_value, interval)
    return Comparison(_name(row), paired_difference(pairs) if scored else None, figures)


def run(options: Options, argv: Sequence[str], console: Console) -> None:  # noqa: ARG001 -- a command's arguments
    """Print how B differs from A. Raises InputError as `compare` does, and where a file is missing or none."""
    a, b = read_result(options.first), read_result(options.second)
    compared = compare(a, b)
    for side, path, result in (("A", options.first, a), ("B", options.second, b)):
        console.print(f"{side}: {path}: {_measured(result)}", highlight=False, markup=False, soft_wrap=True)
    for shown in (_error_rates(compared), *map(_figures, compared)):
        if shown.rows:
            print_table(shown, console)
    if any(change.interval for comparison in compared for change in comparison.figures.values()):
        console.print(NOISE, highlight=False)
    if a.functional_check or b.functional_check:
        console.print(CHECK, style="bold yellow")


def _error_rates(compared: Sequence[Comparison]) -> Table:
    rows = []
    for comparison in compared:
        if (found := comparison.difference) is not None:
            interval = None if found.low is None or found.high is None else (found.low, found.high)
            answer = _answer(interval, "lower")
            change = label(found.points, found.low, found.high)
            rows.append([comparison.data, f"{found.wer_a:.2f}", f"{found.wer_b:.2f}", change, answer, str(found.words)])
    return Table("", ["Data", "WER % of A", "of B", "B - A, points (95 %)", "Beyond noise", "Words"], rows)


def _figures(comparison: Comparison) -> Table:
    rows = []
    for key, pair in comparison.figures.items():
        name = figure_name(key)
        figure, percent = FIGURES[name], key.removeprefix(name).removeprefix("_")
        shown = ", ".join(filter(None, (f"{figure.title} {percent}".strip(), figure.unit)))
        change = f"{100 * (pair.b / pair.a - 1):+.1f} %" if pair.a else "-"
        span = "-" if pair.interval is None else " to ".join(f"{bound:+.3g}" for bound in pair.interval)
        rows.append([shown, f"{pair.a:.4g}", f"{pair.b:.4g}", change, span, _answer(pair.interval, figure.better)])
    return Table(comparison.data, ["Figure", "A", "B", "Change", "B - A, 95 %", "Beyond noise"], rows)


def _answer(interval: Interval | None, better: str | None) -> str:
    """Return whether a change is beyond noise and, where one direction is better, which it is."""
    if interval is None:
        return "-"
    if not beyond_noise(interval):
        return "no"
    lower = interval[1] < 0
    return "yes" if not better else "yes, better" if lower == (better == "lower") else "yes, worse"


def _by_kind(result: ResultFile) -> dict[tuple[object, ...], Row]:
    """Return the rows by what they have in common with those of another file, whose model, precision or machine may be another."""
    rows: dict[tuple[object, ...], Row] = {}
    for row in result.rows:
        keys = ["data", "mode", "limit", "streams", "rung", "combination"]
        keys += ["pace"] if row.mode == "steps" else []
        keys += ["precision", "cuda_graph"] if getattr(row, "rung", None) or row.combination else []
        kind = tuple(getattr(row, key, None) for key in keys)
        if kind in rows:
            raise InputError(
                f"expected one row of {_name(row)} in a result file, found two; compare files of one run each"
            )
        rows[kind] = row
    return rows


def beyond_noise(interval: Interval | None) -> bool | None:
    """Return whether a change's interval leaves out no change; None without one."""
    return None if interval is None else interval[0] > 0 or interval[1] < 0


def _name(row: Row) -> str:
    rung = getattr(row, "rung", None)
    of_one_run = row.combination or (f"{rung}, {row.precision}" if rung else None)
    return data_label(row) if of_one_run is None else f"{of_one_run}, {data_label(row)}{graph_label(row)}"


def _how(row: Row) -> str:
    return f", {row.lm or 'greedy'}, pace {row.pace}" if isinstance(row, SpeechRow) else ""


def _measured(result: ResultFile) -> str:
    """Return what a file's rows are of, and where they were measured."""
    of = dict.fromkeys(
        f"{row.model}, {row.lookahead_ms} ms, {row.precision} on {row.backend}{_how(row)}" for row in result.rows
    )
    more = f" and {len(of) - 1} more" if len(of) > 1 else ""
    return f"{next(iter(of))}{more}; {result.provenance.gpu or result.provenance.cpu}"
