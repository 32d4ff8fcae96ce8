"""How sessions end, and that whatever a client does the next one is served."""

import gc
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosed

from runtime import CudaError, Recognizer
from runtime.backends import Step
from runtime.backends.slots import Rows, SlotState
from runtime.bundle import Bundle, read_bundle
from serving.web.connection import Limits
from tests.runtime.cheap import Cheap
from tests.serving.web.served import MANUAL, TIMEOUT_S, Client, Message, connected, served, session

NOISE = (2000 * np.random.default_rng(0).standard_normal(8_000)).astype(np.int16)
QUICK = Limits(streams=3, idle_s=1.5, session_s=4.0, slow_s=0.5, ping_s=0.5, message_bytes=100_000)
MANUALLY = {"type": "session.update", "session": {"audio": {"input": MANUAL}}}


def masked(kind: bytes, message: bytes) -> bytes:
    """A frame as a client's must be, masked, with zeros; `kind`: of text or of bytes."""
    length = b"\xfe" + len(message).to_bytes(2, "big") if len(message) > 125 else bytes([0x80 | len(message)])
    return kind + length + bytes(4) + message


class Failing(Cheap):
    """A GPU whose steps fail or hang, and that has no room for another stream, when it is told to."""

    fails = has_no_room = False

    def __init__(self, bundle: Bundle, most_streams: int) -> None:
        super().__init__(bundle, most_streams)
        self.goes_on = threading.Event()
        self.goes_on.set()

    def new_state(self) -> SlotState:
        if self.has_no_room:
            raise CudaError("cudaMalloc: cudaErrorMemoryAllocation, out of memory")
        return super().new_state()

    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, np.ndarray]:
        assert self.goes_on.wait(TIMEOUT_S)
        if self.fails:
            raise CudaError("cudaGraphLaunch: cudaErrorUnknown, unknown error")
        return super().run_rows(steps, rows)


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle, backend=Failing(read_bundle(bundle), QUICK.streams + 1), lm=None) as opened:
        yield opened


@pytest.fixture(scope="module")
def port(recognizer: Recognizer) -> Iterator[int]:
    with served(recognizer, QUICK) as found:
        yield found


@pytest.fixture(autouse=True)
def all_places_are_free(port: int) -> Iterator[None]:
    yield
    deadline = time.monotonic() + 3 * QUICK.ping_s + TIMEOUT_S
    while (count := metric(port, "asr_streams_open")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count == 0


def metric(port: int, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return float(next((line.split()[-1] for line in lines if line.startswith(f"{name} ")), 0))


def health(port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", "/health")
    response = connection.getresponse()
    return response.status, response.read().decode()


def text(client: Client, samples: np.ndarray = NOISE) -> str:
    client.speak(samples)
    client.ask("input_audio_buffer.commit")
    found: str = outcome(client)["transcript"]
    return found


def outcome(client: Client) -> Message:
    """What comes of what is committed next."""
    item = client.until("committed")[-1]["item_id"]
    while (message := client.until("completed", "failed")[-1])["item_id"] != item:
        pass
    return message


def ended(port: int, why: str) -> float:
    return metric(port, f'asr_sessions_ended_total{{why="{why}"}}')


def listen(client: Client, keeps_sending: bool) -> None:
    """To the end, which is raised."""
    while True:
        if keeps_sending:
            client.speak(NOISE[:320])
        with suppress(TimeoutError):
            client.heard.append(json.loads(client.socket.recv(0.1 if keeps_sending else TIMEOUT_S)))


@pytest.mark.parametrize(
    ("keeps_sending", "why", "after_s"),
    [(False, "session_idle", QUICK.idle_s), (True, "session_expired", QUICK.session_s)],
)
def test_a_session_that_lasts_too_long(recognizer: Recognizer, keeps_sending: bool, why: str, after_s: float) -> None:
    # A busy machine answers late, which is another reason to end.
    patient = Limits(QUICK.streams, idle_s=QUICK.idle_s, session_s=QUICK.session_s)
    with served(recognizer, patient) as port, session(port, MANUAL) as client:
        begun = time.monotonic()
        with pytest.raises(ConnectionClosed) as found:
            listen(client, keeps_sending)
        assert client.heard[-1]["error"]["code"] == why
        assert found.value.rcvd
        assert (found.value.rcvd.code, found.value.rcvd.reason) == (1001, why)
        assert after_s - 0.2 < time.monotonic() - begun < after_s + TIMEOUT_S
        assert ended(port, why) == 1


def test_a_message_that_is_too_long(port: int) -> None:
    with session(port, MANUAL) as client:
        client.socket.send(bytes(QUICK.message_bytes))
        client.socket.send(b"")
        client.socket.send(bytes(QUICK.message_bytes + 1))
        with pytest.raises(ConnectionClosed) as found:
            listen(client, keeps_sending=False)
        assert found.value.rcvd
        assert found.value.rcvd.code == 1009


def slow_down(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    run = Failing.run_rows

    def slowly(backend: Failing, steps: Sequence[Step], rows: Rows) -> Mapping[str, np.ndarray]:
        time.sleep(step_s)
        return run(backend, steps, rows)

    monkeypatch.setattr(Failing, "run_rows", slowly)


def upgraded(port: int) -> socket.socket:
    """A WebSocket of which this end answers nothing, pings neither."""
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(
        f"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101 Switching" in raw.recv(1000)
    return raw


def test_a_client_that_is_gone_without_a_word(port: int) -> None:
    begun = time.monotonic()
    with upgraded(port):
        assert metric(port, "asr_streams_open") == 1
        while metric(port, "asr_streams_open"):
            time.sleep(0.05)
            assert time.monotonic() < begun + TIMEOUT_S


def test_a_client_that_answers_no_ping_while_it_is_told_something(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def close_later(protocol: WebSocketsSansIOProtocol) -> None:
        """As uvicorn, where what was written before waits to be sent."""
        protocol.conn.fail(1011)
        protocol.close_sent = True
        protocol.loop.call_later(1.0, protocol.transport.close)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "keepalive_timeout", close_later)
    slow_down(monkeypatch, step_s=0.1)
    audio = np.tile(NOISE, 3).tobytes()  # a second
    log = logging.getLogger("uvicorn")
    log.addHandler(caplog.handler)  # it does not hand on
    with served(recognizer, Limits(QUICK.streams, ping_s=0.2)) as other, upgraded(other) as raw:
        raw.sendall(masked(b"\x81", json.dumps(MANUALLY).encode()) + 4 * masked(b"\x82", audio))
        begun = time.monotonic()
        while not ended(other, "client"):
            assert time.monotonic() < begun + TIMEOUT_S, [record.exc_text for record in caplog.records]
            time.sleep(0.05)
    log.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_client_that_is_slowed_down(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, step_s=0.02)
    patient = Limits(QUICK.streams, ping_s=QUICK.ping_s)
    with served(recognizer, patient) as other, session(other, MANUAL) as client:
        for _ in range(30):  # answers to pings wait behind it
            client.speak(NOISE, (len(NOISE),))
        client.ask("input_audio_buffer.commit")
        assert outcome(client)["type"].endswith("completed")


def test_a_client_that_does_not_read(recognizer: Recognizer) -> None:
    patient = Limits(QUICK.streams, slow_s=QUICK.slow_s)
    with served(recognizer, patient) as other, upgraded(other) as raw:
        raw.settimeout(TIMEOUT_S)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            raw.sendall(5_000_000 * masked(b"\x81", b"{]"))
        assert ended(other, "slow") == 1


def test_a_client_that_vanishes(port: int, recognizer: Recognizer) -> None:
    for number in range(3 * QUICK.streams):
        with session(port, MANUAL) as client:
            client.speak(NOISE)
            if number % 2:
                client.ask("input_audio_buffer.commit")
            client.socket.socket.shutdown(socket.SHUT_RDWR)
        while metric(port, "asr_streams_open"):
            time.sleep(0.01)
    with session(port, MANUAL) as client:
        assert text(client) == expected(recognizer)


def expected(recognizer: Recognizer) -> str:
    stream = recognizer.stream()
    try:
        stream.push(NOISE)
        return stream.end_utterance().text
    finally:
        stream.close()


def test_a_thousand_messages_that_are_none(port: int, recognizer: Recognizer) -> None:
    random = np.random.default_rng(1)
    valid = json.dumps(MANUALLY)
    with session(port, MANUAL) as client:
        for number in range(1_000):
            letters = list(valid)
            for place in random.integers(0, len(valid), 3):
                letters[place] = chr(random.integers(32, 1_000))
            client.socket.send("".join(letters) if number % 2 else bytes(random.integers(0, 256, 7).astype(np.uint8)))
            answer = client.next()
            assert answer["type"] in ("error", "session.updated")
            assert "\n" not in answer.get("error", {}).get("message", "")
        assert sum(message["type"] == "error" for message in client.heard) > 900
        assert text(client) == expected(recognizer)


def test_a_step_that_fails(port: int, recognizer: Recognizer) -> None:
    backend = failing(recognizer)
    with session(port, MANUAL) as client:
        backend.fails = True
        client.speak(NOISE)
        client.ask("input_audio_buffer.commit")
        messages = client.until("error", "failed")
        failed = messages[-1]
        if not any(each["type"].endswith("committed") for each in messages):  # it failed before the commit was read
            client.until("committed")
        status, said = health(port)
        backend.fails = False
        assert failed["error"]["message"] == "cudaGraphLaunch: cudaErrorUnknown, unknown error"
        assert status == 503
        assert "cudaErrorUnknown" in said
        assert text(client) == expected(recognizer)


def failing(recognizer: Recognizer) -> Failing:
    assert isinstance(recognizer.backend, Failing)
    return recognizer.backend


@pytest.mark.parametrize("begun", [False, True])
def test_a_gpu_without_room_for_the_stream(
    port: int, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    with ExitStack() as opened:
        client = opened.enter_context(session(port, MANUAL)) if begun else None
        monkeypatch.setattr(failing(recognizer), "has_no_room", True)
        if client is None:
            client = opened.enter_context(connected(port))
        else:
            client.ask("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
        said = client.next()
        with pytest.raises(ConnectionClosed) as ended:
            client.next()
    assert said["error"]["code"] == "server_full"
    assert said["error"]["message"] == "cudaMalloc: cudaErrorMemoryAllocation, out of memory"
    assert ended.value.rcvd
    assert ended.value.rcvd.code == 1013


TOO_SLOW = '{"status":"failing","why":"no final within 0.1 s"}'


def test_checks_that_time_out_take_one_place(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(QUICK.streams, health_s=0.1)
    goes_on, deadline = failing(recognizer).goes_on, time.monotonic() + TIMEOUT_S
    with ExitStack() as opened, served(recognizer, limits) as other:
        opened.callback(goes_on.set)
        goes_on.clear()
        for _ in range(limits.streams):
            assert health(other) == (503, TOO_SLOW)
        clients = [opened.enter_context(connected(other)) for _ in range(limits.streams)]
        assert [client.next()["type"] for client in clients] == limits.streams * ["session.created"]
        with monkeypatch.context() as patch:
            patch.setattr(failing(recognizer), "fails", True)
            goes_on.set()
            time.sleep(0.3)  # it fails while nobody waits for it
            while "cudaErrorUnknown" not in (said := health(other)[1]):
                assert said == TOO_SLOW
        while health(other)[0] != 200:  # a tenth of a second may be too short for this machine
            assert time.monotonic() < deadline
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == [], (
        "of a failure that nobody waited for"
    )


def test_a_server_that_is_stopped_while_a_client_does_not_read(
    recognizer: Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("uvicorn")
    with ExitStack() as longer, served(recognizer, Limits(QUICK.streams)) as other:
        deaf = longer.enter_context(upgraded(other))
        deaf.settimeout(0.5)
        with pytest.raises(TimeoutError):
            deaf.sendall(5_000_000 * b"\x81\x82\0\0\0\0{]")
        log.addHandler(caplog.handler)  # uvicorn's own does not hand on
    log.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_a_server_that_is_stopped(recognizer: Recognizer, port: int) -> None:
    assert port
    codes: list[int] = []

    def hear(client: Client) -> None:
        with pytest.raises(ConnectionClosed) as found:
            client.socket.recv(TIMEOUT_S)
        assert found.value.rcvd
        codes.append(found.value.rcvd.code)

    with served(recognizer, QUICK) as other, session(other, MANUAL) as client:
        client.speak(NOISE[:100])
        thread = threading.Thread(target=hear, args=(client,))
        thread.start()
    thread.join(TIMEOUT_S)
    assert codes[0] in (1000, 1012)
