"""The ablation's plots: the same bytes from the same file, small, with every combination named; no matplotlib, no plots."""

import re
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from bench.pages.ablation_plots import plot_paths, plots, write_plots
from bench.results import ResultFile, Row
from runtime.errors import InputError
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


def test_the_same_bytes_whatever_the_settings(ablation: ResultFile) -> None:
    path = Path("results/ablation-a-99.99.json")
    first = plots(path, ablation)
    assert [each.name for each in first] == ["ablation-a-99.99-wer.svg", "ablation-a-99.99-steps.svg"]
    assert plot_paths(path, ablation) == list(first)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "black"}):
        assert plots(path, ablation) == first
        assert mpl.rcParams["font.size"] == 30  # the user's own are as they were
    for text in first.values():
        assert len(text) < 100_000
        assert "<dc:date>" not in text


def test_every_combination_is_named(ablation: ResultFile) -> None:
    wer, steps = (re.findall(r"<text [^>]*>([^<]*)<", text) for text in plots(Path("a.json"), ablation).values())
    assert {"look-ahead 80 ms", "look-ahead 480 ms", "fp32", "int8 entropy", "WER, %"} <= set(wer)
    assert {
        f"look-ahead {ms} ms, int8 entropy, {how}" for ms in (80, 480) for how in ("CUDA graph", "no graph")
    } <= set(steps)
    assert steps.count("1.25 / 1.50") == 8


def test_without_error_rates_there_are_steps_only(ablation: ResultFile, tmp_path: Path) -> None:
    rows = [changed(row, {"wer": None}) for row in ablation.rows]
    written = write_plots(tmp_path / "a.json", ablation.model_copy(update={"rows": rows}))
    assert written == [tmp_path / "a-steps.svg"] == list(tmp_path.iterdir())


def test_other_files_have_none(a_result: ResultFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # nor is it needed
    assert plots(Path("a.json"), a_result) == {}


def test_without_matplotlib(ablation: ResultFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="expected matplotlib for plots, found none") as caught:
        write_plots(tmp_path / "a.json", ablation)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
