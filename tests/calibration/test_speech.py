"""Calibration sets: what is chosen, and a one-line refusal of each kind of unfit set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calibration.speech import check_levels, default_folder, evaluation_folders, select
from data import places
from data.manifest import dataset_sha256
from runtime.errors import InputError

RATE = 16_000
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
TWO: list[dict[str, Any]] = [{}, {}]  # clips of 65 s

MakeSet = Callable[..., Path]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        call()
    print(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_selection_says_what_is_streamed(tmp_path: Path, make_set: MakeSet) -> None:
    calib = make_set(tmp_path, [{}, {"seconds": 30}], name="first")
    make_set(tmp_path, [{"seconds": 90, "speaker": "unknown"}], name="second")
    make_set(tmp_path, [{}], name="second", lang="de")
    selection = select(calib, "en", None, [], RATE)
    assert [(each.name, each.clips, each.minutes) for each in selection.data] == [
        ("first_en", 2, pytest.approx(95 / 60, abs=1e-3)),
        ("second_en", 1, 1.5),
    ]
    assert selection.data[0].sha256 == dataset_sha256(tmp_path / "first" / "manifest_en.jsonl")
    assert len(selection.utterances) == 3
    assert selection.unnamed == 1


@pytest.mark.parametrize(
    ("minutes", "clips"),
    [
        pytest.param(None, [2, 2], id="all"),
        pytest.param(2.0, [2], id="first set only"),
        pytest.param(2.2, [2, 1], id="into the second set"),
        pytest.param(60.0, [2, 2], id="more than there is"),
    ],
)
def test_minutes_take_the_first_clips(
    tmp_path: Path, make_set: MakeSet, minutes: float | None, clips: list[int]
) -> None:
    make_set(tmp_path, TWO, name="a")
    make_set(tmp_path, TWO, name="b")
    assert [each.clips for each in select(tmp_path, "en", minutes, [], RATE).data] == clips


@pytest.mark.parametrize(
    ("clips", "minutes", "says"),
    [
        pytest.param(
            [{"seconds": 119}],
            None,
            "expected at least 2 minutes of calibration speech, found 1.98 in 1 clips",
            id="short",
        ),
        pytest.param([{"seconds": 30}], None, "found 0.50 in 1 clips", id="shorter"),
        pytest.param([{"seconds": 1, "duration": 600}], None, "found 0.02 in 1 clips", id="duration is not believed"),
        pytest.param(TWO, 1.0, "found 1.08 in 1 clips; add clips, or raise --minutes", id="few minutes asked"),
        pytest.param(TWO, -1.0, "found 0.00 in 0 clips", id="less than none asked"),
        pytest.param(TWO, float("nan"), "found 0.00 in 0 clips", id="no number of minutes asked"),
        pytest.param(
            [*TWO, {"rate": 8000}],
            None,
            "recordings of 16000 Hz or more, found 1 below it (such as 2.wav, 8000 Hz)",
            id="rate",
        ),
    ],
)
def test_unfit_set_is_refused(
    tmp_path: Path, make_set: MakeSet, clips: list[dict[str, Any]], minutes: float | None, says: str
) -> None:
    make_set(tmp_path, clips)
    assert says in refusal(lambda: select(tmp_path, "en", minutes, [], RATE))


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_rates_above_the_models_are_resampled(tmp_path: Path, make_set: MakeSet, rate: int) -> None:
    make_set(tmp_path, [{"rate": rate, "seconds": 121}])
    check_levels(select(tmp_path, "en", None, [], RATE), RATE)


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        pytest.param(
            [0.0, 0.0],
            "expected speech, found 100% of it silent (2 of 2 clips below -60 dBFS, root mean square)",
            id="zeros",
        ),
        pytest.param([0.0005, 0.0008], "(2 of 2 clips below -60 dBFS", id="faint"),
        pytest.param([0.0, 0.1, 0.0], "found 67% of it silent (2 of 3 clips", id="most of it"),
        pytest.param([0.0, 0.1, 0.1], None, id="some of it"),
        pytest.param([0.0015, 0.0015], None, id="quiet"),
        pytest.param([0.9, 0.9], "expected unclipped speech, found 26", id="clipped"),
        pytest.param(
            [0.1, 0.6, 0.1],
            "of the samples at full scale (most in 1.wav), at most 0.1% is allowed",
            id="a clipped clip",
        ),
        pytest.param([0.25, 0.25], None, id="a few at full scale"),  # 4 sigma: 6e-5
    ],
)
def test_levels(tmp_path: Path, make_set: MakeSet, levels: list[float], says: str | None) -> None:
    make_set(tmp_path, [{"level": level} for level in levels])
    selection = select(tmp_path, "en", None, [], RATE)
    if says is None:
        check_levels(selection, RATE)
    else:
        assert says in refusal(lambda: check_levels(selection, RATE))


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        pytest.param({"speaker": "anna"}, {"speaker": "anna"}, "1 speakers (such as 'anna')", id="speaker"),
        pytest.param(
            {"text": "How are you"}, {"text": "how are YOU?"}, "1 sentences (such as 'How are you')", id="sentence"
        ),
        pytest.param({"seed": 99}, {"seed": 99}, "1 recordings (such as '2.wav')", id="recording"),
        pytest.param(
            {"speaker": "a", "text": "b"},
            {"speaker": "a", "text": "b"},
            "found 1 speakers (such as 'a') and 1 sentences (such as 'b') in both; take them out of the calibration set",
            id="both",
        ),
        pytest.param({"speaker": "unknown"}, {"speaker": "unknown"}, None, id="speakers not named"),
        pytest.param({"speaker": "anna"}, {"speaker": "hannah"}, None, id="nothing"),
    ],
)
def test_evaluation_speech_is_refused(
    tmp_path: Path, make_set: MakeSet, ours: dict[str, Any], theirs: dict[str, Any], says: str | None
) -> None:
    calib = make_set(tmp_path / "asr_calib", [*TWO, {"seconds": 1, **ours}])
    evaluation = make_set(tmp_path / "asr_eval", [{"seconds": 1}, {"seconds": 1, **theirs}])
    other = make_set(tmp_path / "other", [{"seconds": 1}], lang="de")
    if says is None:
        select(calib, "en", None, [other, evaluation], RATE)
    else:
        found = refusal(lambda: select(calib, "en", None, [other, evaluation], RATE))
        assert says in found
        assert f"the evaluation set {evaluation}, found" in found


def test_linked_evaluation_speech_counts(tmp_path: Path, make_set: MakeSet) -> None:
    calib = make_set(tmp_path / "asr_calib", [{"speaker": "anna", "seconds": 121}])
    evaluation = make_set(tmp_path / "elsewhere", [{"speaker": "anna", "seconds": 1}])
    (tmp_path / "asr_eval").mkdir()
    (tmp_path / "asr_eval" / "set").symlink_to(next(evaluation.rglob("manifest_*.jsonl")).parent)
    found = refusal(lambda: select(calib, "en", None, [tmp_path / "asr_eval"], RATE))
    assert "1 speakers (such as 'anna')" in found


def test_other_languages_evaluation_counts(tmp_path: Path, make_set: MakeSet) -> None:
    calib = make_set(tmp_path / "asr_calib", [{"speaker": "anna", "seconds": 121}])
    evaluation = make_set(tmp_path / "asr_eval", [{"speaker": "anna", "seconds": 1}], lang="de")
    assert "1 speakers" in refusal(lambda: select(calib, "en", None, [evaluation], RATE))


def test_clips_left_out_are_compared_too(tmp_path: Path, make_set: MakeSet) -> None:
    calib = make_set(tmp_path / "asr_calib", [*TWO, {"speaker": "anna"}])
    evaluation = make_set(tmp_path / "asr_eval", [{"speaker": "anna", "seconds": 1}])
    assert "1 speakers" in refusal(lambda: select(calib, "en", 2.0, [evaluation], RATE))


def test_the_evaluation_set_itself_is_refused(tmp_path: Path, make_set: MakeSet) -> None:
    place = make_set(tmp_path, TWO)
    assert "2 speakers" in refusal(lambda: select(place, "en", None, [place], RATE))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda _: None, "no such folder", id="no folder"),
        pytest.param(
            Path.mkdir, "expected manifest_en.jsonl in it or in one of its folders, found none", id="no manifest"
        ),
    ],
)
def test_folder_without_a_set_is_refused(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    folder = tmp_path / "asr_calib"
    make(folder)
    assert says in refusal(lambda: select(folder, "en", None, [], RATE))


def test_broken_audio_is_refused(tmp_path: Path, make_set: MakeSet) -> None:
    make_set(tmp_path, TWO)
    selection = select(tmp_path, "en", None, [], RATE)
    soundfile.write(selection.utterances[1].audio, np.full(100, np.nan), RATE, "FLOAT")
    assert "NaN or infinite" in refusal(lambda: check_levels(selection, RATE))
    selection.utterances[1].audio.write_bytes(b"no audio")
    assert "not audio" in refusal(lambda: select(tmp_path, "en", None, [], RATE))


def test_where_evaluation_speech_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACES", (tmp_path / "data", tmp_path / "shared"))
    monkeypatch.setattr(places, "SAMPLE", tmp_path / "sample")
    assert evaluation_folders(None) == []
    for name in ("data/asr_eval", "shared/asr_eval", "sample", "mine"):
        (tmp_path / name).mkdir(parents=True)
    usual = {tmp_path / name for name in ("data/asr_eval", "shared/asr_eval", "sample")}
    assert set(evaluation_folders(None)) == usual
    assert set(evaluation_folders(tmp_path / "mine")) == usual | {tmp_path / "mine"}
    assert len(evaluation_folders(tmp_path / "sample")) == 3  # once each
    assert "expected a folder of evaluation speech" in refusal(lambda: evaluation_folders(tmp_path / "none"))


def test_default_folder_is_the_first_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACES", (tmp_path / "data", tmp_path / "shared"))
    assert "`make data COMMON_VOICE=FOLDER`" in refusal(default_folder)
    for name in ("shared", "data"):
        (tmp_path / name / "asr_calib").mkdir(parents=True)
        assert default_folder() == tmp_path / name / "asr_calib"


@pytest.mark.skipif(not (SHARED / "asr_calib").is_dir(), reason="the shared calibration speech is not at hand")
def test_shared_calibration_speech_is_fit() -> None:
    selection = select(SHARED / "asr_calib", "en", None, [SHARED / "asr_eval", Path("data/sample")], RATE)
    check_levels(selection, RATE)
    assert sum(each.minutes for each in selection.data) > 14
