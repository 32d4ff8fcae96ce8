"""What is said of the project's targets: a table of figures and verdicts, and whether the GPU is a T4."""

from typing import Any

import pytest

from bench.results import ResultFile
from bench.rows import UtteranceRecord
from bench.suite.targets import gpu_line, target_lines


@pytest.mark.parametrize(
    ("name", "p50", "p95", "said"),
    [
        ("first_partial_onset_ms", 293.0, 300.0, "First partial: 293 / 300 ms (p50 / p95), target 300 ms: met"),
        (
            "first_partial_onset_ms",
            293.0,
            389.0,
            "First partial: 293 / 389 ms (p50 / p95), target 300 ms: met at p50, missed at p95",
        ),
        ("first_partial_onset_ms", 301.0, 389.0, "First partial: 301 / 389 ms (p50 / p95), target 300 ms: missed"),
        ("first_partial_onset_ms", None, None, "First partial: - ms (p50 / p95), target 300 ms: not measured"),
        ("final_ms", 2.2, 4.1, "Final from last frame: 2.2 / 4.1 ms (p50 / p95), target 150 ms: met"),
        ("rtf", 0.19, 0.2, "RTF: 0.1900 / 0.2000 (p50 / p95), target 0.2: met"),
        ("rtf", 0.201, 0.3, "RTF: 0.2010 / 0.3000 (p50 / p95), target 0.2: missed"),
    ],
)
def test_verdicts(a_result: ResultFile, name: str, p50: float | None, p95: float | None, said: str) -> None:
    rows = [row.with_(**{f"{name}_p50": p50, f"{name}_p95": p95}) for row in a_result.rows]
    lines = target_lines(a_result.with_(rows=rows))
    assert said in lines
    assert len(lines) == 3


def test_a_verdict_is_over_the_clips_of_all_data_sets(a_result: ResultFile) -> None:
    same: dict[str, Any] = {"lang": "en", "mode": "utterance", "reference": "a", "hypothesis": "a", "audio_s": 1.0}
    records = [
        UtteranceRecord(data=f"{data}_en", audio=f"{place}.wav", busy_s=busy_s, final_ms=1e3 * busy_s, **same)
        for data, busy in {"x": [0.1, 0.1], "y": [0.1, 0.3]}.items()
        for place, busy_s in enumerate(busy)
    ]
    rows = [row.with_(data=data) for row in a_result.rows for data in ("x_en", "y_en")]
    lines = target_lines(a_result.with_(rows=rows, utterances=records))
    assert "RTF: 0.1000 / 0.2700 (p50 / p95), target 0.2: met at p50, missed at p95" in lines
    assert "Final from last frame: 100.0 / 270.0 ms (p50 / p95), target 150 ms: met at p50, missed at p95" in lines


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ("Tesla T4", "measured on a T4 (Tesla T4), which the targets are for"),
        ("NVIDIA T4", "measured on a T4 (NVIDIA T4), which the targets are for"),
        ("Tesla T40", "measured on Tesla T40: this is no T4, and says nothing about the targets on one"),
        ("NVIDIA T4G", "measured on NVIDIA T4G: this is no T4, and says nothing about the targets on one"),
        (None, "measured on an unknown GPU: this is no T4, and says nothing about the targets on one"),
    ],
)
def test_which_gpu_it_was(gpu: str | None, said: str) -> None:
    assert gpu_line(gpu) == said
