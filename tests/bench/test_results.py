"""Result files: whole, complete, readable again; broken ones refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.results import ResultFile, default_name, read_result, read_results, result_path, write_result
from bench.rows import SpeechRow
from runtime.errors import InputError

PROVENANCE = "date commit command gpu driver sm_clock_mhz power_w tensorrt cuda python cpu data"
ROW = """model weights decoder precision calibration backend cuda_graph lookahead_ms frame_ms pace data wer cer rtf_p50
    rtf_p95 step_ms_p50 step_ms_p95 step_ms_p99 first_partial_ms_p50 first_partial_ms_p95
    first_partial_onset_ms_p50 first_partial_onset_ms_p95 final_ms_p50 final_ms_p95 final_speech_end_ms_p50
    final_speech_end_ms_p95 peak_gpu_memory_mb plan_mb build_s"""


def test_a_file_has_every_key_and_null_where_nothing_was_measured(tmp_path: Path, a_result: ResultFile) -> None:
    write_result(tmp_path / "new" / "a.json", a_result)
    written = json.loads((tmp_path / "new" / "a.json").read_text())
    assert written["schema"] == 1
    assert set(PROVENANCE.split()) <= written["provenance"].keys()
    assert set(written["provenance"]["data"][0]) == {"name", "sha256", "clips", "minutes"}
    assert set(ROW.split()) <= written["rows"][0].keys()
    assert written["rows"][0]["wer"] == 12.34568
    assert {written["rows"][0][key] for key in ("cer", "plan_mb", "peak_gpu_memory_mb", "limit")} == {None}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_what_is_written_is_read(tmp_path: Path, a_result: ResultFile) -> None:
    write_result(tmp_path / "a.json", a_result)
    assert read_result(tmp_path / "a.json") == a_result
    assert read_results(tmp_path) == {"a": a_result}


def test_files_from_before_rows_had_kinds_are_read(tmp_path: Path, a_result: ResultFile) -> None:
    written = json.loads(a_result.model_dump_json(by_alias=True))
    del written["rows"][0]["lang"]
    written["rows"][0] |= {"chunk_ms_p50": None, "rung": None, "found": None}  # other kinds' keys, as they were written
    (tmp_path / "a.json").write_text(json.dumps(written))
    assert read_result(tmp_path / "a.json") == a_result


@pytest.mark.parametrize("unknown", [{"step_ms_p5O": 1.0}, {"wre": 3.0}, {"chunk_ms_p50": 1.0}])
def test_a_key_that_a_kind_has_not_is_refused(a_row: SpeechRow, unknown: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SpeechRow.model_validate(a_row.model_dump() | unknown)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        a_row.with_(**unknown)


def _without(*keys: str | int) -> Callable[[dict[str, Any]], None]:
    def drop(written: dict[str, Any]) -> None:
        part: Any = written
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return drop


def _with(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(written: dict[str, Any]) -> None:
        written["rows"][0][key] = value

    return change


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (_without("provenance"), "provenance: Field required"),
        (_without("rows", 0, "mode"), "rows.0: Unable to extract tag"),
        (_without("rows", 0, "model"), "rows.0.utterance.model: Field required"),
        (_with("energy_j", 3.5), "rows.0.utterance.energy_j: Extra inputs"),
        (_without("rows", 0), "rows: List should have at least 1 item"),
        (_with("precision", "int4"), "rows.0.utterance.precision"),
        (_with("wer", "low"), "rows.0.utterance.wer"),
        (lambda written: written.update(schema=2), "schema"),
    ],
)
def test_broken_files(
    tmp_path: Path, a_result: ResultFile, breakage: Callable[[dict[str, Any]], None], message: str
) -> None:
    written = json.loads(a_result.model_dump_json(by_alias=True))
    breakage(written)
    (tmp_path / "a.json").write_text(json.dumps(written))
    with pytest.raises(InputError) as caught:
        read_result(tmp_path / "a.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_no_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_results(tmp_path)
    assert "a.json: no result file of schema 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_is_finite(a_row: SpeechRow, value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        a_row.with_(wer=value)


@pytest.mark.parametrize(("limit", "expected"), [(None, "m-80ms-asr_eval-en"), (3, "m-80ms-asr_eval-en-first3")])
def test_default_names(limit: int | None, expected: str) -> None:
    name = default_name(["m", "80ms"], data=Path("data/asr_eval"), lang="en", limit=limit)
    assert result_path(Path("out"), name) == Path("out") / f"{expected}.json"


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".."])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        result_path(Path("out"), name)
