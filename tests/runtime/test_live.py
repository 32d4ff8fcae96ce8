"""The microphone (a fake sounddevice), pace and Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime import __main__ as main
from runtime import live
from runtime.__main__ import parse_args, run
from runtime.errors import exit_code
from runtime.live import UntilInterrupted, paced


class FakeSounddevice:
    """Stands for the module: a stream whose thread gives all of `audio`, with an overflow before the second frame."""

    class PortAudioError(Exception):
        pass

    def __init__(self, audio: np.ndarray, *, device: bool = True) -> None:
        self._audio, self._device = audio, device

    def InputStream(self, **of: Any) -> "FakeSounddevice":  # noqa: N802 -- its name
        if not self._device:
            raise self.PortAudioError("Error querying device -1")
        assert (of["samplerate"], of["channels"], of["dtype"]) == (16_000, 1, "float32")
        self._of = of
        return self

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._give, daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._thread.join(30)

    def _give(self) -> None:
        frame = self._of["blocksize"]
        buffer = np.empty((frame, 1), np.float32)  # one for all, as PortAudio's
        for number, start in enumerate(range(0, len(self._audio) - frame + 1, frame)):
            buffer[:, 0] = self._audio[start : start + frame]
            self._of["callback"](buffer, frame, None, SimpleNamespace(input_overflow=number == 1))
        buffer[:] = np.nan


def arguments(bundle: Path, *more: str) -> list[str]:
    return ["--bundle", str(bundle), "--backend", "onnxruntime-cpu", *more]


def test_the_microphone_until_ctrl_c(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sample: list[tuple[str, np.ndarray]],
) -> None:
    audio = sample[1][1]
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(audio))

    def until_all_was_heard(*of: Any) -> Iterator[np.ndarray]:
        yield from islice(live.microphone(*of), len(audio) // 320)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(main, "microphone", until_all_was_heard)
    handler = signal.getsignal(signal.SIGINT)
    assert exit_code(lambda: run(parse_args(arguments(bundle, "--mic")))) == 130
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) > 3
    assert lines[-1].split("s  ")[1].startswith("final:")
    assert said.err == "warning: overflow: the device's buffer ran over, some audio before this was lost\n"
    assert signal.getsignal(signal.SIGINT) is handler


def test_audio_that_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE_S", 0.1)
    fake = FakeSounddevice(np.arange(3200, dtype=np.float32))
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    warnings: list[str] = []
    frames = live.microphone(16_000, 320, warnings.append)
    first = next(frames)
    fake._thread.join(30)
    rest = [next(frames) for _ in range(4)]
    assert np.array_equal(np.concatenate([first, *rest]), np.arange(1600, dtype=np.float32))
    assert 4 <= len([each for each in warnings if "20 ms of audio were lost" in each]) <= 5


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (None, ["--mic"], "expected sounddevice and PortAudio"),
        (FakeSounddevice(np.zeros(0), device=False), ["--mic"], "Error querying device -1"),
        (FakeSounddevice(np.zeros(0, np.float32)), ["--mic"], "found none for 0.01 s"),
        (None, [], "expected files or --mic, found neither"),
        (None, ["--mic", "a.wav"], "expected files or --mic, found both"),
    ],
)
def test_one_line_where_it_cannot_listen(  # noqa: PLR0917 -- fixtures
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: FakeSounddevice | None,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(live, "SILENT_DEVICE_S", 0.01)
    assert exit_code(lambda: run(parse_args(arguments(bundle, *words)))) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_frames_come_at_the_pace_of_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    for number in paced(range(4), 0.02):
        now[0] += 0.05 if number == 1 else 0.005  # the second one takes longer than a frame: nothing drifts
    assert slept == [0.02, 0.015, 0.0, 0.0]


def test_ctrl_c_between_two_frames_waits_for_the_work_on_them() -> None:
    frames = UntilInterrupted(range(5))
    done = []
    for number in frames:
        if number == 2:
            signal.raise_signal(signal.SIGINT)
        done.append(number)
    assert (done, frames.interrupted) == ([0, 1, 2], True)


def test_ctrl_c_while_a_frame_is_awaited() -> None:
    def source() -> Iterator[int]:
        yield 0
        signal.raise_signal(signal.SIGINT)
        yield 1

    frames = UntilInterrupted(source())
    assert (list(frames), frames.interrupted) == ([0], True)
