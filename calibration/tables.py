"""What the sensitivity search and the accuracy report found, as tables of 120 columns."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.score.bootstrap import label
from calibration.compare import StepError
from calibration.search import Sensitivity

if TYPE_CHECKING:
    from bench.step.int8_accuracy import Accuracy, AccuracyReport

Cells = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""A table's title, headers and rows."""


def print_search(found: Sensitivity, console: Console) -> None:
    """The methods, the groups, the lists, and WER."""
    title = f"log-probabilities, rms error / frames changed, over {found.group_minutes:.1f} minutes"
    table = _table(f"INT8 alone: {title}", "in INT8", *found.methods)
    for group in found.groups[found.method]:
        table.add_row(group, *(_error(errors.get(group)) for errors in found.groups.values()))
    table.add_row("everything", *map(_error, found.methods.values()))
    console.print(table)
    title = f"log-probabilities over {found.minutes:.1f} minutes, at most {found.bound:.1%} of the frames changed"
    table = _table(f"Fall-back, {found.method}:\n{title}", "products in FP16", "of the weights", "rms / changed")
    for each in found.lists:
        table.add_row(str(len(each.products)), f"{each.weights:.1%}", _error(each.error))
    console.print(table)
    wer = found.wer
    console.print(
        f"WER of the calibration speech, {wer.words} words: FP32 {wer.wer_a:.2f} %, INT8 with the last list {wer.wer_b:.2f} %, "
        f"points between them {label(wer.points, wer.low, wer.high)}",
        highlight=False,
        soft_wrap=True,
    )
    if found.kept:
        console.print(f"in FP16: {', '.join(found.kept)}", highlight=False, soft_wrap=True)


def print_accuracy(found: "AccuracyReport", console: Console) -> None:
    """Cosines by layer, what comes out, and the drift of one stream."""
    for title, headers, rows in (layers_table(found), drift_table(found)):
        table = _table(title, *headers)
        for cells in rows:
            table.add_row(*cells)
        console.print(table)


def layers_table(found: "AccuracyReport") -> Cells:
    """Cosines by layer, and the error of what comes out, a column per method."""
    title = f"Cosine of INT8's frames with FP32's, mean, and error of the log-probabilities, over {found.minutes:.1f} minutes"
    rows = [(layer, *(f"{each.layers[layer].mean:.4f}" for each in found.rows)) for layer in found.rows[0].layers]
    rows += [
        ("encoded", *(f"{each.encoded.mean:.4f}" for each in found.rows)),
        ("encoded, least", *(f"{each.encoded.least:.4f}" for each in found.rows)),
        ("rms error", *(f"{each.log_probs.rms:.3f}" for each in found.rows)),
        ("frames changed", *(f"{each.log_probs.changed:.2%}" for each in found.rows)),
    ]
    return title, ("frames", *map(_setting, found.rows)), rows


def drift_table(found: "AccuracyReport") -> Cells:
    """One stream through each method's step, at several ages."""
    title = "One stream: frames since the mark before, relative error of the state"
    headers = ("steps", "method", "cosine, encoded", "rms / changed", "kv_cache", "time_cache")
    rows: list[tuple[str, ...]] = []
    for steps in found.rows[0].drift:
        for each in found.rows:
            at = each.drift[steps]
            errors = (f"{at.kv_cache:.3f}", f"{at.time_cache:.3f}")
            rows.append((f"{steps:,}", _setting(each), f"{at.encoded.mean:.4f}", _error(at.log_probs), *errors))
    return title, headers, rows


def _setting(row: "Accuracy") -> str:
    return f"{row.method}, {len(row.kept)} in FP16" if row.kept else row.method


def _table(title: str, *headers: str) -> Table:
    table = Table(title=title)
    for index, header in enumerate(headers):
        table.add_column(header.replace("_9", "\n9"), justify="right" if index else "left")
    return table


def _error(error: StepError | None) -> str:
    return "-" if error is None else f"{error.rms:.3f} / {error.changed:.2%}"
