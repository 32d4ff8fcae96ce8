"""The backend that steps many streams at once, in onnxruntime on the real model: each stream is as the step of one stream has it."""

from pathlib import Path

import numpy as np
import pytest

from runtime.audio import load_audio
from runtime.backends import Backend, Step, StepResult, open_backend
from runtime.bundle import read_bundle
from runtime.errors import FullError
from tests.runtime.together import follow

STREAMS = 5
ENCODED, TIE = 1e-4, 1e-3
CLIP = Path("data/sample/clips/01.mp3")


@pytest.fixture(scope="module")
def backends(batched_bundle: Path) -> tuple[Backend, Backend]:
    """Of many streams, and of one."""
    bundle = read_bundle(batched_bundle)
    many, one = (
        open_backend(batched_bundle, bundle, "onnxruntime-cpu", "fp32", most_streams=most) for most in (STREAMS, None)
    )
    assert (many.most_streams, one.most_streams) == (STREAMS, None)
    return many, one


def test_every_stream_is_as_if_alone(backends: tuple[Backend, Backend], batched_bundle: Path) -> None:
    bundle = read_bundle(batched_bundle)
    audio = load_audio(CLIP, bundle.sample_rate)
    starts = range(0, len(audio) - bundle.window_samples, bundle.chunk_samples)
    windows = [audio[start : start + bundle.window_samples] for start in starts]
    largest, compared = 0.0, 0

    def compare(found: StepResult, expected: StepResult) -> None:
        nonlocal largest, compared
        assert expected.log_probs is not None
        largest = max(largest, float(np.abs(found.encoded - expected.encoded).max()))
        second, best = np.sort(expected.log_probs)[:, -2:].T
        clear = best - second > TIE
        assert np.array_equal(np.asarray(found.tokens)[clear], np.asarray(expected.tokens)[clear])
        compared += int(clear.sum())

    happened = follow(*backends, windows, compare, streams=STREAMS, runs=40)
    print(f"{dict(sorted(happened.items()))}: encoded within {largest:.1e}, {compared} tokens the same")
    assert largest <= ENCODED
    assert compared >= 0.98 * bundle.chunk_frames * (happened["steps"] + happened["peeks"])
    assert min(happened[what] for what in ("begun", "ended", "peeks")) >= 5


def test_slots(backends: tuple[Backend, Backend], batched_bundle: Path) -> None:
    backend, window = backends[0], np.zeros(read_bundle(batched_bundle).window_samples, np.float32)
    states = [backend.new_state() for _ in range(STREAMS)]
    with pytest.raises(FullError, match=f"expected at most {STREAMS} streams at once, found {STREAMS} open; close one"):
        backend.new_state()
    assert backend.run([]) == []
    first = backend.step(window, 10, states[0])
    kept = first.encoded.copy()
    backend.run([Step(window, 20, state) for state in states])
    assert np.array_equal(first.encoded, kept)
    states.clear()
    del first
    assert np.array_equal(backend.step(window, 10, backend.new_state()).encoded, kept), (
        "a slot that was used begins anew"
    )
