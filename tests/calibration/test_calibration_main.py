"""`python -m calibration`, as a process: what it writes, when it works again, and its exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from bench.step.int8_accuracy import report
from calibration.record import calibration_path, read_calibration
from export.placement import QUANTISED
from export.quantise import thresholds_of
from runtime.bundle import read_bundle, write_manifest
from runtime.errors import InputError
from runtime.files import sha256
from tests.forks import command

ROOT = Path(__file__).parents[2]
MakeSet = Callable[..., Path]  # of the fixtures that write a set or a bundle


def calibration(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return command("calibration", *arguments)


@pytest.fixture
def speech(tmp_path: Path, make_set: MakeSet) -> Path:
    return make_set(tmp_path / "asr_calib", [{"seconds": 61, "speaker": "unknown"}, {"seconds": 61}, {"seconds": 6}])


def test_calibrates_once(toy: Path, speech: Path, model: onnx.ModelProto, rewrite: MakeSet, make_set: MakeSet) -> None:
    path = calibration_path(toy)
    done = calibration("--bundle", toy, "--data", speech)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"wrote {path}: 16 products by 6 methods from 2.1 minutes" in done.stdout
    assert "1 of 3 clips name no speaker" in done.stdout
    found = read_calibration(path, read_bundle(toy))
    assert list(found.products) == [f"layer{layer}/{suffix}" for layer in range(2) for suffix in QUANTISED]
    assert [(each.name, each.clips) for each in found.data] == [("noise_en", 3)]
    assert found.steps > (2 * 61 + 6) * 16_000 / 2560
    for name, activation in found.products.items():
        print(name, activation.absolute_max, activation.amax)
        assert activation.amax["max"] == activation.absolute_max
        assert (
            activation.amax["percentile_99.9"] < activation.absolute_max
        )  # noise is Gaussian, and so is the toy's sum of it

    assert f"wrote {toy / 'step.int8.onnx'} by mse" in done.stdout
    quantisation = read_bundle(toy).quantisation
    assert quantisation is not None
    assert (quantisation.method, quantisation.calibration_sha256) == ("mse", sha256(path))

    before = path.stat().st_mtime_ns
    again = calibration("--bundle", toy, "--data", speech).stdout
    assert f"{path} is up to date" in again
    assert "INT8 step, by mse, is up to date" in again
    assert path.stat().st_mtime_ns == before
    quantised_by_other = (toy / "bundle.json").read_text().replace(quantisation.sources, "0" * 64)
    (toy / "bundle.json").write_text(quantised_by_other)
    assert "step.int8.onnx by mse" in calibration("--bundle", toy, "--data", speech).stdout
    other = calibration("--bundle", toy, "--data", speech, "--method", "max").stdout
    assert f"{path} is up to date" in other
    assert "step.int8.onnx by max" in other
    scales = thresholds_of(onnx.load(toy / "step.int8.onnx"))
    worst = max(abs(scales[name] / activation.amax["max"] - 1) for name, activation in found.products.items())
    print(f"scales by max: within {worst:.1e}")
    assert worst <= 1e-6

    redone = calibration("--bundle", toy, "--data", speech, "--minutes", "2")
    assert "wrote" in redone.stdout, redone.stderr
    assert "from 2.0 minutes" in redone.stdout
    make_set(speech, [{"seconds": 122}])
    assert "wrote" in calibration("--bundle", toy, "--data", speech, "--minutes", "2").stdout
    model.graph.doc_string = "another step"
    rewrite(toy, model)
    assert "wrote" in calibration("--bundle", toy, "--data", speech, "--minutes", "2").stdout
    broken = json.loads(path.read_text()) | {"extra": 1}
    path.write_text(json.dumps(broken))
    assert "wrote" in calibration("--bundle", toy, "--data", speech, "--minutes", "2").stdout


def test_a_bundle_without_fp32(toy: Path, speech: Path) -> None:
    found = read_bundle(toy)
    write_manifest(toy, found.model_copy(update={"steps": {"fp16": found.step("fp16")}}))
    done = calibration("--bundle", toy, "--data", speech)
    assert done.returncode == 0, done.stderr
    assert read_bundle(toy).steps.keys() == {"fp16", "int8"}
    refused = calibration("--bundle", toy, "--data", speech, "--keep", "search")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    says = "expected a bundle with an FP32 step for --keep search, found toy with fp16, int8 alone; do without"
    assert says in refused.stderr
    with pytest.raises(InputError, match="expected a bundle with an FP32 step for the accuracy report, found toy with"):
        report(toy, [], [])


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        pytest.param([{"seconds": 5}], "at least 2 minutes", id="too small"),
        pytest.param([{"level": 0.0}] * 2, "silent", id="silent"),
        pytest.param([{"level": 2.0}] * 2, "full scale", id="clipped"),
        pytest.param([{"rate": 8000}] * 2, "16000 Hz or more", id="telephone rate"),
    ],
)
def test_bad_speech_is_exit_code_2_and_one_line(
    tmp_path: Path, toy: Path, make_set: MakeSet, clips: list[dict[str, object]], says: str
) -> None:
    place = make_set(tmp_path / "asr_calib", clips)
    done = calibration("--bundle", toy, "--data", place)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert not calibration_path(toy).exists()


def test_overlap_with_evaluation_speech_is_refused(tmp_path: Path, toy: Path, speech: Path, make_set: MakeSet) -> None:
    evaluation = make_set(tmp_path / "mine", [{"seconds": 1, "text": "Sentence number 1!"}])
    done = calibration("--bundle", toy, "--data", speech, "--eval", evaluation)
    assert done.returncode == 2
    assert "1 sentences (such as 'sentence number 1')" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_step_of_another_hash_is_refused(toy: Path, speech: Path) -> None:
    with (toy / "step.fp32.onnx").open("ab") as file:
        file.write(b"\0")
    done = calibration("--bundle", toy, "--data", speech)
    assert done.returncode == 2
    assert "with sha256" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not calibration_path(toy).exists()


def test_imports_neither_torch_nor_nemo() -> None:
    modules = (
        "calibration.__main__, calibration.calibrate, calibration.exposed, calibration.speech, calibration.thresholds"
    )
    code = f"import sys; import {modules}; print({{'torch', 'nemo'}} & sys.modules.keys() or 'neither')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "neither", done.stderr
