"""Configurations: data sets together, one row for each way to run them; what is none."""

import pytest

from bench.pages.configurations import CONDITIONS, FIGURES_OF_ALL, configurations
from bench.results import ResultFile
from bench.rows import Row, UtteranceRecord
from tests.bench.rows import changed

GPU = {"backend": "tensorrt", "cuda_graph": True, "functional_check": False, "peak_gpu_memory_mb": 512.0}


def cells(result: ResultFile) -> list[list[str]]:
    return [[column.cell(found) for column in (*CONDITIONS, *FIGURES_OF_ALL)] for found in configurations(result)]


@pytest.fixture
def on_gpu(a_result: ResultFile) -> ResultFile:
    """Two data sets of two clips each: FP16 in TensorRT, 12.35 and 20 % wrong."""
    base = changed(a_result.rows[0], GPU | {"precision": "fp16"})
    rows = [base, changed(base, {"data": "two_en", "wer": 20.0})]
    records = [
        UtteranceRecord(
            data=row.data,
            lang="en",
            mode="utterance",
            audio=f"{clip}.wav",
            reference="a b",
            hypothesis="a b",
            audio_s=1.0,
            busy_s=busy_s,
            final_ms=1000 * busy_s,
            first_partial_onset_ms=300.0,
        )
        for row, times in zip(rows, ([0.1, 0.2], [0.3, 0.4]), strict=True)
        for clip, busy_s in enumerate(times)
    ]
    provenance = a_result.provenance.model_copy(update={"gpu": "NVIDIA X", "tensorrt": "8.6.0"})
    return ResultFile(provenance=provenance, rows=rows, utterances=records)


def with_rows(result: ResultFile, **update: object) -> ResultFile:
    return result.model_copy(update={"rows": [changed(row, update) for row in result.rows]})


LABELS = [
    "m, 80 ms",
    "NVIDIA X",
    "TensorRT 8.6.0, CUDA graph",
    "-",
    "set_en / two_en",
    "greedy",
    "fp16",
    "back to back",
    "off",
]
FIGURES = ["12.35 / 20.00", "0.2500 / 0.3850", "300 / 300", "250.0 / 385.0", "512"]


def test_data_sets_share_a_row_and_its_times_are_over_all_clips(on_gpu: ResultFile) -> None:
    assert cells(on_gpu) == [LABELS + FIGURES]


@pytest.mark.parametrize(
    ("update", "labels"),
    [
        ({"pace": "realtime"}, {7: "real time"}),
        ({"lm": "gram"}, {5: "gram"}),
        ({"lookahead_ms": 480}, {0: "m, 480 ms"}),
        ({"decoder": "rnnt"}, {0: "m, 80 ms, RNN-T"}),
        ({"early_tokens": "steady"}, {8: "steady"}),
    ],
)
def test_how_it_was_run_is_said(on_gpu: ResultFile, update: dict[str, object], labels: dict[int, str]) -> None:
    expected = [labels.get(place, label) for place, label in enumerate(LABELS)]
    assert cells(with_rows(on_gpu, **update)) == [expected + FIGURES]


@pytest.mark.parametrize(
    ("update", "count"),
    [
        ({"mode": "continuous"}, 0),
        ({"mode": "endpoint"}, 0),
        ({"limit": 3}, 0),
        ({"data": "a + b"}, 0),
        ({"mode": "offline"}, 1),
    ],
)
def test_what_is_none(a_result: ResultFile, update: dict[str, object], count: int) -> None:
    assert len(configurations(with_rows(a_result, **update))) == count


def test_steps_of_random_weights_have_their_pace_s_times_and_no_error_rate(a_result: ResultFile, a_row: Row) -> None:
    steps = changed(a_row, GPU | {"mode": "steps", "weights": "random", "data": "noise"})
    paces = [changed(steps, {"pace": pace, "rtf_p50": rtf}) for pace, rtf in (("fast", 0.01), ("realtime", 0.02))]
    (row,) = cells(a_result.model_copy(update={"rows": [*paces, changed(steps, {"rung": "a rung"})]}))
    assert (row[0], row[7]) == ("m, 80 ms, random weights", "steps alone")
    assert row[9:12] == ["-", "0.0200 / 0.0500", "-"]


def test_random_weights_have_neither_error_rate_nor_first_partial(on_gpu: ResultFile) -> None:
    (row,) = cells(with_rows(on_gpu, weights="random", wer=None))
    assert row[9:] == ["-", "0.2500 / 0.3850", "-", "250.0 / 385.0", "512"]
