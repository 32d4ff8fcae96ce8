"""Voice activity against the package's own wrapper and its torch model; frames of any length; the model's lookup."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export import companions
from export.companions import silero_file
from runtime import Conversation, EndpointRules, InputError, Recognizer
from runtime.bundle import read_bundle, write_manifest
from runtime.vad import SAMPLE_RATE, WINDOW_SAMPLES, Vad


def whole(samples: np.ndarray) -> np.ndarray:
    return samples[: len(samples) // WINDOW_SAMPLES * WINDOW_SAMPLES]


@pytest.mark.nemo
@pytest.mark.parametrize("onnx", [True, False], ids=["OnnxWrapper", "torch"])
def test_equals_the_package(onnx: bool, sample: list[tuple[str, np.ndarray]]) -> None:
    import torch
    from silero_vad import load_silero_vad

    speech = whole(np.concatenate([samples for _, samples in sample[:3]]))
    reference = load_silero_vad(onnx=onnx)
    with torch.no_grad():
        windows = torch.from_numpy(speech).reshape(-1, WINDOW_SAMPLES)
        expected = np.array([float(reference(window, SAMPLE_RATE)) for window in windows])
    found = np.array(Vad(silero_file()).push(speech))
    print(f"{len(found)} windows, largest difference {np.abs(found - expected).max():.1e}")
    assert expected.min() < 0.1
    assert expected.max() > 0.9
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("frame", [1, 320, 496, 512, 640, 5000])
def test_frames_of_any_length(frame: int, sample: list[tuple[str, np.ndarray]]) -> None:
    speech = sample[0][1][: 2000 if frame == 1 else 20_000]
    detector = Vad(silero_file())
    found = [each for start in range(0, len(speech), frame) for each in detector.push(speech[start : start + frame])]
    assert found == Vad(silero_file()).push(speech)


def test_reset_is_a_new_one(sample: list[tuple[str, np.ndarray]]) -> None:
    used = Vad(silero_file())
    used.push(sample[0][1][:20_001])
    used.reset()
    assert used.push(sample[1][1]) == Vad(silero_file()).push(sample[1][1])


def test_a_reset_between_two_windows_is_a_new_one(sample: list[tuple[str, np.ndarray]]) -> None:
    """As at an endpoint: the window that ends the utterance was heard, and the generator goes on."""
    used = Vad(silero_file())
    for voice in used.voices(sample[0][1][:WINDOW_SAMPLES]):
        voice.run()
        used.reset()
    assert used.push(sample[1][1]) == Vad(silero_file()).push(sample[1][1])


def test_two_streams_do_not_mix(sample: list[tuple[str, np.ndarray]]) -> None:
    one, other = Vad(silero_file()), Vad(silero_file())
    mixed = []
    for start in range(0, 16_000, 512):
        mixed += one.push(sample[0][1][start : start + 512])
        other.push(sample[1][1][start : start + 512])
    assert mixed == Vad(silero_file()).push(sample[0][1][:16_384])[: len(mixed)]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companions, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"expected .*onnx of the silero-vad package, found none; run `make setup`"):
        silero_file()


def test_the_package_is_found_and_not_imported() -> None:
    code = "import sys; from export.companions import silero_file; assert silero_file().is_file()\n"
    code += "assert not {'torch', 'silero_vad'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_without_the_model(bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle", ignore=shutil.ignore_patterns("plans", "*int8*"))
    write_manifest(folder, read_bundle(bundle).model_copy(update={"voice_activity": None}))
    with Recognizer(folder, backend="onnxruntime-cpu", lm=None) as recognizer:
        stream = recognizer.stream()
        for ask in (lambda: recognizer.stream(EndpointRules()), lambda: Conversation(stream)):
            with pytest.raises(
                InputError, match=r"expected voice activity in the bundle .*, found none; .* `make export`$"
            ):
                ask()
