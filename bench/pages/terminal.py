"""The result tables on the terminal, readable at 120 columns."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.results import ResultFile, Row, write_result

CHECK = "functional check on the CPU: these figures are no result"

Cell = Callable[[Row], str]


def figures(values: Sequence[float | None], digits: int) -> str:
    """Figures side by side, `12.3 / 14.5`; a dash for what was not measured."""
    if all(value is None for value in values):
        return "-"
    return " / ".join("-" if value is None else f"{value:.{digits}f}" for value in values)


def data_label(row: Row) -> str:
    """Data set, how it was fed, and how much of it if not all."""
    how = {
        "utterance": "utterances",
        "continuous": "one stream",
        "offline": "whole clips",
        "steps": f"steps, {row.pace}",
        "endpoint": "endpoints",
        "streams": f"{row.streams} streams",
    }[row.mode]
    return f"{row.data}, {how}" if row.limit is None else f"{row.data}, {how}, first {row.limit}"


def memory_label(row: Row) -> str:
    """Peak memory in MB: the GPU's where there is one, else the host's."""
    if row.peak_gpu_memory_mb is not None:
        return f"{row.peak_gpu_memory_mb:.0f} GPU"
    return "-" if row.peak_host_memory_mb is None else f"{row.peak_host_memory_mb:.0f} host"


SPEED: dict[str, Cell] = {
    "Data": data_label,
    "WER %": lambda row: figures([row.wer], 2),
    "CER %": lambda row: figures([row.cer], 2),
    "RTF\np50 / p95": lambda row: figures([row.rtf_p50, row.rtf_p95], 4),
    "Step ms\np50 / p95 / p99": lambda row: figures([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 2),
    "Decode ms\np50 / p95": lambda row: figures([row.decode_ms_p50, row.decode_ms_p95], 2),
    "Churn": lambda row: figures([row.churn], 2),
    "Peak MB": memory_label,
}
LATENCY: dict[str, Cell] = {
    "Data": data_label,
    "first partial\nfrom audio start": lambda row: figures([row.first_partial_ms_p50, row.first_partial_ms_p95], 0),
    "first partial\nfrom speech onset": lambda row: figures(
        [row.first_partial_onset_ms_p50, row.first_partial_onset_ms_p95], 0
    ),
    "final\nfrom last frame": lambda row: figures([row.final_ms_p50, row.final_ms_p95], 1),
    "final\nfrom speech end": lambda row: figures([row.final_speech_end_ms_p50, row.final_speech_end_ms_p95], 0),
}


ENDPOINTS: dict[str, Cell] = {
    "Data": data_label,
    "Ends found / late / early / missed": lambda row: figures([row.found, row.late, row.early, row.missed], 0),
    "WER %, clips alone": lambda row: figures([row.wer, row.wer_clips], 2),
    "End to decision": lambda row: figures([row.end_decision_ms_p50, row.end_decision_ms_p95], 0),
    "Decision to final": lambda row: figures([row.final_ms_p50, row.final_ms_p95], 1),
    "End to final": lambda row: figures([row.final_speech_end_ms_p50, row.final_speech_end_ms_p95], 0),
    "Onset to first text": lambda row: figures([row.first_partial_onset_ms_p50, row.first_partial_onset_ms_p95], 0),
    "Onset to first correct word": lambda row: figures(
        [row.first_correct_onset_ms_p50, row.first_correct_onset_ms_p95], 0
    ),
}


def waterfall_cells(row: Row) -> dict[str, tuple[str, ...]]:
    """Stage -> mean, p50, p95 in ms, as text."""
    stages = row.waterfall or {}
    return {
        stage.removesuffix("_ms"): tuple(f"{values[key]:.1f}" for key in ("mean", "p50", "p95"))
        for stage, values in stages.items()
    }


def print_endpoints(rows: Sequence[Row], console: Console) -> None:
    """Print endpoint rows, and each one's waterfall to the first text."""
    console.print(_table("Endpoints; latencies in ms, p50 / p95", ENDPOINTS, list(rows)))
    for row in (each for each in rows if each.waterfall):
        table = Table("Stage", "mean", "p50", "p95", title=f"{row.data}: ms from onset to first text")
        for stage, cells in waterfall_cells(row).items():
            table.add_row(stage, *cells)
        console.print(table)


def report(path: Path, result: ResultFile, console: Console) -> None:
    """Write a run's result file and print its rows."""
    write_result(path, result)
    print_rows(result.rows, console)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, dict[str, Cell], list[Row]]]:
    """Title, columns and rows of the tables: rows of one model and engine together, latencies where they were measured."""
    for title, group in groupby(rows, key=_title):
        same = list(group)
        yield title, SPEED, same
        timed = [row for row in same if row.final_ms_p50 is not None]
        if timed:
            yield "Latency in ms, p50 / p95", LATENCY, timed


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Print the tables of rows; say where they are no result."""
    for title, columns, same in tables(rows):
        console.print(_table(title, columns, same))
    if any(row.functional_check for row in rows):
        console.print(CHECK, style="bold yellow")


def _title(row: Row) -> str:
    feed = "" if row.frame_ms is None else f", {row.frame_ms} ms frames, pace {row.pace}"
    model = f"{row.model} ({row.weights}), look-ahead {row.lookahead_ms} ms"
    lm = "" if row.lm is None else f" with {row.lm}"
    return f"{model}\n{row.decoder}{lm}, {row.precision} on {row.backend}{feed}"


def _table(title: str, columns: dict[str, Cell], rows: list[Row]) -> Table:
    table = Table(title=title)
    for header in columns:
        table.add_column(header, justify="left" if header == "Data" else "right", no_wrap=header == "Data")
    for row in rows:
        table.add_row(*(cell(row) for cell in columns.values()))
    return table
