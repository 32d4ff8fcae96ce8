"""Who gets in, who does not, and what everybody sees."""

import http.client
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from runtime import Recognizer
from runtime.errors import InputError
from serving.web.__main__ import parse_args, run
from serving.web.access import Access, read_tokens
from serving.web.app import OTHERS, Server
from serving.web.connection import Limits
from tests.serving.web.served import served, wait_for_a_place

TOKEN, OTHER = "a-token-of-length", "another-token-of-it"
ELSEWHERE = "https://elsewhere.example"


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle, lm=None) as opened:
        yield opened


@pytest.fixture(scope="module")
def ports(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text(f"{TOKEN}\n\n{OTHER}\n")
    with served(recognizer) as bare, served(recognizer, access=Access(read_tokens(file), (ELSEWHERE,))) as guarded:
        yield {"bare": bare, "guarded": guarded}


BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("server", "headers", "offered", "refused"),
    [
        ("bare", {}, [], None),
        ("bare", {"Host": "localhost:1"}, [], None),
        ("bare", {"Host": "[::1]:1"}, [], None),
        ("bare", {"Host": "rebound.example"}, [], (403, "host_not_allowed")),
        ("bare", {"Host": "rebound.example", "Origin": "http://rebound.example"}, [], (403, "host_not_allowed")),
        ("bare", {"Host": "127.0.0.1.example"}, [], (403, "host_not_allowed")),
        ("bare", {"Host": "[::1"}, [], (403, "host_not_allowed")),
        ("bare", {"Origin": "http://evil.example"}, [], (403, "origin_not_allowed")),
        ("bare", {"Host": "localhost:7", "Origin": "http://localhost:7"}, [], None),
        ("bare", {"Host": "localhost:7", "Origin": "http://localhost:8"}, [], (403, "origin_not_allowed")),
        ("bare", {"Origin": "null"}, [], (403, "origin_not_allowed")),
        ("bare", {"Origin": "http://["}, [], (403, "origin_not_allowed")),
        ("guarded", {}, [], (401, "invalid_api_key")),
        ("guarded", BEARER, [], None),
        ("guarded", {"Authorization": f"bearer {OTHER}", "Host": "asr.example"}, [], None),
        ("guarded", {"Authorization": f"Basic {TOKEN}"}, [], (401, "invalid_api_key")),
        ("guarded", {"Authorization": f"Bearer {TOKEN[:-1]}"}, [], (401, "invalid_api_key")),
        ("guarded", {"Authorization": "Bearer "}, [], (401, "invalid_api_key")),
        ("guarded", {**BEARER, "Origin": ELSEWHERE}, [], None),
        ("guarded", {**BEARER, "Origin": "https://evil.example"}, [], (403, "origin_not_allowed")),
        ("guarded", {}, ["realtime", f"openai-insecure-api-key.{TOKEN}"], None),
        ("guarded", {}, ["realtime", "openai-insecure-api-key.wrong"], (401, "invalid_api_key")),
    ],
)
def test_who_gets_in(
    ports: dict[str, int],
    server: str,
    headers: dict[str, str],
    offered: list[str],
    refused: tuple[int, str] | None,
) -> None:
    def first_message() -> dict[str, object]:
        url = f"ws://{headers.get('Host', f'127.0.0.1:{ports[server]}')}/v1/realtime"
        others = {name: value for name, value in headers.items() if name != "Host"}
        reached = socket.create_connection(("127.0.0.1", ports[server]))
        with connect(
            url, sock=reached, additional_headers=others, subprotocols=[Subprotocol(name) for name in offered] or None
        ) as client:
            assert client.subprotocol == ("realtime" if offered else None)
            found: dict[str, object] = json.loads(client.recv())
            return found

    if headers.get("Host") == "[::1":
        connection = http.client.HTTPConnection("127.0.0.1", ports[server])
        connection.request("GET", "/metrics", headers=headers)
        assert connection.getresponse().status == 403
    elif refused is None:
        assert first_message()["type"] == "session.created"
    else:
        with pytest.raises(InvalidStatus) as found:
            first_message()
        response = found.value.response
        assert (response.status_code, json.loads(response.body)["error"]["code"]) == refused


@pytest.mark.parametrize(
    ("server", "path", "headers", "found"),
    [
        ("bare", "/", {}, (200, "<html")),
        ("guarded", "/", {}, (200, "<html")),
        ("guarded", "/health", {}, (200, '"status":"ok"')),
        ("bare", "/metrics", {}, (200, "asr_streams_most 64.0")),
        ("bare", "/metrics", {}, (200, "asr_audio_waiting_seconds 0.0")),
        ("guarded", "/metrics", {}, (401, "invalid_api_key")),
        ("guarded", "/metrics", BEARER, (200, "asr_connections_refused_total")),
        ("bare", "/v1/realtime", {}, (426, "websocket_expected")),
        ("guarded", "/v1/realtime", {}, (401, "invalid_api_key")),
        ("guarded", "/v1/realtime", BEARER, (426, "websocket_expected")),
        ("bare", "/etc/passwd", {}, (404, "")),
    ],
)
def test_pages(ports: dict[str, int], server: str, path: str, headers: dict[str, str], found: tuple[int, str]) -> None:
    status, says = found
    connection = http.client.HTTPConnection("127.0.0.1", ports[server], timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert response.status == status
    assert says in response.read().decode()


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        ("GET", b"Sec-WebSocket-Protocol: a b;\xe9\r\n"),
        ("GET", b"Sec-WebSocket-Protocol: ,,\r\n"),
        ("GET", 300 * b"X: many\r\n"),
        ("GET", b"X: " + 9_000 * b"x" + b"\r\n"),
        ("POST", b""),
    ],
)
def test_an_opening_that_is_none(recognizer: Recognizer, line: str, headers: bytes) -> None:
    opening = b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    opening += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with served(recognizer, Limits(streams=1)) as port:
        for _ in range(OTHERS + 2):  # more than there may be connections
            with socket.create_connection(("127.0.0.1", port), timeout=30) as reached:
                reached.sendall(f"{line} /v1/realtime HTTP/1.1\r\n".encode() + opening + headers + b"\r\n")
                assert reached.recv(100).startswith(b"HTTP/1.1 400 ")
                while reached.recv(1_000):
                    pass
        wait_for_a_place(port)


def test_a_body_that_cannot_be_read(ports: dict[str, int], caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("uvicorn")
    log.addHandler(caplog.handler)  # it does not hand on
    with socket.create_connection(("127.0.0.1", ports["bare"]), timeout=30) as reached:
        reached.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n")
        assert reached.recv(100).startswith(b"HTTP/1.1 400 ")
        while reached.recv(1_000):
            pass
    log.removeHandler(caplog.handler)
    assert [record.exc_info for record in caplog.records if record.name.startswith("uvicorn")] == [None]


def test_a_server_that_is_full(recognizer: Recognizer) -> None:
    with served(recognizer, Limits(streams=1)) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        with connect(url) as client:
            client.recv()
            with pytest.raises(InvalidStatus) as found, connect(url):
                pass
            assert found.value.response.status_code == 503
            assert b"expected a free place, found all 1 taken" in found.value.response.body
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200  # it has a place of its own
        wait_for_a_place(port)
        with connect(url) as client:
            assert json.loads(client.recv())["type"] == "session.created"


def test_a_bundle_that_hears_no_voice(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognizer, "bundle", recognizer.bundle.model_copy(update={"voice_activity": None}))
    with pytest.raises(InputError, match="expected voice activity in the bundle"):
        Server(recognizer, Access(), Limits())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "expected --token-file with the address 0.0.0.0"),  # noqa: S104 -- that is what is refused
        (["--token-file", "absent"], "expected tokens in absent, one a line, found: No such file"),
        (["--token-file", "short"], "expected tokens of 16 letters or more in short, found one of 5 letters"),
        (["--token-file", "other"], "expected tokens of letters, digits and . _ ~ [+] - in other, found others"),
        (["--token-file", "empty"], "expected tokens of 16 letters or more in empty, found none"),
        (["--streams", "0"], "expected streams above 0, found 0"),
        (["--idle-s", "-1"], "expected idle_s above 0, found -1.0"),
        (["--port", "99999"], "expected a port from 0 to 65535, found 99999"),
        (["--port", "-1"], "expected a port from 0 to 65535, found -1"),
        (["--host", "127.1.1.1.1"], "expected --token-file with the address 127.1.1.1.1"),
        (
            ["--host", "192.0.2.1", "--token-file", "long"],
            "found 192.0.2.1 and port 8300: Cannot assign requested address",
        ),
        (
            ["--port", "taken"],
            "expected an address to listen at, found 127.0.0.1 and port [0-9]+: Address already in use",
        ),
        (["--idle-s", "nan"], "expected idle_s above 0, found nan"),
    ],
)
def test_a_server_that_does_not_start(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    where = str(bundle.absolute())
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("a\n12345678901234567\nshort\n".replace("a\n", ""))
    Path("other").write_text("c2xhc2hlcy8vYW5kPQ==\ngehört-zu-den-wörtern\n")
    Path("empty").write_text("\n \n")
    Path("long").write_text("12345678901234567\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        args = parse_args(["--bundle", where, *(taken if word == "taken" else word for word in arguments)])
        with pytest.raises(InputError, match=says):
            run(args)
