"""RESULTS.md's main table: one row a configuration; which of a CPU's are shown, and what they say."""

import pytest

from bench.pages.overview import NO_RESULT, overview
from bench.results import ResultFile, Row, UtteranceRecord
from tests.bench.rows import changed

GPU = {"backend": "tensorrt", "cuda_graph": True, "functional_check": False, "peak_gpu_memory_mb": 512.0}


def cells(results: list[ResultFile]) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in overview(results).splitlines()]


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


def test_data_sets_share_a_row_and_its_times_are_over_all_clips(on_gpu: ResultFile) -> None:
    header, _, row = cells([on_gpu])
    assert header[3] == "WER %: set_en / two_en"
    figures = ["12.35 / 20.00", "0.2500 / 0.3850", "300 / 300", "250.0 / 385.0", "512", "NVIDIA X"]
    assert row == ["m, 80 ms", "fp16", "TensorRT 8.6.0, CUDA graph", *figures]


def test_a_run_at_real_time_says_so_beside_one_that_did_not_wait(on_gpu: ResultFile) -> None:
    _, _, *rows = cells([on_gpu, with_rows(on_gpu, pace="realtime")])
    assert [row[2] for row in rows] == ["TensorRT 8.6.0, CUDA graph", "TensorRT 8.6.0, CUDA graph, real time"]


def test_a_data_set_that_one_has_not(on_gpu: ResultFile) -> None:
    other = on_gpu.model_copy(update={"rows": on_gpu.rows[1:]})
    _, _, *rows = cells([with_rows(other, model="n"), on_gpu])
    assert [row[3] for row in rows] == ["12.35 / 20.00", "- / 20.00"]


@pytest.mark.parametrize(
    ("update", "shown"),
    [
        ({}, False),  # a GPU has recognised that
        ({"precision": "fp16"}, False),
        ({"backend": "torch", "mode": "offline"}, True),
        ({"lm": "ngram"}, True),
        ({"decoder": "rnnt"}, True),
        ({"lookahead_ms": 480}, True),
        ({"lookahead_ms": 480, "mode": "steps"}, False),
        ({"lookahead_ms": 480, "mode": "continuous"}, False),
        ({"lookahead_ms": 480, "mode": "endpoint"}, False),
        ({"lookahead_ms": 480, "limit": 3}, False),
        ({"lookahead_ms": 480, "combination": "c"}, True),  # of an ablation
    ],
)
def test_rows_of_a_cpu(on_gpu: ResultFile, a_result: ResultFile, update: dict[str, object], shown: bool) -> None:
    _, _, *rows = cells([on_gpu, with_rows(a_result, **update)])
    assert len(rows) == 1 + shown
    if shown:
        (row,) = (row for row in rows if row[-1] == NO_RESULT)
        assert row[3:] == ["12.35 / -", "-", "-", "-", "-", NO_RESULT]


def test_steps_of_random_weights_have_their_pace_s_times_and_no_error_rate(on_gpu: ResultFile, a_row: Row) -> None:
    steps = changed(a_row, GPU | {"mode": "steps", "weights": "random", "wer": None, "data": "noise"})
    paces = [changed(steps, {"pace": pace, "rtf_p50": rtf}) for pace, rtf in (("fast", 0.01), ("realtime", 0.02))]
    rung = changed(steps, {"rung": "a rung"})
    header, _, first, second = cells([on_gpu.model_copy(update={"rows": [*paces, rung]}), on_gpu])
    assert header[3] == "WER %: set_en / two_en"
    assert first[0] == "m, 80 ms"
    assert second[:5] == [
        "m, 80 ms, random weights",
        "fp32",
        "TensorRT 8.6.0, CUDA graph, steps",
        "-",
        "0.0200 / 0.0500",
    ]


def test_random_weights_have_neither_error_rate_nor_first_partial(on_gpu: ResultFile) -> None:
    _, _, row = cells([with_rows(on_gpu, weights="random", wer=None)])
    assert row[3:7] == ["-", "0.2500 / 0.3850", "-", "250.0 / 385.0"]


def test_nothing_to_show(a_result: ResultFile) -> None:
    header, _ = overview([with_rows(a_result, limit=1)]).splitlines()
    assert header.startswith("| Model | Precision | Engine | WER % | RTF")
