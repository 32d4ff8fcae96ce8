"""Frames that come late, unevenly or many at once: the lag is reported, it is caught up with, and nothing is lost."""

import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.speech.arrivals import VirtualClock, listen
from bench.speech.clips import Clip
from runtime import Recognizer


class LateClock(VirtualClock):
    """Frames are there only some time after they were captured, in order; computing takes no time."""

    def __init__(self, arrives: Callable[[float], float]) -> None:
        super().__init__(timer=lambda: 0.0)
        self._arrives = arrives

    def wait_until(self, time_s: float) -> None:
        super().wait_until(max(time_s, self._arrives(time_s)))


def bursts(time_s: float) -> float:
    """Ten frames at once."""
    return math.ceil(time_s / 0.2 - 1e-9) * 0.2


def jitter() -> Callable[[float], float]:
    """Some frames up to 80 ms late, those behind them with them."""
    rng = random.Random(4)
    return lambda time_s: time_s + rng.choice([0, 0, 0, 0.01, 0.08])


def gap(time_s: float) -> float:
    """Nothing between 0.5 and 1.5 s."""
    return 1.5 if 0.5 < time_s < 1.5 else time_s


@pytest.fixture(scope="module", params=["default", None], ids=["beam", "greedy"])
def recognizer(request: pytest.FixtureRequest, bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=request.param) as recognizer:
        yield recognizer


@pytest.mark.parametrize(
    ("arrives", "backlog_ms", "catch_up_ms"),
    [  # of frames of 20 ms
        (lambda time_s: time_s, 0, 0),
        (bursts, 180, 180),  # all of a burst, but for its last
        (jitter(), (61, 80), (40, 600)),
        (gap, 980, 980),  # from the first late frame, captured at 0.52 s
    ],
    ids=["on time", "bursts", "jitter", "gap"],
)
def test_late_frames(
    recognizer: Recognizer,
    sample: list[tuple[str, np.ndarray]],
    arrives: Callable[[float], float],
    backlog_ms: float | tuple[float, float],
    catch_up_ms: float | tuple[float, float],
) -> None:
    audio = sample[0][1]
    whole = recognizer.stream(early="off")
    whole.push(audio)
    expected = whole.end_utterance()
    stream, clip = recognizer.stream(early="off"), Clip("a.wav", audio, 16_000, sample[0][0], None)
    listened = listen(stream, clip, 20, LateClock(arrives))
    final, found = listened.final, (1e3 * listened.backlog_s, 1e3 * listened.catch_up_s)
    print(f"backlog {found[0]:.0f} ms, caught up after {found[1]:.0f} ms: {final.event.text}")
    assert expected.text
    assert final.event.text == expected.text
    for ms, wanted in zip(found, (backlog_ms, catch_up_ms), strict=True):
        low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
        assert low - 1e-6 <= ms <= high + 1e-6
    assert final.end_s - final.arrival_s <= 0.2  # not later than the last frame's burst


def test_a_bursty_pipe_with_pieces_of_any_length(bundle: Path, sample: list[tuple[str, np.ndarray]]) -> None:
    pcm = np.round(sample[0][1] * 32767).astype(np.int16)
    with Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu") as recognizer:
        stream = recognizer.stream(early="off")
        stream.push(pcm)
        expected = stream.end_utterance()
    command = [sys.executable, "-m", "runtime", "--bundle", str(bundle), "--backend", "onnxruntime-cpu", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False)
    assert process.stdin is not None

    def send(content: bytes) -> None:
        assert process.stdin is not None
        rng = random.Random(3)
        while content:
            piece, content = content[: (size := rng.choice([1, 3, 641, 1280, 20_001]))], content[size:]
            process.stdin.write(piece)
            process.stdin.flush()
            time.sleep(rng.choice([0, 0, 0.01]))
        process.stdin.close()

    sender = threading.Thread(target=send, args=(pcm.tobytes(),))
    sender.start()
    assert process.stdout is not None
    said = process.stdout.read().decode().splitlines()
    sender.join()
    assert process.wait() == 0
    assert said[-1] == f"{expected.audio_s:8.2f} s  final: {expected.text}"
