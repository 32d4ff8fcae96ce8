"""Voice activity against the package's own wrapper and its torch model; frames of any length; the model's lookup."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import vad
from runtime.errors import InputError
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
    found = np.array(Vad().push(speech))
    print(f"{len(found)} windows, largest difference {np.abs(found - expected).max():.1e}")
    assert expected.min() < 0.1
    assert expected.max() > 0.9
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("frame", [1, 320, 496, 512, 640, 5000])
def test_frames_of_any_length(frame: int, sample: list[tuple[str, np.ndarray]]) -> None:
    speech = sample[0][1][: 2000 if frame == 1 else 20_000]
    detector = Vad()
    found = [each for start in range(0, len(speech), frame) for each in detector.push(speech[start : start + frame])]
    assert found == Vad().push(speech)


def test_reset_is_a_new_one(sample: list[tuple[str, np.ndarray]]) -> None:
    used = Vad()
    used.push(sample[0][1][:20_001])
    used.reset()
    assert used.push(sample[1][1]) == Vad().push(sample[1][1])


def test_two_streams_do_not_mix(sample: list[tuple[str, np.ndarray]]) -> None:
    one, other = Vad(), Vad()
    mixed = []
    for start in range(0, 16_000, 512):
        mixed += one.push(sample[0][1][start : start + 512])
        other.push(sample[1][1][start : start + 512])
    assert mixed == Vad().push(sample[0][1][:16_384])[: len(mixed)]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"expected .*onnx of the silero-vad package, found none; run `make setup`"):
        vad._model()


def test_files_on_the_path_are_enough(tmp_path: Path) -> None:
    (tmp_path / "silero_vad/data").mkdir(parents=True)
    (tmp_path / "silero_vad/__init__.py").write_text("raise ImportError('not to be imported')\n")
    (tmp_path / "silero_vad" / vad.MODEL).write_bytes(vad._model().read_bytes())
    code = "import sys, numpy; sys.path.insert(0, sys.argv[1]); from runtime.vad import Vad, _model\n"
    code += "assert str(_model()).startswith(sys.argv[1]); print(Vad().push(numpy.zeros(512, numpy.float32)))\n"
    code += "assert not {'torch', 'silero_vad'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
