"""Latency against the number of streams: the table's columns, and the largest number within the bound."""

from collections.abc import Sequence

from bench.pages.terminal import Cell, figures, memory_label
from bench.results import Row

STREAMS: dict[str, Cell] = {
    "Streams": lambda row: str(row.streams),
    "Chunk ms p50 / p95 / p99": lambda row: figures([row.chunk_ms_p50, row.chunk_ms_p95, row.chunk_ms_p99], 1),
    "Step ms p50 / p95 / p99": lambda row: figures([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 2),
    "Final ms p50 / p95": lambda row: figures([row.final_ms_p50, row.final_ms_p95], 1),
    "Late chunks": lambda row: f"{row.late_chunks} of {row.chunks}",
    "Backlog ms": lambda row: figures([row.backlog_ms_max], 0),
    "Texts that differ": lambda row: f"{row.differing} of {row.clips}",
    "CPU cores busy": lambda row: figures([row.cpu_cores], 2),
    "Peak MB": memory_label,
    "Bound": lambda row: f"{row.slo_ms:g} ms {'met' if row.slo_met else 'given up' if row.given_up else 'missed'}",
}


def largest(rows: Sequence[Row]) -> int | None:
    """The largest number of streams that meets the bound, of a run's rows: they end with the first that misses it. None: none does."""
    return max((row.streams for row in rows if row.streams and row.slo_met), default=None)


def sentence(rows: Sequence[Row]) -> str:
    """What the rows of one run say of the bound."""
    within, bound = largest(rows), f"{rows[0].slo_ms:g} ms at p95"
    if within is None:
        return f"Not even {rows[0].streams} met {bound}."
    if rows[-1].slo_met:
        return f"{within} met {bound}: the most that were tried."
    return f"{within} met {bound}, {rows[-1].streams} did not."
