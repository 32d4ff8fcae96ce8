"""The page of a run in a browser: it draws itself in both colour schemes, fetches nothing, and its slider shows what stood there when."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from bench.pages.html import page
from bench.results import ResultFile, UtteranceRecord
from tests.bench.rows import changed

PARTIALS = ((0.9, "the ca"), (1.06, "the cat"), (1.24, "a cart 👍"), (1.38, "a cart 👍 goes"))
FINAL = "a cart 👍 goes <b>on</b>"


@pytest.fixture(scope="module")
def written(a_result: ResultFile, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's address."""
    row = changed(a_result.rows[0], {"step_ms_p50": 1.5, "step_ms_p99": 2.5})
    same = {
        "data": "set_en",
        "mode": "utterance",
        "audio_s": 2.0,
        "final_ms": 45.0,
        "onset_s": 0.6,
        "speech_end_s": 1.9,
    }
    texts = {"reference": "the cart goes along on", "hypothesis": FINAL}
    clips = [
        UtteranceRecord.model_validate(same | texts | {"audio": "first.wav", "partials": PARTIALS}),
        UtteranceRecord.model_validate(same | texts | {"audio": "second.wav", "partials": PARTIALS[:1]}),
        UtteranceRecord.model_validate(same | texts | {"audio": "third.wav", "hypothesis": "the cart"}),
    ]
    path = tmp_path_factory.mktemp("written") / "a page.html"
    path.write_text(page("a", a_result.model_copy(update={"rows": [row], "utterances": clips})), encoding="utf-8")
    return path.as_uri()


@contextmanager
def watched(page: Page, address: str) -> Iterator[Page]:
    """Show the address, at the end without an error or a request but for itself."""
    page.set_viewport_size({"width": 1280, "height": 900})
    complaints: list[str] = []
    requests: list[str] = []
    listeners: dict[Any, Any] = {
        "pageerror": lambda error: complaints.append(str(error)),
        "console": lambda message: complaints.append(message.text),
        "request": lambda request: requests.append(request.url),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(address)
    yield page
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]


@pytest.fixture
def opened(tab: Page, written: str) -> Iterator[Page]:
    """The page that was written, watched."""
    with watched(tab, written) as page:
        yield page


def test_the_slider_shows_what_stood_there_when(opened: Page) -> None:
    sliders = opened.get_by_role("slider")
    assert [each.get_attribute("aria-label") for each in sliders.all()] == ["Time in first.wav", "Time in second.wav"]
    slider, text = sliders.first, opened.locator(".shown").first
    status = opened.locator("output").first
    assert (text.text_content(), status.text_content()) == (FINAL, "2.1 s, final")
    slider.focus()
    opened.keyboard.press("Home")
    assert (text.text_content(), status.text_content()) == ("", "0.0 s, no text yet")
    seen = {}
    for _ in range(21):
        opened.keyboard.press("ArrowRight")
        seen[slider.input_value()] = text.text_content()
    expected = ["", *(partial for _, partial in PARTIALS), FINAL]
    assert list(dict.fromkeys(seen.values())) == expected
    assert [next(time for time, shown in seen.items() if shown == each) for each in expected] == [
        "0.1",
        "0.9",
        "1.1",
        "1.3",
        "1.4",
        "2.1",
    ]
    opened.keyboard.press("ArrowLeft")
    assert status.text_content() == "2.0 s, partial 4 of 4"
    assert slider.get_attribute("aria-valuetext") == f"2.0 s, partial 4 of 4: {PARTIALS[-1][1]}"
    assert opened.locator(".shown mark").first.text_content() == " goes"
    assert opened.locator(".shown").nth(1).text_content() == FINAL  # the other clip's is where it was


def test_it_plays_at_the_pace_of_speech(browser: Browser, written: str) -> None:
    with browser.new_page() as tab, watched(tab, written) as opened:  # its own, whose clock is not real
        button, slider = opened.get_by_role("button").first, opened.get_by_role("slider").first
        opened.clock.install(time=0)
        opened.clock.pause_at(10_000)
        button.click()
        assert (button.text_content(), slider.input_value()) == ("Pause", "0")
        opened.clock.run_for(1150)
        assert (slider.input_value(), opened.locator(".shown").first.text_content()) == ("1.1", "the cat")
        button.click()
        opened.clock.run_for(1000)
        assert (button.text_content(), slider.input_value()) == ("Play", "1.1")
        button.click()
        opened.clock.run_for(2000)
        assert (button.text_content(), slider.input_value()) == ("Play", "2.1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_picture(opened: Page, scheme: Literal["light", "dark"]) -> None:
    opened.emulate_media(color_scheme=scheme)
    picture = np.asarray(Image.open(io.BytesIO(opened.screenshot(full_page=True))).convert("RGB"))
    height, width, _ = picture.shape
    assert (width, height > 1000) == (1280, True)
    ground = picture[0, 0]
    assert ground.mean() > 200 if scheme == "light" else ground.mean() < 50
    for name in ("table", "figure svg", ".words", ".track"):
        for place in opened.locator(name).all():
            # antialiased lines and letters, not a plane
            assert len(np.unique(part(picture, place) @ [1, 256, 65_536])) > 10, f"{name}: blank"
    errors = part(picture, opened.locator("figure svg").last)
    for name in ("substitution", "deletion", "insertion"):
        colour = opened.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')").strip()
        rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (errors == rgb).all(axis=2).sum() > 500, f"{name}: no bar is {colour}"


def part(picture: np.ndarray, place: Locator) -> np.ndarray:
    """Pixels [height, width, 3] of an element."""
    box = place.bounding_box()
    assert box is not None
    x, y = round(box["x"]), round(box["y"])
    return picture[y : y + round(box["height"]), x : x + round(box["width"])]


CONTRAST = """
({colour, grounds}) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = () => {
    const linear = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((byte) => {
      const part = byte / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const fill = (style) => { canvas.fillStyle = style; canvas.fillRect(0, 0, 1, 1); };
  grounds.forEach(fill);
  const ground = light();
  fill(colour);
  const text = light();
  return (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_texts_have_contrast(opened: Page, scheme: Literal["light", "dark"]) -> None:
    opened.emulate_media(color_scheme=scheme)
    for name in ("h1", "a", "thead th", "td", ".words", ".words ins", ".words del", ".shown mark", "button", ".counts"):
        place = opened.locator(name).first
        colour = place.evaluate("each => getComputedStyle(each).color")
        grounds = place.evaluate(
            "each => { const found = []; for (; each; each = each.parentElement) found.unshift(getComputedStyle(each).backgroundColor);"
            " return found; }"
        )
        contrast = opened.evaluate(CONTRAST, {"colour": colour, "grounds": grounds})
        assert contrast >= 4.5, f"{name}: {contrast:.2f}, WCAG 2.1 AA asks for 4.5"


def test_it_fits_a_telephone(opened: Page) -> None:
    opened.set_viewport_size({"width": 390, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
