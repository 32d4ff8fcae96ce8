"""The committed results: streaming has NeMo's own offline error rate, and RESULTS.md is made from them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.page import refresh
from bench.results import Row, read_result

RESULTS = Path("bench/results")


def committed() -> list[Path]:
    """The result files that are the project's; those of this machine's own runs lie beside them. All of them outside git."""
    listed = subprocess.run(
        ["git", "ls-files", str(RESULTS)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [Path(each) for each in listed] or sorted(RESULTS.glob("*.json"))


def rows(mode: str) -> list[Row]:
    return [row for path in committed() for row in read_result(path).rows if row.mode == mode and row.limit is None]


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


def test_page_is_made_from_the_results(tmp_path: Path) -> None:
    for path in committed():
        shutil.copy(path, tmp_path)
    refresh(Path("RESULTS.md"), tmp_path, check=True)
