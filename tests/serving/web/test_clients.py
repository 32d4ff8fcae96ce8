"""Clients that nobody here wrote: the openai package's and pipecat's, each a program of another environment, against a server's process."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from typing_extensions import Self

from runtime import EndpointRules, Final, Recognizer
from serving.web.sound import Sound, SoundFormat
from setup.environments import CLIENTS, Part
from tests.serving.triton.servers import free_port

PART, PROGRAMS = Part(CLIENTS, CLIENTS), Path(__file__).with_name("clients")
TOKEN = "a-token-of-the-tests-alone"  # noqa: S105
TIMEOUT_S = 30
STOPPED = 143
"""Exit code of what SIGTERM ended."""
CLIPS, PAUSE_S = (25, 22), 1.0
"""Two utterances without a pause, whose words are told from each other by far."""
SAID = "let us talk about something else"
"""The first of them."""
MANUAL = {"turn_detection": None}
TURN = ("speech_started", "speech_stopped", "committed", "added", "done", "completed")
Event = dict[str, Any]


class Serving:
    """A server's process, which can be started anew at the same port; it must end well."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        """`folder`: for its tokens and its log."""
        tokens, self.port, self._log = folder / "tokens", free_port(), folder / "log"
        tokens.write_text(TOKEN)
        places = [f"--bundle={bundle}", f"--port={self.port}", f"--token-file={tokens}"]
        self._command = [sys.executable, "-m", "serving.web", *places]

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + TIMEOUT_S
        while self._process.poll() is None and not answers(self.port):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(TIMEOUT_S) == STOPPED, self._log.read_text()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    found = Serving(bundle, tmp_path_factory.mktemp("server"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle, backend="onnxruntime-cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """At 48 kHz: the clips, with a pause after each."""
    found = []
    for clip in CLIPS:
        samples, rate = soundfile.read(f"data/sample/clips/{clip:02}.mp3", dtype="float32")
        found += [soxr.resample(samples, rate, 48_000), np.zeros(int(48_000 * PAUSE_S), np.float32)]
    return np.concatenate(found)


@pytest.fixture
def wav_at(speech: np.ndarray, tmp_path: Path) -> Callable[[int], Path]:
    """A rate in Hz to the speech as a WAV of 16 bits."""

    def write(rate: int) -> Path:
        soundfile.write(tmp_path / "speech.wav", soxr.resample(speech, 48_000, rate), rate, subtype="PCM_16")
        return tmp_path / "speech.wav"

    return write


def python(package: str) -> str:
    """The interpreter of the environment that has this package. Skips where there is none."""
    if package == "pipecat" and sys.version_info < (3, 11):
        pytest.skip(f"pipecat needs Python 3.11, found {sys.version_info.major}.{sys.version_info.minor}")
    if not (PART.stamp.exists() and list(PART.folder.glob(f"lib/python*/site-packages/{package}"))):
        pytest.skip(
            f"no {package} at {PART.folder}: `python -m setup.install {CLIENTS} {CLIENTS}`, which `make test` runs, installs it"
        )
    return str(PART.python)


class Program:
    """A program of that environment; what it tells are lines of JSON. One for all tests: to import it takes longer than to talk."""

    def __init__(self, package: str) -> None:
        command = [python(package), str(PROGRAMS / f"{package}_client.py")]
        environment = {**os.environ, "OPENAI_API_KEY": TOKEN, "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def begin(self, **said: object) -> None:
        """A `Conversation` of the program's."""
        self.say(json.dumps(said))

    def say(self, line: str = "") -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def rest(self) -> list[Any]:
        """What it tells up to the conversation's end."""
        *told, end = self.until(lambda found: found[-1] is None)
        assert end is None
        return told

    def until(self, is_last: Callable[[list[Any]], bool]) -> list[Any]:
        """What it tells, up to what makes this true, within the time."""
        found: list[Any] = []
        limit = threading.Timer(TIMEOUT_S, self._process.kill)
        limit.start()
        assert self._process.stdout
        while not (found and is_last(found)) and (line := self._process.stdout.readline()):
            found.append(json.loads(line))
        limit.cancel()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


Ask = Callable[..., list[Event]]


@pytest.fixture(scope="module")
def ask(server: Serving) -> Iterator[Ask]:
    """A conversation of the openai package's program to what it told."""
    with Program("openai") as program:

        def ask(file: Path, *until: str, token: str = TOKEN, **more: object) -> list[Event]:
            program.begin(url=f"http://127.0.0.1:{server.port}/v1", token=token, file=str(file), until=until, **more)
            return program.rest()

        yield ask


@pytest.fixture(scope="module")
def pipecat() -> Iterator[Program]:
    with Program("pipecat") as program:
        yield program


def finals(recognizer: Recognizer, samples: np.ndarray, *, turns: bool) -> list[Final]:
    """The recogniser's own, of the same samples."""
    stream = recognizer.stream(EndpointRules(min_silence_ms=500) if turns else None)
    found = [event for event in stream.push(samples) if isinstance(event, Final)]
    if not turns:
        found.append(stream.end_utterance())
    stream.close()
    return found


def converted(file: Path, sound_format: SoundFormat, *, turns: bool) -> np.ndarray:
    """What the server makes of a WAV or of G.711's bytes."""
    data = file.read_bytes() if file.suffix == ".raw" else soundfile.read(file, dtype="int16")[0].tobytes()
    sound = Sound(sound_format)
    samples = sound.push(data)
    return samples if turns else np.concatenate([samples, sound.flush()])


def utterances(events: list[Event]) -> dict[str, list[Event]]:
    """The events of each item."""
    found: dict[str, list[Event]] = {}
    for event in events:
        item = event.get("item_id") or event.get("item", {}).get("id")
        if item:
            found.setdefault(item, []).append(event)
    return found


@pytest.mark.parametrize(
    ("kind", "rate", "turns"),
    [
        ("audio/pcm", 24_000, True),
        ("audio/pcm", 24_000, False),
        ("audio/pcm", 16_000, True),
        ("audio/pcm", 16_000, False),
        ("audio/pcmu", 8_000, True),
        ("audio/pcma", 8_000, False),
    ],
)
def test_openai_s_client(
    ask: Ask, recognizer: Recognizer, wav_at: Callable[[int], Path], kind: str, rate: int, *, turns: bool
) -> None:
    file = wav_at(rate)
    if law := {"audio/pcmu": "ULAW", "audio/pcma": "ALAW"}.get(kind):
        wav, file = file, file.with_suffix(".raw")
        soundfile.write(file, *soundfile.read(wav), subtype=law, format="RAW")
    events = (
        ask(file, "completed", "completed", kind=kind)
        if turns
        else ask(file, "completed", kind=kind, commit=True, input=MANUAL)
    )
    wrong = [(event["class"], event["wrong"]) for event in events if event["wrong"]]
    if rate == 16_000:  # beyond the protocol, in which PCM is at 24 kHz
        assert [name for name, _ in wrong] == ["SessionUpdatedEvent"]
        assert "Input should be 24000" in wrong[0][1]
    else:
        assert wrong == []
    assert [event["type"] for event in events[:2]] == ["session.created", "session.updated"]
    sound_format = SoundFormat.model_validate({"type": kind, "rate": rate})
    expected = finals(recognizer, converted(file, sound_format, turns=turns), turns=turns)
    before = None
    for final, heard in zip(expected, utterances(events).values(), strict=True):
        types = [event["type"].rpartition(".")[2] for event in heard]
        told = {name: event for name, event in zip(types, heard, strict=True) if name != "delta"}
        assert tuple(told) == (TURN if turns else TURN[2:])
        assert "delta" not in (types[0], types[-1]) if turns else types[-1] != "delta"
        assert "".join(event["delta"] for event in heard if event["type"].endswith(".delta")) == final.text
        assert told["completed"]["transcript"] == final.text
        assert told["completed"]["usage"]["seconds"] == pytest.approx(final.audio_s)
        assert [word["start_s"] for word in told["completed"]["words"]] == [word.start_s for word in final.words]
        if turns:
            end_ms = round(1e3 * (final.start_s + final.audio_s))
            assert told["speech_started"]["audio_start_ms"] < told["speech_stopped"]["audio_end_ms"] == end_ms
        assert {told[name]["previous_item_id"] for name in ("committed", "added", "done")} == {before}
        before = told["completed"]["item_id"]
    assert " ".join(final.text for final in expected).startswith(SAID)


def test_audio_before_the_session_is_set(ask: Ask, recognizer: Recognizer, wav_at: Callable[[int], Path]) -> None:
    wav = wav_at(24_000)
    events = ask(wav, "completed", early=3, commit=True, input=MANUAL)
    (final,) = finals(recognizer, converted(wav, SoundFormat(), turns=False), turns=False)
    assert [event["type"] for event in events[:2]] == ["session.created", "session.updated"]
    assert events[-1]["transcript"] == final.text


def test_a_session_that_is_set_too_late(ask: Ask, wav_at: Callable[[int], Path]) -> None:
    events = ask(wav_at(24_000), "error", "completed", early=15, input=MANUAL)
    (error,) = [event for event in events if event["type"] == "error"]
    assert (error["class"], error["wrong"]) == ("RealtimeErrorEvent", None)
    assert (error["error"]["event_id"], error["error"]["code"]) == ("mine", "invalid_value")
    assert events[-1]["transcript"] == SAID


def test_a_token_that_is_none_of_the_server_s(ask: Ask, wav_at: Callable[[int], Path]) -> None:
    (said,) = ask(wav_at(24_000), "completed", token=TOKEN[1:])
    assert said["raised"] == "websockets.exceptions.InvalidStatus"  # which the package lets through
    assert said["message"].endswith("HTTP 401")


def talk(pipecat: Program, server: Serving, wav: Path, turns: str, transcriptions: int) -> None:
    url = f"ws://127.0.0.1:{server.port}/v1/realtime"
    pipecat.begin(url=url, wav=str(wav), turns=turns, transcriptions=transcriptions, speed=4.0)


def told(kind: str, times: int = 1) -> Callable[[list[Event]], bool]:
    return lambda found: [event["kind"] for event in found].count(kind) == times


def check_frames(events: list[Event], turn: list[str], expected: list[Final]) -> None:
    """A turn for each utterance, and what is told before its end is the beginning of what is told then."""
    interim = "InterimTranscriptionFrame"
    assert [event["kind"] for event in events if event["kind"] != interim] == turn * len(expected), events
    assert [event["text"] for event in events if event["kind"] == "TranscriptionFrame"] == [f.text for f in expected]
    assert "".join(event["text"] for event in events if event["kind"] == interim) == "".join(f.text for f in expected)


def test_pipecat_s_service_where_the_server_hears_turns(
    pipecat: Program, server: Serving, recognizer: Recognizer, wav_at: Callable[[int], Path]
) -> None:
    wav = wav_at(16_000)
    talk(pipecat, server, wav, "server", len(CLIPS))
    connected, *events = pipecat.rest()
    assert connected["kind"] == "connected"
    expected = finals(recognizer, soundfile.read(wav, dtype="int16")[0], turns=True)
    turn = ["ProposedUserStartedSpeakingFrame", "ProposedUserStoppedSpeakingFrame", "TranscriptionFrame"]
    check_frames(events, turn, expected)


def test_pipecat_s_service_where_it_hears_turns_itself_and_the_server_is_started_anew(
    pipecat: Program, server: Serving, recognizer: Recognizer, wav_at: Callable[[int], Path]
) -> None:
    wav = wav_at(16_000)
    expected = finals(recognizer, soundfile.read(wav, dtype="int16")[0], turns=True)
    turn = ["VADUserStartedSpeakingFrame", "VADUserStoppedSpeakingFrame", "TranscriptionFrame"]
    talk(pipecat, server, wav, "local", 2 * len(CLIPS))
    connected, *events = pipecat.until(told("TranscriptionFrame", len(CLIPS)))
    server.stop()
    server.start()
    lost = pipecat.until(told("connected"))
    pipecat.say()
    rest = pipecat.rest()
    assert connected["kind"] == "connected"
    check_frames(events, turn, expected)
    assert {event["kind"] for event in lost} <= {"connected", "ErrorFrame"}
    check_frames(rest, turn, expected)
