"""What is counted: every frame of a stream's own states, against a numpy stream of the toy step, and in the exported step."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration import calibrate
from calibration.calibrate import PAUSES_S, ObservedBackend, stream_speech
from calibration.histogram import BINS
from calibration.thresholds import METHODS
from export.placement import QUANTISED
from runtime import Recognizer
from runtime.bundle import read_bundle
from runtime.errors import InputError

FRAMES, WINDOW = 2, 2560

# Clips one by one: whole steps (its flush owes one frame of two), less than a step, and one with a rest that owes two.
ALONE = [3 * WINDOW, 1000, 5 * WINDOW + 800]
PAUSES = [round(seconds * 16_000) for seconds in (*PAUSES_S, PAUSES_S[0])]
STREAM = [10_000, 70_001, 33_333, 12_345]
STREAM.append(110 * WINDOW + 700 - sum(STREAM) - sum(PAUSES))


def noise(lengths: list[int]) -> list[np.ndarray]:
    """Multiples of 1/64: what the toy step makes of them is exact in FP32."""
    rng = np.random.default_rng(11)
    return [(rng.integers(-64, 65, length) / 64).astype(np.float32) for length in lengths]


def frames(samples: int) -> int:
    """Encoder frames of an utterance: three halvings of the mel frames, each of n to n // 2 + 1."""
    mel = samples // 160
    return ((mel // 2 + 1) // 2 + 1) // 2 + 1


def utterance(samples: np.ndarray, weights: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """What every product of the toy step reads, step by step, of frames that the utterance has: written without the runtime."""
    state = np.zeros((1, 4), np.float32)
    owed = frames(len(samples))
    padded = np.append(samples, np.zeros(-len(samples) % WINDOW + WINDOW, np.float32))
    for step in range(-(-owed // FRAMES)):
        x = padded[step * WINDOW : (step + 1) * WINDOW].reshape(FRAMES, -1) @ weights["front"]
        y, state = x + state, x.sum(0, keepdims=True) - state
        read = {}
        for name in (f"layer{layer}/{suffix}" for layer in range(2) for suffix in QUANTISED):
            read[name] = y[: owed - step * FRAMES]
            y = y @ weights[f"{name}.weight"] + weights[f"{name}.bias"]
        yield read


@pytest.mark.parametrize("buffered", [1, 32, 10_000])
def test_counts_are_those_of_a_numpy_stream(
    toy: Path, weights: dict[str, np.ndarray], buffered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "BUFFERED_STEPS", buffered)
    alone, stream = noise(ALONE), noise(STREAM)
    backend = ObservedBackend(toy, read_bundle(toy))
    stream_speech(Recognizer(toy, backend=backend), iter([*alone, *stream]), len(alone))
    backend.flush()

    pauses = [np.zeros(length, np.float32) for length in PAUSES]
    joined = np.concatenate([part for pair in zip(pauses, stream, strict=True) for part in pair])
    read = [each for samples in (*alone, joined) for each in utterance(samples, weights)]
    assert backend.steps == len(read)
    worst = 0
    for name, tensor in backend.products.items():
        values = np.abs(np.concatenate([each[name].ravel() for each in read]))
        histogram = backend.histograms[tensor]
        expected, _ = np.histogram(values, bins=BINS, range=(0, histogram.limit))
        worst = max(worst, int(np.abs(histogram.counts - expected).max()))
        assert histogram.samples == values.size, name
        assert histogram.absolute_max == values.max(), name
        assert histogram.zeros == np.count_nonzero(values == 0), name
    print(f"{len(read)} steps of {len(backend.products)} products: largest difference of a bin {worst}")
    assert worst == 0


def test_pauses_fill_the_left_context(bundle: Path) -> None:
    described = read_bundle(bundle)
    context = max(described.step("fp32").input("kv_cache").shape)  # frames
    assert context >= 70
    assert max(PAUSES_S) >= context * described.encoder_frame_ms / 1000


def test_observing_the_exported_step_changes_nothing(bundle: Path, sample: list[tuple[str, np.ndarray]]) -> None:
    described = read_bundle(bundle)
    clips = [samples for _, samples in sample[:2]]
    backend = ObservedBackend(bundle, described)
    with (
        Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=None) as plain,
        Recognizer(bundle, backend=backend, lm=None) as observed,
    ):
        for clip in clips:
            texts = []
            for recognizer in (plain, observed):
                stream = recognizer.stream(early="off")
                stream.push(clip)
                texts.append(stream.end_utterance().text)
            print(texts[0])
            assert texts[0] == texts[1]
            assert texts[0]
    backend.flush()
    counted = sum(described.encoder_frames(len(clip)) for clip in clips)
    width = next(each.shape[2] for each in described.step("fp32").outputs if each.name == "encoded")
    for name, tensor in backend.products.items():
        wide = 4 if name.endswith(("ffn1.out", "ffn2.out")) else 1  # of the model's width
        assert backend.histograms[tensor].samples == counted * width * wide, name


def test_activations_that_are_not_finite_are_refused(
    toy: Path, model: onnx.ModelProto, rewrite: Callable[..., Path]
) -> None:
    bias = next(each for each in model.graph.initializer if each.name == "layer0/ffn1.out.bias")
    values = np.frombuffer(bias.raw_data, np.float32).copy()
    values[1] = np.nan
    bias.raw_data = values.tobytes()
    rewrite(toy, model)
    backend = ObservedBackend(toy, read_bundle(toy))
    with pytest.raises(InputError, match=r"^expected finite activations in layer0/ffn1.out, found \d+ NaN") as error:
        stream_speech(Recognizer(toy, backend=backend), noise([40 * WINDOW]), 1)
    assert "\n" not in str(error.value)


def test_a_bundle_without_fp32_is_observed_in_fp16(bundle: Path, sample: list[tuple[str, np.ndarray]]) -> None:
    """As of a step whose FP32 weights exceed 2 GB."""
    whole, clips = read_bundle(bundle), [clip for _, clip in sample[:2]]
    compared = ("max", "percentile_99.9")
    counted = {}
    for name, found in (("fp32", whole), ("fp16", whole.model_copy(update={"steps": {"fp16": whole.step("fp16")}}))):
        backend = ObservedBackend(bundle, found)
        stream_speech(Recognizer(bundle, backend=backend, lm=None), iter(clips), 2)
        backend.flush()
        counted[name] = {
            product: {method: METHODS[method](backend.histograms[tensor]) for method in compared}
            for product, tensor in backend.products.items()
        }
    assert counted["fp16"].keys() == counted["fp32"].keys()
    apart = {
        method: max(abs(counted["fp16"][each][method] / counted["fp32"][each][method] - 1) for each in counted["fp16"])
        for method in compared
    }
    print(f"FP16's thresholds from FP32's, at most: {apart}")
    assert max(apart.values()) < 0.05


def test_lengths_of_this_test_owe_what_they_should() -> None:
    rests = [length % WINDOW for length in (*ALONE, sum(STREAM) + sum(PAUSES))]
    assert all(rest <= 1500 for rest in rests)  # beyond that the toy step would owe more frames than a step has
    assert {frames(length) - length // WINDOW * FRAMES for length in ALONE} == {1, 2}
