"""Real-time factors of one stream against values worked out by hand."""

import pytest

from bench.speech.recognise import rtf_per_window


@pytest.mark.parametrize(
    ("audio_s", "frame_ms", "frame_s", "expected"),
    [
        (10.0, 20, [0.001] * 500, [0.05]),
        (25.0, 20, [0.001] * 500 + [0.002] * 500 + [9.0] * 250, [0.05, 0.1]),  # the half window is left out
        (5.0, 20, [0.001] * 250, [0.05]),
        (20.01, 30, [0.003] * 667, [334 * 0.003 / 10, 333 * 0.003 / 10]),  # frame 333 begins at 9.99 s
    ],
)
def test_rtf_per_window(audio_s: float, frame_ms: int, frame_s: list[float], expected: list[float]) -> None:
    assert rtf_per_window(frame_s, audio_s, frame_ms) == pytest.approx(expected)
