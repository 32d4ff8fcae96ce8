"""The project's targets on an NVIDIA T4, and what a run says of them."""

import re

from bench.figures import FIGURES, shown
from bench.results import ResultFile
from bench.rows import SpeechRow
from bench.summary import together

TARGETS = {"first_partial_onset_ms": 300.0, "final_ms": 150.0, "rtf": 0.2}
"""Figure -> the most that it may be, in the figure's unit."""


def target_lines(result: ResultFile) -> list[str]:
    """Return a line for each target, of a run clip by clip: the figure over all data sets, and whether it was met."""
    rows = result.rows_of(SpeechRow)
    row = (together(rows, result.utterances) or rows)[0]
    lines = []
    for name, target in TARGETS.items():
        figure, p50, p95 = FIGURES[name], getattr(row, f"{name}_p50"), getattr(row, f"{name}_p95")
        found = f"{shown([p50, p95], figure.digits)} {figure.unit}".strip()
        aim = f"{target:g} {figure.unit}".strip()
        lines.append(f"{figure.title}: {found} (p50 / p95), target {aim}: {_verdict(p50, p95, target)}")
    return lines


def gpu_line(gpu: str | None) -> str:
    """Return whether the targets' GPU was measured."""
    if gpu and re.search(r"\bT4\b", gpu):
        return f"measured on a T4 ({gpu}), which the targets are for"
    return f"measured on {gpu or 'an unknown GPU'}: this is no T4, and says nothing about the targets on one"


def _verdict(p50: float | None, p95: float | None, target: float) -> str:
    if p50 is None or p95 is None:
        return "not measured"
    if p95 <= target:
        return "met"
    return "met at p50, missed at p95" if p50 <= target else "missed"
