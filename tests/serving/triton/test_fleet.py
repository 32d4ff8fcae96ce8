"""Two tritonservers, which are stopped and killed under conversations; nginx before them spreads these."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import InputError
from serving.options import Options
from serving.triton import health
from serving.triton.client import Conversation
from serving.triton.connection import Server
from serving.triton.repository import Served, write_repository
from tests.serving.triton.servers import Triton, proxied, running

CONVERSATIONS = 16
SOON_S = 2.0
PLAIN = Options(early="off")
PIECE = 4000


@pytest.fixture(scope="module")
def started(batched_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Triton]]:
    """Each has room for all conversations."""
    out = tmp_path_factory.mktemp("fleet") / "models"
    write_repository(batched_bundle, Served(CONVERSATIONS, backend="onnxruntime-cpu", lm="none"), out)
    two = [Triton(out, tmp_path_factory.mktemp("server")) for _ in range(2)]
    with running(*two):
        yield two


@pytest.fixture
def servers(started: list[Triton]) -> list[Triton]:
    """Both up, whatever a test before this one has left."""
    for server in started:
        if server.process.poll() is not None:
            server.start().wait()
    return started


class Talk:
    """A conversation about one clip; `said` is its final once there is one."""

    def __init__(self, url: str, model: str, speech: np.ndarray) -> None:
        self._conversation = Conversation(url, model, PLAIN)
        self._pieces = [speech[start : start + PIECE] for start in range(0, len(speech), PIECE)]
        self.said: str | None = None
        self.error: str | None = None

    def go_on(self, pieces: int | None = None) -> None:
        """Say so many pieces more, or all and end; an error is kept, and must come soon."""
        began_s = time.monotonic()
        try:
            while self._pieces and pieces != 0:
                self._conversation.push(self._pieces.pop(0))
                pieces = None if pieces is None else pieces - 1
                began_s = time.monotonic()
            if pieces is None:
                self.said = self._conversation.end()[-1].text
        except InputError as error:
            self.error = str(error)
            assert time.monotonic() - began_s < SOON_S
            assert "\n" not in self.error
        if self.said is not None or self.error:
            began_s = time.monotonic()
            self._conversation.close()
            assert time.monotonic() - began_s < SOON_S, "what is gone is not waited for"


def fresh(url: str, model: str, speech: np.ndarray) -> str | None:
    talk = Talk(url, model, speech)
    talk.go_on()
    assert not talk.error
    return talk.said


@pytest.fixture(scope="module")
def expected(started: list[Triton], model: str, sample: list[tuple[str, np.ndarray]]) -> str:
    """What is heard where nothing ends."""
    said = fresh(started[0].url, model, min((audio for _, audio in sample), key=len))
    assert said
    return said


def test_a_server_is_killed_under_conversations(
    servers: list[Triton], model: str, speech: np.ndarray, expected: str, tmp_path: Path
) -> None:
    first, second = servers
    before = health.answered(second.url, model)
    with proxied(servers, tmp_path) as url:
        talks = [Talk(url, model, speech) for _ in range(CONVERSATIONS)]
        for talk in talks:
            talk.go_on(2)
        assert not [talk.error for talk in talks if talk.error]
        elsewhere = (health.answered(second.url, model) - before) // 2
        stubs = first.stubs
        with ThreadPoolExecutor(CONVERSATIONS) as pool:
            going = [pool.submit(talk.go_on) for talk in talks]
            time.sleep(0.1)
            for stub in stubs:
                os.kill(stub, signal.SIGSTOP)  # it cannot end by itself, as it could not after crashes under load
            first.crash()
            for each in going:
                each.result()
        lost = [talk for talk in talks if talk.error]
        print(f"{len(lost)} of {CONVERSATIONS} conversations were on the server that was killed: {lost[0].error}")
        assert 0 < len(lost) == CONVERSATIONS - elsewhere < CONVERSATIONS
        assert {talk.said for talk in talks if not talk.error} == {expected}
        assert {fresh(url, model, speech) for _ in lost} == {expected}, "they go on once they connect again"
        first.start().wait()
        assert not stubs_left(stubs)
    assert fresh(first.url, model, speech) == expected


def stubs_left(stubs: list[int]) -> list[int]:
    """Those of the processes that still run, a while after their server ended."""
    assert stubs
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s and (left := [stub for stub in stubs if Path(f"/proc/{stub}").exists()]):
        time.sleep(0.1)
    return left


def test_a_stop_loses_nothing(servers: list[Triton], model: str, speech: np.ndarray, expected: str) -> None:
    first, _ = servers
    talks = [Talk(first.url, model, speech) for _ in range(4)]
    for talk in talks:
        talk.go_on(2)
    first.process.terminate()
    time.sleep(0.5)
    refused = Talk(first.url, model, speech)
    refused.go_on(1)
    assert refused.error

    for talk in talks:
        talk.go_on()
    assert [(talk.said, talk.error) for talk in talks] == [(expected, None)] * len(talks)
    assert first.process.wait(20) == 0
    first.start().wait()
    assert fresh(first.url, model, speech) == expected


def test_a_model_s_process_dies(servers: list[Triton], model: str, speech: np.ndarray, expected: str) -> None:
    _, second = servers
    talk = Talk(second.url, model, speech)
    talk.go_on(2)
    for stub in second.stubs:
        os.kill(stub, signal.SIGKILL)
    talk.go_on()
    assert talk.error
    with Server(second.url) as server:
        assert server.client.is_server_ready(), "Triton's own readiness is known not to tell"
    with pytest.raises(InputError, match=r"^expected .* to answer, found: .*not healthy"):
        health.check(second.url, model)
    second.crash()
    second.start().wait()
    assert fresh(second.url, model, speech) == expected
