"""Stream and Recognizer: any frame length gives the same events' text, finish equals a fresh stream, bad samples change nothing."""

import io
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from runtime import EndpointRules, Event, Final, InputError, Recognizer
from runtime.__main__ import parse_args, run
from runtime.backends import StepResult
from runtime.errors import CudaError, exit_code


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Recognizer:
    return Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=None)


@pytest.fixture(scope="module")
def speech(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    return sample[1][1]


def at_start(events: list[Event]) -> list[Event]:
    return [event.at(0.0) for event in events]


def recognise(recognizer: Recognizer, audio: np.ndarray, frame: int) -> tuple[list[Event], Final]:
    stream = recognizer.stream(early="off")
    partials = [each for start in range(0, len(audio), frame) for each in stream.push(audio[start : start + frame])]
    return partials, stream.end_utterance()


@pytest.mark.parametrize("frame", [1, 160, 320, 333, 640, 16_000, 10**6])
def test_frames_of_any_length(recognizer: Recognizer, speech: np.ndarray, frame: int) -> None:
    audio = speech[:24_000] if frame == 1 else speech
    partials, final = recognise(recognizer, audio, frame)
    expected_partials, expected = recognise(recognizer, audio, 320)
    assert partials == expected_partials
    assert final == expected
    assert final.text
    assert final.audio_s == len(audio) / 16_000


def test_partials_grow_to_the_final(recognizer: Recognizer, speech: np.ndarray) -> None:
    partials, final = recognise(recognizer, speech, 320)
    assert len(partials) >= 3
    events: list[Event] = [*partials, final]
    for earlier, later in pairwise(events):
        assert later.tokens[: len(earlier.tokens)] == earlier.tokens
        assert later.audio_s >= earlier.audio_s


def test_int16_and_float_agree(recognizer: Recognizer, speech: np.ndarray) -> None:
    integers = np.round(speech * 32767).astype(np.int16)
    assert recognise(recognizer, integers, 320) == recognise(recognizer, integers.astype(np.float32) / 32768, 320)


def test_a_finished_stream_is_a_fresh_one(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream(early="off")
    finals = []
    for _ in range(2):
        stream.push(speech)
        finals.append(stream.end_utterance())
    stream.push(speech[::-1].copy())
    stream.reset()
    stream.push(speech)
    assert [final.at(0.0) for final in (*finals, stream.end_utterance())] == [finals[0]] * 3


def test_streams_do_not_cross(recognizer: Recognizer, sample: list[tuple[str, np.ndarray]]) -> None:
    clips = [audio for _, audio in sample[:3]]
    streams = [recognizer.stream(early="off") for _ in clips]
    for start in range(0, max(map(len, clips)), 320):
        for stream, clip in zip(streams, clips, strict=True):
            stream.push(clip[start : start + 320])
    assert [each.end_utterance() for each in streams] == [recognise(recognizer, clip, 320)[1] for clip in clips]


@pytest.mark.parametrize("samples", [0, 1, 100, 1_479, 1_480])
def test_almost_nothing(recognizer: Recognizer, samples: int) -> None:
    partials, final = recognise(recognizer, np.zeros(samples, np.float32), 320)
    assert (partials, final.text) == ([], "")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan], np.float32), "found 1 NaN or infinite of 2"),
        (np.array([np.inf], np.float32), "found 1 NaN or infinite of 1"),
        (np.zeros(3, np.float64), "float32 or int16, found float64"),
        (np.zeros(3, np.int32), "float32 or int16, found int32"),
        ([0.0, 0.1], "float32 or int16, found list"),
        (np.zeros((2, 3), np.float32), "shape [n], found [2, 3]"),
    ],
)
def test_bad_samples_change_nothing(
    recognizer: Recognizer, speech: np.ndarray, samples: np.ndarray, message: str
) -> None:
    stream = recognizer.stream(early="off")
    stream.push(speech[:8_000])
    with pytest.raises(InputError) as error:
        stream.push(samples)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    stream.push(speech[8_000:])
    assert stream.end_utterance() == recognise(recognizer, speech, 320)[1]


def test_command_line_from_file_and_from_standard_input(
    bundle: Path,
    speech: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pcm = np.round(speech * 32767).astype("<i2")
    soundfile.write(tmp_path / "speech.wav", pcm, 16_000)
    run(parse_args([str(tmp_path / "speech.wav"), "--bundle", str(bundle), "--backend", "onnxruntime-cpu"]))
    from_file = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pcm.tobytes())))
    run(parse_args(["-", "--bundle", str(bundle), "--backend", "onnxruntime-cpu"]))
    assert capsys.readouterr().out == from_file
    assert "final: " in from_file
    assert from_file.count("\n") > 3


def test_a_failing_gpu_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise CudaError("cudaMalloc: cudaErrorMemoryAllocation, out of memory")

    assert exit_code(fail) == 1
    assert capsys.readouterr().err == "error: cudaMalloc: cudaErrorMemoryAllocation, out of memory\n"


def test_closed_standard_input(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    arguments = ["--bundle", str(bundle), "--backend", "onnxruntime-cpu", "-"]
    assert exit_code(lambda: run(parse_args(arguments))) == 2
    assert capsys.readouterr().err == (
        "error: expected samples on standard input, found it closed; send raw mono PCM, s16le, 16 kHz\n"
    )


@pytest.mark.parametrize("start_s", [-0.1, float("nan"), float("inf")])
def test_a_stream_starts_at_a_time(recognizer: Recognizer, start_s: float) -> None:
    with pytest.raises(InputError, match=r"expected a stream's start from 0 s on, found (-0.1|nan|inf); without"):
        recognizer.stream().reset(start_s)


def test_words_end_with_the_audio(recognizer: Recognizer, speech: np.ndarray) -> None:
    """Those that are decided in silence after it, too."""
    stream = recognizer.stream(early="off")
    words = 0
    for samples in range(8_000, len(speech), 1_000):
        stream.push(speech[:samples])
        final = stream.end_utterance(silence_ms=480)
        words += len(final.words)
        assert all(word.start_s <= word.end_s <= final.start_s + final.audio_s + 0.001 for word in final.words)
    assert words


@pytest.mark.parametrize("rules", [None, EndpointRules()])
@pytest.mark.parametrize("fails_at", [1, 2, 3])
@pytest.mark.parametrize("call", ["push", "end_utterance"])
def test_after_a_failed_step_an_utterance_begins_anew(  # noqa: PLR0917 -- a table
    recognizer: Recognizer,
    speech: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    fails_at: int,
    call: str,
    rules: EndpointRules | None,
) -> None:
    steps, real = 0, recognizer.backend.step

    def step(*arguments: Any) -> StepResult:
        nonlocal steps
        steps += 1
        if steps == fails_at:
            raise CudaError("the GPU is gone")
        return real(*arguments)

    stream, pushed = recognizer.stream(rules, early="off"), speech
    if call == "end_utterance":
        pushed = speech[:8_000]
        stream.push(pushed)
    with monkeypatch.context() as failing:
        failing.setattr(recognizer.backend, "step", step)
        with pytest.raises(CudaError, match="gone"):
            stream.push(pushed) if call == "push" else stream.end_utterance(silence_ms=1000)
    fresh = recognizer.stream(rules, early="off")
    events = [*stream.push(speech), stream.end_utterance()]
    assert at_start(events) == at_start([*fresh.push(speech), fresh.end_utterance()])
    assert events[0].start_s == round(len(pushed) / 16_000, 3), "what was lost is of the stream"
