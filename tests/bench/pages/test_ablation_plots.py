"""The ablation's plots: the same bytes from the same file, small, with every combination named; no matplotlib, no plots."""

import io
import re
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import pytest
from rich.console import Console

from bench.pages.plots import ablation_plots
from bench.pages.terminal import print_written
from bench.results import ResultFile
from bench.rows import Row
from bench.session import Written
from tests.bench.rows import changed


@pytest.fixture
def ablation(a_row: Row, a_result: ResultFile) -> ResultFile:
    """Two look-aheads, two precisions, with a graph and without; INT8 has an interval."""
    rows = []
    for lookahead_ms in (80, 480):
        for precision, method, wer in (("fp32", None, 43.1), ("int8", "entropy", 45.1)):
            same: dict[str, object] = {
                "combination": f"{lookahead_ms} {precision}",
                "precision": precision,
                "calibration": method,
            }
            same |= {"lookahead_ms": lookahead_ms, "functional_check": False}
            change = {"wer_change": 2.0, "wer_change_low": 0.5, "wer_change_high": 3.5} if method else {}
            rows.append(changed(a_row, same | change | {"wer": wer}))
            for graph in (True, False):
                steps = {"mode": "steps", "cuda_graph": graph, "step_ms_p50": 1.25, "step_ms_p99": 1.5, "wer": None}
                rows.append(changed(a_row, same | steps))
    return a_result.model_copy(update={"rows": rows})


def drawn(result: ResultFile) -> dict[str, str]:
    return {plot.name: plot.svg() for plot in ablation_plots(result)}


def written(result: ResultFile, path: Path) -> str:
    """What is said of the plots beside the result file at `path`."""
    console = Console(file=io.StringIO(), width=300)
    print_written(Written(path, result), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_same_bytes_whatever_the_settings(ablation: ResultFile) -> None:
    first = drawn(ablation)
    assert list(first) == ["wer", "steps"]
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "black"}):
        assert drawn(ablation) == first
        assert mpl.rcParams["font.size"] == 30  # the user's own are as they were
    for text in first.values():
        assert len(text) < 100_000
        assert "<dc:date>" not in text


def test_every_combination_is_named(ablation: ResultFile) -> None:
    wer, steps = (re.findall(r"<text [^>]*>([^<]*)<", text) for text in drawn(ablation).values())
    assert {"m, 80 ms", "m, 480 ms", "fp32", "int8 entropy", "WER, %"} <= set(wer)
    assert {(f"m, {ms} ms", f"int8 entropy, {how}") for ms in (80, 480) for how in ("CUDA graph", "no graph")} <= set(
        pairwise(steps)
    )
    assert steps.count("1.25 / 1.50") == 8


def test_without_error_rates_there_are_steps_only(ablation: ResultFile, tmp_path: Path) -> None:
    rows = [changed(row, {"wer": None}) for row in ablation.rows]
    said = written(ablation.model_copy(update={"rows": rows}), tmp_path / "a-99.99.json")
    assert [tmp_path / "a-99.99-steps.svg"] == list(tmp_path.iterdir())
    assert f"wrote {tmp_path / 'a-99.99-steps.svg'}" in said


def test_other_files_have_none(a_result: ResultFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # nor is it needed
    assert ablation_plots(a_result) == []


def test_without_matplotlib(ablation: ResultFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "\nno plots: expected matplotlib for plots, found none" in written(ablation, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
