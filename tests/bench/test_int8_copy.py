"""The copy of a bundle for another calibration method: linked, made whole, and the user's bundle as it was."""

import os
from pathlib import Path

import onnx
import pytest

from bench import ablation
from bench.ablation import int8_copy
from calibration.record import calibration_path
from calibration.step import add_int8
from export.quantise import thresholds_of
from runtime.bundle import read_bundle, step_file
from runtime.errors import InputError
from runtime.files import sha256
from tests.bench.toys import calibrated_toy


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ablation, "COPIES", tmp_path / "ablation")
    return calibrated_toy(tmp_path / "bundles" / "toy")


def files(folder: Path) -> dict[str, str]:
    return {each.name: sha256(each) for each in folder.iterdir() if each.is_file()}


@pytest.mark.parametrize("method", ["entropy", "percentile_99.99"])
def test_the_copy_has_its_method_s_step_and_the_source_has_none(source: Path, tmp_path: Path, method: str) -> None:
    before = files(source)
    folder = int8_copy(source, method)
    assert folder == tmp_path / "ablation" / f"toy-{method}"
    bundle = read_bundle(folder)
    assert bundle.quantisation is not None
    assert (bundle.quantisation.method, bundle.quantisation.kept) == (method, [])
    found = list(thresholds_of(onnx.load(step_file(folder, bundle, "int8")[0])).values())
    assert found == pytest.approx([2.0 if method == "entropy" else 3.0] * 16, rel=1e-3)
    assert files(source) == before
    assert (source / "step.fp32.onnx").samefile(folder / "step.fp32.onnx")
    assert "int8" not in read_bundle(source).steps


def test_a_second_copy_replaces_the_first_and_is_the_same(source: Path) -> None:
    (source / "plans").mkdir()
    (source / "plans" / "step.int8.plan").write_text("of the source's method")
    first = int8_copy(source, "max")
    assert not (first / "plans").exists()
    made = files(first)
    (first / "stale").write_text("")
    (first / "plans").mkdir()
    (first / "plans" / "step.int8.plan").write_text("of this method")
    assert files(int8_copy(source, "max")) == made
    assert (first / "plans" / "step.int8.plan").read_text() == "of this method"


def test_on_another_file_system_it_copies(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    folder = int8_copy(source, "max")
    assert files(folder)["step.fp32.onnx"] == files(source)["step.fp32.onnx"]
    assert not (source / "step.fp32.onnx").samefile(folder / "step.fp32.onnx")


def test_what_the_bundle_keeps_in_fp16_stays_so(source: Path) -> None:
    add_int8(source, "max", ["layer0/ffn1.in"])
    bundle = read_bundle(int8_copy(source, "entropy"))
    assert bundle.quantisation is not None
    assert (bundle.quantisation.method, bundle.quantisation.kept) == ("entropy", ["layer0/ffn1.in"])
    kept = read_bundle(source).quantisation
    assert kept is not None
    assert kept.method == "max"


def test_without_calibration(source: Path) -> None:
    calibration_path(source).unlink()
    with pytest.raises(InputError, match="found none; make it with `make calibrate`"):
        int8_copy(source, "max")
    assert not ablation.COPIES.exists()
