"""The page in a browser, with a server that says what a test says."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from serving.web.app import page_html
from tests.browser import contrast_of, watched
from tests.serving.web.served import Message

ADDRESS = "http://localhost/"
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def routed(shared_tab: Page) -> tuple[list[WebSocketRoute], list[Message]]:
    """The server's sockets, and what it was told."""
    sockets: list[WebSocketRoute] = []
    asked: list[Message] = []

    def answer(message: str | bytes) -> None:
        if isinstance(message, str):
            asked.append(json.loads(message))
            sockets[-1].send(json.dumps({"type": "session.updated"}))

    def begin(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.on_message(answer)
        session = {"audio": {"input": {"transcription": {"model": "one <b>of ours</b>"}}}}
        socket.send(json.dumps({"type": "session.created", "session": session}))

    shared_tab.route(ADDRESS, lambda route: route.fulfill(body=page_html(), content_type="text/html"))
    shared_tab.route_web_socket("**/v1/realtime", begin)
    return sockets, asked


@pytest.fixture
def told(
    tab: Page, routed: tuple[list[WebSocketRoute], list[Message]]
) -> Iterator[tuple[Page, WebSocketRoute, list[Message]]]:
    """The page with a server that says what a test says, and what the page told that."""
    sockets, asked = routed
    sockets.clear()
    asked.clear()
    with watched(tab, ADDRESS):
        expect(tab.locator("#state")).to_have_text("Connected to one <b>of ours</b>")
        yield tab, sockets[0], asked


def word(text: str, start_s: float) -> Message:
    return {"text": text, "start_s": start_s, "end_s": start_s + 0.2, "confidence": 0.5}


def tell(socket: WebSocketRoute, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, "item_id": "item_1", **fields}))


def tell_partial(socket: WebSocketRoute, text: str, stable: int, early: str = "") -> None:
    words = [word(each, place / 2) for place, each in enumerate(text.split())]
    shown = {"text": text, "stable": stable, "early": early, "words": words, "start_s": 0.0}
    tell(socket, DELTA, delta="", partial={**shown, "audio_s": 1.0, "lag_ms": 5.0})


def tell_final(socket: WebSocketRoute, text: str, ended_by: str = "silence") -> None:
    words = [word(each, place / 2) for place, each in enumerate(text.split())]
    usage = {"type": "duration", "seconds": 2.0}
    tell(socket, COMPLETED, transcript=text, words=words, usage=usage, start_s=1.0, lag_ms=7.0, ended_by=ended_by)


@pytest.mark.parametrize(
    ("partial", "parts"),
    [
        (("set <i>a", 0), ["", "set <i>a", ""]),
        (("set a tim", 2), ["set a", " tim", ""]),
        (("set a timer 👍 for", 3, "r 👍 for"), ["set a timer", "", " 👍 for"]),
        (("set a timer for", 2, "r for"), ["set a", " time", "r for"]),
        (("set", 0, "set"), ["", "", "set"]),
        (("set a timer", 3), ["set a timer", "", ""]),
    ],
)
def test_words_that_stay_may_change_or_are_early(
    told: tuple[Page, WebSocketRoute, list[Message]], partial: tuple[Any, ...], parts: Sequence[str]
) -> None:
    page, socket, _ = told
    tell_partial(socket, "what stood there before", 1, "before")
    tell_partial(socket, *partial)
    text = page.locator("#talk .text")
    expect(text).to_have_text(partial[0])
    assert [text.locator(name).text_content() for name in (".stable", ".changeable", ".early")] == parts
    tell_final(socket, "set a <i>timer", "length")
    expect(page.locator(".end")).to_have_text("Ended by its length at 3.00 s")
    expect(page.locator(".words li > :first-child")).to_have_text(["set", "a", "<i>timer"])
    expect(text).to_be_hidden()


def test_what_a_server_may_tell(told: tuple[Page, WebSocketRoute, list[Message]]) -> None:
    page, socket, asked = told
    input_ = asked[0]["session"]["audio"]["input"]
    assert input_ == {"format": {"type": "audio/pcm", "rate": 16_000}, "transcription": {"delay": "low"}}
    tell(socket, "input_audio_buffer.speech_started", audio_start_ms=0)
    expect(page.locator(".voice")).to_have_text("Voice at 0.00 s")
    tell_final(socket, "")
    expect(page.locator(".text")).to_have_text("(no words)")
    tell_partial(socket, "lost", 0)
    error = {"code": "transcription_failed", "message": "the GPU is gone"}
    tell(socket, COMPLETED.replace("completed", "failed"), error=error)
    expect(page.locator(".end:visible").last).to_have_text("lost: the GPU is gone")
    tell_partial(socket, "cut", 0)
    tell(socket, "a.kind.that.nobody.knows")
    tell(socket, "error", error={"code": "session_idle", "message": "nobody talks"})
    socket.close()
    expect(page.locator(".end:visible").last).to_have_text("the connection ended")
    expect(page.locator("#state")).to_have_text("Not connected")
    expect(page.get_by_role("alert")).to_be_hidden()  # nobody talked
    page.get_by_label("look-ahead").select_option("all")
    expect(page.locator("#state")).to_contain_text("Connected")
    assert asked[-1]["session"]["audio"]["input"]["transcription"] == {"delay": "minimal"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_texts_have_contrast_and_fit_a_telephone(
    told: tuple[Page, WebSocketRoute, list[Message]], scheme: Literal["light", "dark"]
) -> None:
    page, socket, _ = told
    page.emulate_media(color_scheme=scheme)
    tell(socket, "input_audio_buffer.speech_started", audio_start_ms=500, barge_in=True)
    tell_final(socket, f"{'set a timer ' * 9}donau{'dampfschifffahrts' * 5}gesellschaft")
    tell_partial(socket, "set a timer for", 2, " for")
    tell(socket, "error", error={"code": "invalid_value", "message": "expected this, found that"})
    page.locator("summary").first.click()
    for name in (
        *("h1", "#state", "button", "label", "input", ".stable", ".text .changeable", ".text .early", ".legend"),
        *(".barge", ".words span", ".words small", ".end", "summary", "caption", "th", "td", "#problem"),
    ):
        contrast = contrast_of(page.locator(name).first)
        assert contrast >= 4.5, f"{name}: {contrast:.2f}, WCAG 2.1 AA asks for 4.5"
    for width in (400, 320):
        page.set_viewport_size({"width": width, "height": 850})
        assert page.evaluate("document.documentElement.scrollWidth") == width
