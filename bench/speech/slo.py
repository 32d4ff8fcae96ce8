"""Bounds that a run must keep (`--slo`), and which of its figures miss them."""

import math
from collections.abc import Mapping, Sequence

from bench.figures import FIGURES, data_label, figure_name
from bench.rows import SpeechRow
from runtime.errors import InputError

KEYS = {
    "first_partial_p50": "first_partial_onset_ms_p50",
    "first_partial_p95": "first_partial_onset_ms_p95",
    "final_p50": "final_ms_p50",
    "final_p95": "final_ms_p95",
    "rtf_p50": "rtf_p50",
    "rtf_p95": "rtf_p95",
    "step_p50": "step_ms_p50",
    "step_p95": "step_ms_p95",
    "step_p99": "step_ms_p99",
    "wer": "wer",
    "gpu_memory": "peak_gpu_memory_mb",
}
"""Key -> the row's. A first partial counts from the speech onset: what a clip has of silence before is no latency."""
HELP = f"Exit 1 where a figure is over its limit, as first_partial_p95=300,final_p95=150; keys: {', '.join(KEYS)}."

CLIP_BY_CLIP = ("first_partial_onset_ms", "final_ms")
"""Figures of which one continuous stream has no distribution."""


def read_bounds(text: str | None) -> dict[str, float]:
    """Return key -> limit in the figure's unit of bounds written as `first_partial_p95=300,final_p95=150`; none for None.

    Raises:
        InputError: an unknown or repeated key, or a limit that is no number.
    """
    bounds: dict[str, float] = {}
    for part in [] if text is None else text.split(","):
        key, _, limit = (word.strip() for word in part.partition("="))
        if key not in KEYS:
            raise InputError(f"--slo: expected KEY=LIMIT with a key of {', '.join(KEYS)}; found {part!r}")
        if key in bounds:
            raise InputError(f"--slo: expected one limit for {key}, found two; name each key once")
        try:
            bounds[key] = float(limit)
        except ValueError:
            bounds[key] = math.nan
        if not 0 <= bounds[key] < math.inf:
            raise InputError(f"--slo: expected {key}=LIMIT with a number from 0 on, found {limit!r}")
    return bounds


def missed_lines(bounds: Mapping[str, float], rows: Sequence[SpeechRow]) -> list[str]:
    """Return a line for each figure of a run over its bound, or not measured: which row, its value, the bound."""
    lines = []
    for key, bound in bounds.items():
        name = KEYS[key]
        unit = FIGURES[figure_name(name)].unit
        limit = f"{bound:g} {unit}".strip()
        clips = [row for row in rows if row.mode == "utterance"]
        for row in clips if clips and name.startswith(CLIP_BY_CLIP) else rows:
            value = getattr(row, name)
            if value is None:
                found = f"not measured{_why(name, row)}"
            elif value > bound:
                found = f"{value:g} {unit}".strip() + (" on a CPU" if row.functional_check and name != "wer" else "")
            else:
                continue
            lines.append(f"missed {key}: {data_label(row)}: {found}, bound {limit}")
    return lines


def _why(name: str, row: SpeechRow) -> str:
    if row.weights == "random" and (name == "wer" or name.startswith("first_partial")):
        return " (random weights)"
    if row.mode == "continuous" and name.startswith(CLIP_BY_CLIP):
        return " (one stream has a single one: --mode utterance)"
    if name == "peak_gpu_memory_mb" and row.functional_check:
        return " (no GPU)"
    return ""
