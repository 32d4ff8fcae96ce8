"""bundle.json is checked whole; whatever is wrong with a bundle is one line and no engine is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import InputError, Recognizer
from runtime.bundle import read_bundle

Change = Callable[[Path, dict[str, Any]], object]


def change(*keys: str | int, to: object) -> Change:
    """Set one value of bundle.json."""

    def apply(folder: Path, content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        (folder / "bundle.json").write_text(json.dumps(content))

    return apply


def remove(key: str) -> Change:
    def apply(folder: Path, content: dict[str, Any]) -> None:
        del content[key]
        (folder / "bundle.json").write_text(json.dumps(content))

    return apply


def write(name: str, content: bytes) -> Change:
    return lambda folder, _: (folder / name).write_bytes(content)


def unlink(name: str) -> Change:
    return lambda folder, _: (folder / name).unlink()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (unlink("bundle.json"), "found none; make it with `make export`"),
        (write("bundle.json", b"{"), "found at the file: Invalid JSON"),
        (write("bundle.json", b"\xff\xfe"), "found at the file: Invalid JSON"),
        (write("bundle.json", b"[]"), "found at the file: "),
        (remove("vocabulary"), "found at vocabulary: Field required"),
        (change("colour", to="blue"), "found at colour: Extra inputs are not permitted"),
        (change("checkpoint", "colour", to="blue"), "found at checkpoint.colour: Extra inputs are not permitted"),
        (
            change("schema_version", to=1),
            "{folder}/bundle.json is a bundle of schema 1, this version reads 2; make it again with `make export`",
        ),
        (change("schema_version", to="2"), "found at schema_version: "),
        (change("language_model", to={"name": "a"}), "found at language_model.model: Field required"),
        (change("language_model", "words", "sha256", to="0" * 64), "expected {folder}/lm_words.txt with sha256 000"),
        (unlink("lm.kenlm"), "expected lm.kenlm in the bundle"),
        (change("blank", to=3), "blank 3 is not the id after"),
        (change("sample_rate", to="16000"), "found at sample_rate: "),
        (
            change("steps", "fp32", "sha256", to="0" * 64),
            "expected {folder}/step.fp32.onnx with sha256 000000000000...",
        ),
        (change("steps", "fp32", "file", to="../step.onnx"), "found at steps.fp32.file: "),
        (change("steps", "fp32", "inputs", 0, "shape", to=[1, 7]), "has audio [1, 7]"),
        (change("steps", "fp32", "outputs", to=[]), "step lacks the outputs"),
        (change("decoders", to=["beam"]), "found at decoders.0: "),
        (change("decoders", to=["rnnt"]), "step fp32 with the decoders rnnt has tokens [1, 2], not None"),
        (change("decoders", to=["rnnt", "ctc"]), "decoders rnnt, ctc with 0 evaluations of RNN-T"),
        (change("prompts", to={"de": -1}), "found at prompts.de: Input should be greater than or equal to 0"),
        (change("prompts", to={}), "found at prompts: "),
        (change("prompts", to={"de": 9}), "language en is none of the 1 that have prompts"),
        (change("prompts", to={"en": 0}), "step fp32 with the decoders ctc has prompt None, not [1]"),
        (change("language", to=""), "found at language: "),
        (change("rnnt", to={"fp32": {}}), "found at rnnt.fp32.file: Field required"),
        (change("batched", to={"fp32": {}}), "found at batched.fp32.file: Field required"),
        (unlink("step.fp32.onnx"), "expected step.fp32.onnx in the bundle"),
        (write("step.fp32.onnx", b"not the step"), "with sha256"),
    ],
)
def test_broken_bundle(broken: Change, message: str, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    broken(folder, json.loads((folder / "bundle.json").read_text()))
    with pytest.raises(InputError) as error:
        Recognizer(folder, backend="onnxruntime-cpu")
    assert message.format(folder=folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["rnnt", "batched", "language", "prompts"])
def test_a_bundle_from_before_there_was(key: str, manifest_of_one: Path, tmp_path: Path) -> None:
    content = json.loads((manifest_of_one / "bundle.json").read_text())
    remove(key)(tmp_path, content)
    assert read_bundle(tmp_path) == read_bundle(manifest_of_one)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (change("batched", "fp32", "inputs", 0, "shape", to=[1, 7]), "batched fp32 has other inputs or outputs"),
        (change("batched", "fp32", "inputs", 3, "dtype", to="float16"), "does not match input kv_cache"),
        (change("steps", to={}), "batched fp32 has other inputs or outputs than the step"),
    ],
)
def test_a_step_over_many_streams_that_is_not_the_step(
    broken: Change, message: str, batched_bundle: Path, tmp_path: Path
) -> None:
    broken(tmp_path, json.loads((batched_bundle / "bundle.json").read_text()))
    with pytest.raises(InputError) as error:
        read_bundle(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bundle_from_before_symbols_had_scores(bundle_of: Callable[[str, int], Path], tmp_path: Path) -> None:
    content = json.loads((bundle_of("large-random", 80) / "bundle.json").read_text())
    for entry in content["rnnt"].values():
        for ends in ("inputs", "outputs"):
            entry[ends] = [each for each in entry[ends] if each["name"].removeprefix("next_") != "scores"]
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"rnnt lacks the inputs \['scores'\]; make it again with `make export`$"
    ) as error:
        read_bundle(tmp_path)
    assert "\n" not in str(error.value)
