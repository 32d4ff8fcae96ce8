"""The committed results: streaming has NeMo's own offline error rate, and RESULTS.md is made from them."""

from pathlib import Path

import pytest

from bench.page import refresh
from bench.results import Row, read_results

RESULTS = Path("bench/results")


def rows(mode: str) -> list[Row]:
    return [
        row
        for result in read_results(RESULTS).values()
        for row in result.rows
        if row.mode == mode and row.limit is None
    ]


@pytest.mark.parametrize("offline", rows("offline"), ids=lambda row: f"{row.model}-{row.lookahead_ms}ms-{row.data}")
def test_streaming_equals_nemo_offline(offline: Row) -> None:
    same = [
        row
        for row in rows("utterance")
        if (row.model, row.lookahead_ms, row.data, row.precision)
        == (offline.model, offline.lookahead_ms, offline.data, "fp32")
    ]
    assert same
    assert {(row.wer, row.cer) for row in same} == {(offline.wer, offline.cer)}


def test_page_is_made_from_the_results() -> None:
    refresh(Path("RESULTS.md"), RESULTS, check=True)
