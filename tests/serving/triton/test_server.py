"""A real tritonserver with the recogniser in it: transcripts, what clients do wrong, and how long a place is held."""

import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from typing_extensions import Self

from data.manifest import read_manifest
from runtime import EndpointRules, Recognizer
from runtime import __main__ as command_line
from runtime.errors import InputError
from runtime.events import Event, Final
from serving.options import Options
from serving.triton import health
from serving.triton.client import Conversation
from serving.triton.connection import Server
from tests.serving.triton.conftest import IDLE_S, STREAMS
from tests.serving.triton.servers import Triton

CLIPS = STREAMS + 4
"""More than there are places: some are given back and taken again."""
CONFIDENCE = 2e-3
"""A row of the step over many streams differs from the step by rounding, and a confidence is rounded to 0.001."""
PLAIN = Options(early="off")


def ragged(samples: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The clip in pieces of any length, FP32 and INT16 by turns where the samples are 16 bits wide."""
    chance, start = random.Random(seed), 0
    while start < len(samples):
        length = chance.choice([1, 160, 320, 1280, chance.randint(2, 8000)])
        piece = samples[start : start + length]
        pcm = piece * 32768
        yield pcm.astype(np.int16) if chance.random() < 0.5 and np.array_equal(pcm, np.round(pcm)) else piece
        start += length


def hear(url: str, model: str, pieces: Iterator[np.ndarray], options: Options = PLAIN) -> list[Event]:
    with Conversation(url, model, options) as conversation:
        return [event for piece in pieces for event in conversation.push(piece)] + conversation.end()


def rounded(events: list[Event]) -> list[dict[str, Any]]:
    """The events without confidences, and so comparable."""
    said = [event.json() for event in events]
    return [each | {"words": [word | {"confidence": 0} for word in each["words"]]} for each in said]


def confidences(events: list[Event]) -> list[float]:
    return [word.confidence for event in events for word in event.words]


def test_api_cli_and_server_say_the_same(
    triton: Triton,
    model: str,
    bundle: Path,
    sample: list[tuple[str, np.ndarray]],
) -> None:
    *others, longest = sorted(range(len(sample)), key=lambda number: len(sample[number][1]))
    chosen = [*others[: CLIPS - 1], longest]  # that one is longer than the encoder's context
    clips = [sample[number][1] for number in chosen]
    with ThreadPoolExecutor(STREAMS) as pool:
        jobs = [pool.submit(hear, triton.url, model, ragged(audio, seed)) for seed, audio in enumerate(clips)]
        served = [job.result() for job in jobs]
    with Recognizer(bundle, backend="onnxruntime-cpu") as recognizer:
        for seed, (audio, theirs) in enumerate(zip(clips, served, strict=True)):
            stream = recognizer.stream(early="off")
            ours = [event for piece in ragged(audio, seed) for event in stream.push(piece)] + [stream.end_utterance()]
            assert rounded(theirs) == rounded(ours)
            np.testing.assert_allclose(confidences(theirs), confidences(ours), atol=CONFIDENCE)
    listed = read_manifest(Path("data/sample/manifest_en.jsonl"))
    files = [str(listed[number].audio) for number in chosen]
    words = ["--bundle", str(bundle), "--backend", "onnxruntime-cpu", "--json", *files]
    with redirect_stdout(StringIO()) as out:
        command_line.run(command_line.parse_args(words))
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    finals = [(event["text"], event["audio_s"]) for event in said if event["event"] == "final"]
    assert [(events[-1].text, events[-1].audio_s) for events in served] == finals
    assert len({text for text, _ in finals}) > CLIPS / 2


def test_options_are_the_stream_s(
    triton: Triton, model: str, bundle: Path, sample: list[tuple[str, np.ndarray]]
) -> None:
    audio = np.concatenate([sample[1][1], np.zeros(16000, np.float32), sample[2][1]])
    options = Options(endpoints=True, hotwords={"timer": 3.0}, early="off")
    theirs = hear(triton.url, model, iter(np.array_split(audio, 30)), options)
    with Recognizer(bundle, backend="onnxruntime-cpu") as recognizer:
        stream = recognizer.stream(EndpointRules(), hotwords={"timer": 3.0}, early="off")
        ours = [event for piece in np.array_split(audio, 30) for event in stream.push(piece)] + [stream.end_utterance()]
    assert rounded(theirs) == rounded(ours)
    assert sum(isinstance(event, Final) for event in theirs) > 1


def client_command(url: str, model: str) -> list[str]:
    """The command line of the client, for a clip."""
    clip = "data/sample/clips/16.mp3"
    return [sys.executable, "-m", "serving.triton.client", clip, "--url", url, "--model", model]


def test_the_command_line(triton: Triton, model: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("timer\t3\n")
    command = client_command(triton.url, model)
    said = subprocess.run(
        [*command, "--hotwords", str(tmp_path / "words.txt")], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    lines = [line.split(" s  ")[1] for line in said.stdout.splitlines()]
    assert len(lines) > 2
    assert lines[-1] == "final: set a timer for twenty minutes"


class Requests:
    """Requests as no client of ours sends them."""

    def __init__(self, url: str, model: str) -> None:
        self.server, self.model = Server(url), model

    def send(
        self, sequence: int, *inputs: tuple[str, np.ndarray], start: bool = False, end: bool = False, **more: Any
    ) -> str:
        """The events, or the error."""
        made = [self.server.input(*each) for each in inputs]
        try:
            reply = self.server.client.infer(
                self.model, made, sequence_id=sequence, sequence_start=start, sequence_end=end, **more
            )
        except self.server.error as error:
            return str(error.message())
        return str(reply.as_numpy("events").item().decode())


@pytest.fixture
def requests(triton: Triton, model: str) -> Iterator[Requests]:
    made = Requests(triton.url, model)
    with made.server:
        yield made


SILENCE = ("audio", np.zeros((1, 160), np.float32))
BAD: dict[str, tuple[list[tuple[str, np.ndarray]], str]] = {
    "not finite": ([("audio", np.full((1, 9), np.nan, np.float32))], "expected finite samples, found 9 NaN"),
    "unscaled": ([("audio", np.full((1, 9), 21000, np.float32))], r"expected samples in -1..1, found up to 21,000"),
    "both": ([SILENCE, ("pcm", np.zeros((1, 9), np.int16))], "expected audio .FP32. or pcm .INT16., found both"),
    "too long": (
        [("pcm", np.zeros((1, 160_001), np.int16))],
        "expected at most 10 s of audio in a request, found 160,001",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_audio_is_that_request_s_error_alone(requests: Requests, case: str) -> None:
    inputs, message = BAD[case]
    assert requests.send(1, SILENCE, start=True) == "[]"
    said = requests.send(1, *inputs)
    assert re.match(message, said)
    assert "\n" not in said
    assert requests.send(1, SILENCE) == "[]"
    (final,) = json.loads(requests.send(1, end=True))
    assert final["audio_s"] == 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (b"{", "expected a stream's options as JSON, found: "),
        (100_000 * b"[", "expected a stream's options as JSON, found: "),
        (b"[]", "expected a stream's options, found at : "),
        (b'{"hotword": ["a"]}', "expected a stream's options, found at hotword: Extra inputs"),
        (b'{"early": "never"}', "expected a stream's options, found at early: "),
        (b'{"hotwords": ["\xff"]}', "expected a stream's options as JSON, found: "),
    ],
)
def test_bad_options_are_an_error_of_one_line(requests: Requests, options: bytes, message: str) -> None:
    assert requests.send(2, SILENCE, start=True) == "[]"  # what it was in is over either way
    said = requests.send(2, ("options", np.array([[options]], np.object_)), start=True)
    assert re.match(message, said), said
    assert "\n" not in said
    assert "expected START before other requests of sequence 2" in requests.send(2, end=True)


def test_audio_that_no_stream_takes(triton: Triton, model: str) -> None:
    with Conversation(triton.url, model) as conversation:
        with pytest.raises(InputError, match=r"^expected samples as a numpy array of float32 or int16, found float64"):
            conversation.push(np.zeros(160))  # type: ignore[arg-type]
        assert conversation.push(np.zeros(160, np.float32)) == []


@pytest.mark.parametrize("end", [False, True])
def test_a_sequence_that_nobody_began(requests: Requests, end: bool) -> None:
    assert "must specify the START flag" in requests.send(77, SILENCE, end=end)


def test_start_and_end_in_one_request(requests: Requests) -> None:
    (final,) = json.loads(requests.send(3, SILENCE, start=True, end=True))
    assert (final["event"], final["audio_s"]) == ("final", 0.01)


def test_a_start_on_a_sequence_begins_it_anew(requests: Requests) -> None:
    for _ in range(2):
        assert requests.send(4, SILENCE, start=True) == "[]"
    assert json.loads(requests.send(4, end=True))[0]["audio_s"] == 0.01


class Crowd:
    """All places in use, by sequences that are kept busy."""

    def __init__(self, requests: Requests) -> None:
        self._requests, self.numbers = requests, list(range(100, 100 + STREAMS))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep)

    def __enter__(self) -> Self:
        assert {self._requests.send(number, SILENCE, start=True) for number in self.numbers} == {"[]"}
        self._thread.start()
        return self

    def _keep(self) -> None:
        while not self._over.wait(IDLE_S / 6):
            for number in self.numbers:
                assert self._requests.send(number, SILENCE) == "[]"

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for number in self.numbers:
            self._requests.send(number, end=True)


def test_a_full_server_is_one_line_and_the_place_is_good_later(
    requests: Requests, triton: Triton, model: str, speech: np.ndarray
) -> None:
    with Conversation(triton.url, model, PLAIN) as waiting:
        with Crowd(requests) as crowd:
            began_s = time.monotonic()
            with pytest.raises(InputError, match=r"^expected a free place for .*, found all in use; try again"):
                waiting.push(speech[:1280])
            assert 0.9 * IDLE_S / 3 < time.monotonic() - began_s < 2 * IDLE_S / 3
            assert health.check(triton.url, model).startswith("full: ")
            requests.send(crowd.numbers.pop(), end=True)
            first = waiting.push(speech)  # the same correlation id
        time.sleep(IDLE_S / 2)  # its idle time counts from here
        assert waiting.end()[-1].text
        assert not first or first[-1].text


def test_health_recognises(triton: Triton, model: str) -> None:
    assert health.check(triton.url, model) == "it recognises"
    with pytest.raises(InputError, match=r"expected nothing at .* to answer, found: "):
        health.check(triton.url, "nothing")


def test_idle_streams_make_room(requests: Requests) -> None:
    before, after = (range(first, first + STREAMS) for first in (200, 300))
    assert {requests.send(number, SILENCE, start=True) for number in before} == {"[]"}
    time.sleep(IDLE_S)
    waiting, until_s = set(after), time.monotonic() + 3 * IDLE_S
    while (
        waiting and time.monotonic() < until_s
    ):  # Triton looks for idle ones now and then, and tells the model nothing of them
        waiting -= {number for number in waiting if requests.send(number, SILENCE, start=True, timeout=100_000) == "[]"}
    assert not waiting
    assert "must specify the START flag" in requests.send(200, SILENCE)
    assert [json.loads(requests.send(number, end=True))[0]["audio_s"] for number in after] == [0.01] * STREAMS


def in_use(triton: Triton, model: str) -> int:
    """Places that sequences hold, as seen by how many more can be begun at once."""
    extra = Requests(triton.url, model)
    with extra.server:
        numbers = range(900, 900 + STREAMS)
        begun = [number for number in numbers if extra.send(number, SILENCE, start=True, timeout=50_000) == "[]"]
        for number in begun:
            extra.send(number, end=True)
    return STREAMS - len(begun)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_client_gives_its_place_back(triton: Triton, model: str, number: signal.Signals) -> None:
    command = client_command(triton.url, model)
    with subprocess.Popen(
        [*command, "--realtime", "--early", "eager"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as client:
        assert client.stdout
        assert client.stdout.readline()  # it has a place
        client.send_signal(number)
        client.wait(10)
        assert client.returncode == 128 + number
        assert client.stderr
        assert client.stderr.read() == b""
    assert in_use(triton, model) == 0


def test_what_is_documented_of_metrics_is_there(triton: Triton, model: str) -> None:
    with urlopen(f"http://127.0.0.1:{triton.metrics_port}/metrics") as answer:
        told = answer.read().decode()
    documented = set(re.findall(r"`(nv_\w+)`", Path("docs/serving.md").read_text(encoding="utf-8")))
    assert documented
    for name in documented:
        assert re.search(rf"^{name}{{model=\"{model}\"", told, re.MULTILINE), name
