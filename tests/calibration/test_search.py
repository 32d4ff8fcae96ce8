"""`python -m calibration --keep search` on the toy: what it writes, when it searches again, and what it refuses."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from calibration.__main__ import parse_args, run
from calibration.record import calibration_path
from calibration.search import current, first_minutes, search_path
from calibration.thresholds import METHODS
from data.manifest import Utterance
from export.quantise import thresholds_of
from runtime.bundle import read_bundle, write_manifest
from tests.forks import command

MakeSet = Callable[..., Path]


def calibration(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return command("calibration", *arguments)


@pytest.fixture
def speech(tmp_path: Path, make_set: MakeSet) -> Path:
    return make_set(tmp_path / "asr_calib", [{"seconds": 13, "text": "a b c"}, {"seconds": 61}, {"seconds": 54}])


@pytest.fixture
def trained(toy: Path) -> Path:
    """The toy bundle, as if its weights were trained."""
    bundle = read_bundle(toy)
    checkpoint = bundle.checkpoint.model_copy(update={"weights": "trained"})
    write_manifest(toy, bundle.model_copy(update={"checkpoint": checkpoint}))
    return toy


def test_searches_once(
    trained: Path, speech: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calibration.search.GROUP_MINUTES", 0.2)
    words = ("--bundle", str(trained), "--data", str(speech), "--keep", "search", "--method", "percentile_99.9")
    run(parse_args(words))
    done = capsys.readouterr()
    assert done.err == ""
    found = current(trained, "percentile_99.9")
    assert found is not None
    print(found.lists)
    assert list(found.methods) == list(found.groups) == list(METHODS)
    assert {method: len(groups) for method, groups in found.groups.items()} == {
        method: 10 if method == "percentile_99.9" else 8 for method in METHODS
    }
    assert all(each.error.changed > found.bound for each in found.lists[:-1])
    assert found.lists[-1].error.changed <= found.bound
    assert found.kept, "noise clipped at 99.9 % changes more than a hundredth of the toy's frames"
    assert found.wer.words == 3  # the other references have digits
    assert (found.minutes, found.group_minutes) == (2.133, 0.217)
    quantisation = read_bundle(trained).quantisation
    assert quantisation is not None
    assert quantisation.kept == sorted(found.kept)
    quantised = thresholds_of(onnx.load(trained / "step.int8.onnx"))
    assert len(quantised) == 16 - len(found.kept)
    assert not quantised.keys() & set(found.kept)
    assert f"by percentile_99.9 with {len(found.kept)} products in FP16" in done.out

    again = calibration(*words).stdout
    assert f"{search_path(trained)} is up to date" in again
    assert "products in FP16, is up to date" in again
    plain = calibration("--bundle", trained, "--data", speech, "--method", "percentile_99.9").stdout
    assert "step.int8.onnx by percentile_99.9:" in plain
    assert read_bundle(trained).quantisation != quantisation
    assert current(trained, "max") is None
    path = calibration_path(trained)
    path.write_text(path.read_text() + "\n")
    assert current(trained, "percentile_99.9") is None, "another calibration file"
    search_path(trained).write_text("{}")
    assert current(trained, "percentile_99.9") is None


def test_random_weights_are_refused(toy: Path, speech: Path) -> None:
    done = calibration("--bundle", toy, "--data", speech, "--keep", "search")
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected trained weights for a sensitivity search, found random ones")
    assert len(done.stderr.splitlines()) == 1
    assert not search_path(toy).exists()


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [pytest.param(0.1, 1, id="one at least"), (1.0, 2), (1.01, 3), pytest.param(9.0, 4, id="all there are")],
)
def test_first_minutes(minutes: float, expected: int) -> None:
    clips = [Utterance(Path("a.wav"), "a", 30.0, "en", "unknown")] * 4
    assert len(first_minutes(clips, minutes)) == expected
