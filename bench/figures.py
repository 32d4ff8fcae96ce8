"""Every figure once: its title, unit and digits, whether less of it is better, and what it means; and how rows show figures.

The figures themselves are in bench/figures.md, which is also what a reader is shown.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rows import OnSpeech, Record, Row, StreamsRow
from bench.score import bootstrap

CHECK = "functional check on the CPU: these figures are no result"


@dataclass(frozen=True)
class Figure:
    """What is said of a figure wherever it is shown."""

    title: str
    unit: str
    """Empty for a ratio or a count."""
    digits: int
    """Digits after the point, where it is shown."""
    better: str
    """lower, higher, or empty for neither."""
    definition: str


def read_table(path: Path) -> list[list[str]]:
    """Return the rows of a Markdown file's table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


FIGURES = {
    key: Figure(title, unit, int(digits), better, what)
    for key, title, unit, digits, better, what in read_table(Path(__file__).with_suffix(".md"))
}
"""A row's key without its percentile -> the figure."""


def definitions(rows: Iterable[Record]) -> dict[str, str]:
    """Return what the keys mean that these rows have a value for: key without percentile -> unit and definition."""
    held = (figure_name(key) for row in rows for key in type(row).model_fields if getattr(row, key) is not None)
    figures = {name: FIGURES[name] for name in held if name in FIGURES}
    return {name: f"{figure.unit}; {figure.definition}".removeprefix("; ") for name, figure in figures.items()}


def figure_name(key: str) -> str:
    """A row's key without its percentile, as FIGURES has it."""
    name, _, last = key.rpartition("_")
    return name if last in ("p50", "p95", "p99", "max") else key


def shown(values: Sequence[float | None], digits: int) -> str:
    """Values side by side, `12.3 / 14.5`; a dash for what was not measured."""
    if all(value is None for value in values):
        return "-"
    return " / ".join("-" if value is None else f"{value:.{digits}f}" for value in values)


@dataclass(frozen=True)
class Column:
    """A table's column: what stands above it, and a row's cell as text. A line break in the title is one where there is room for it."""

    title: str
    cell: Callable[[Any], str]

    def of(self, part: str) -> "Column":
        """Return the column of something whose rows are its attribute `part`."""
        return Column(self.title, lambda whole: self.cell(getattr(whole, part)))


def column(name: str, *percentiles: str, title: str | None = None) -> Column:
    """The column of a figure: `column("step_ms", "p50", "p95")`; without percentiles of its one value. A row without it has a dash."""
    figure = FIGURES[name]
    keys = [f"{name}_{each}" for each in percentiles] or [name]
    above = f"{title or figure.title} {figure.unit}".strip()
    above += f"\n{' / '.join(percentiles)}" if percentiles else ""
    return Column(above, lambda row: shown([getattr(row, key, None) for key in keys], figure.digits))


def change_label(row: Record | None) -> str:
    """A row's change of WER with its interval; a dash where it has none."""
    ends = ("wer_change", "wer_change_low", "wer_change_high")
    return bootstrap.label(*(getattr(row, key, None) for key in ends))


def data_label(row: Row) -> str:
    """Data set, how it was fed, and how much of it if not all."""
    how = {
        "utterance": "utterances",
        "continuous": "one stream",
        "offline": "whole clips",
        "steps": f"steps, {row.pace}",
        "endpoint": "endpoints",
        "hotwords": "hotwords",
        "words": "words",
        "streams": f"{row.streams} streams" if isinstance(row, StreamsRow) else "",
    }[row.mode]
    limit = row.limit if isinstance(row, OnSpeech) else None
    return f"{row.data}, {how}" if limit is None else f"{row.data}, {how}, first {limit}"


def memory_label(row: Row) -> str:
    """Peak memory in MB: the GPU's where there is one, else the host's."""
    if row.peak_gpu_memory_mb is not None:
        return f"{row.peak_gpu_memory_mb:.0f} GPU"
    host = getattr(row, "peak_host_memory_mb", None)
    return "-" if host is None else f"{host:.0f} host"


def graph_label(row: Row) -> str:
    """Whether steps ran in a CUDA graph; empty where there is no such thing."""
    return {True: ", CUDA graph", False: ", no graph", None: ""}[row.cuda_graph]
