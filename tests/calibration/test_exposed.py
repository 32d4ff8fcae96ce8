"""What a step shows of the tensors within it: the frames that the audio has, as both who count and who compare see them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from calibration.calibrate import ObservedBackend
from calibration.exposed import ExposedStep
from runtime.backends import ALL_VALID
from runtime.bundle import read_bundle

# Mel frames that are left, encoder frames of them: a step has two.
FLUSHES = [(ALL_VALID, 2), (16, 2), (2, 2), (1, 1), (0, 1)]


@pytest.fixture
def window() -> np.ndarray:
    return (np.random.default_rng(7).integers(-64, 65, 2560) / 64).astype(np.float32)


@pytest.mark.parametrize(("valid", "frames"), FLUSHES)
def test_frames_of_a_flush_in_either_order(
    toy: Path, model: onnx.ModelProto, window: np.ndarray, valid: int, frames: int
) -> None:
    model.graph.node.append(helper.make_node("Transpose", ["start"], ["turned"], name="turned", perm=[1, 0]))
    before = model.SerializeToString()
    step = ExposedStep(model, read_bundle(toy), ["encoded", "start", "turned"], threads=1)
    assert model.SerializeToString() == before
    result = step.step(window, valid, step.new_state())
    shown = {tensor: kept for tensor, (kept,) in step.kept.items()}
    assert result.encoded.shape == (2, 4)
    assert np.array_equal(shown["encoded"], result.encoded[:frames])
    assert shown["start"].shape == (frames, 4)
    assert np.array_equal(shown["turned"], shown["start"].T)


@pytest.mark.parametrize(("valid", "frames"), FLUSHES)
def test_who_counts_and_who_compares_see_the_same_frames(
    toy: Path, model: onnx.ModelProto, window: np.ndarray, valid: int, frames: int
) -> None:
    counted = ObservedBackend(toy, read_bundle(toy))
    compared = ExposedStep(model, read_bundle(toy), [*counted.histograms], threads=1)
    for backend in (counted, compared):
        backend.step(window, valid, backend.new_state())
    counted.flush()
    for tensor, histogram in counted.histograms.items():
        (kept,) = compared.kept[tensor]
        assert kept.shape == (frames, 4)
        assert (histogram.samples, histogram.absolute_max) == (kept.size, np.abs(kept).max())
