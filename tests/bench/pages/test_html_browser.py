"""The page of a run in a browser: it draws itself in both colour schemes, fetches nothing, plays, and shows what stood there when."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from bench.pages.html import page
from bench.partials import Shown
from bench.results import ResultFile
from bench.rows import UtteranceRecord
from bench.speech.arrivals import events_of
from runtime import Recognizer, load_audio
from tests.bench.rows import changed
from tests.browser import contrast_of, watched

PARTIALS = (
    Shown(0.9, "the ca"),
    Shown(1.06, "the cat", 0),
    Shown(1.24, "a cart 👍", 1),
    Shown(1.38, "a cart 👍 goes", 2, early=2),
)
FINAL = "a cart 👍 goes <b>on</b>"


@pytest.fixture(scope="module")
def written(a_result: ResultFile, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
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
    rows, clips = [row, changed(row, {"data": "sample_en"})], [*clips, *recognised(bundle)]
    path = tmp_path_factory.mktemp("written") / "a page.html"
    path.write_text(page("a", a_result.model_copy(update={"rows": rows, "utterances": clips})), encoding="utf-8")
    return path.as_uri()


def recognised(bundle: Path) -> Iterator[UtteranceRecord]:
    """Two clips of the sample, which can be played; the first has a word wrong."""
    with Recognizer(bundle, backend="onnxruntime-cpu") as recognizer:
        for name, reference in (("16", "set the timer for twenty minutes"), ("09", "yes that sounds great")):
            samples = load_audio(f"data/sample/clips/{name}.mp3")
            final = events_of(recognizer.stream(), samples)[-1]
            yield UtteranceRecord(
                data="sample_en",
                lang="en",
                mode="utterance",
                audio=f"clips/{name}.mp3",
                audio_s=len(samples) / 16_000,
                reference=reference,
                hypothesis=final.text,
                words=final.words,
                partials=(Shown(1.0, final.text[:3], 1),),
            )


@pytest.fixture
def opened(tab: Page, written: str) -> Iterator[Page]:
    """The page that was written, watched."""
    with watched(tab, written) as page:
        yield page


def test_the_slider_shows_what_stood_there_when(opened: Page) -> None:
    sliders = opened.get_by_role("slider")
    assert [each.get_attribute("aria-label") for each in sliders.all()] == [
        f"Time in {name}" for name in ("first.wav", "second.wav", "clips/16.mp3", "clips/09.mp3")
    ]
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
    expected = ["", *(partial.text for partial in PARTIALS), FINAL]
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
    assert slider.get_attribute("aria-valuetext") == f"2.0 s, partial 4 of 4: {PARTIALS[-1].text}"
    assert text.locator("span").all_text_contents() == ["a cart", " 👍 go", "es"]  # stays, may change, is early
    slider.fill("1.1")
    assert text.locator("span").all_text_contents() == ["", "the cat", ""]
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


def test_words_lie_at_their_times(opened: Page) -> None:
    line = opened.locator(".line").first
    place = line.bounding_box()
    assert place is not None
    words = line.get_by_role("button")
    assert words.all_text_contents() == ["set", "a", "timer", "for", "twenty", "minutes"]
    assert [word.get_attribute("class") for word in words.all()] == ["equal", "substitute", *["equal"] * 4]
    boxes = [word.bounding_box() for word in words.all()]
    for word, box in zip(words.all(), boxes, strict=True):
        assert box is not None
        start = place["x"] + place["width"] * float(word.get_attribute("data-start") or "nan") / 2.8235625
        end = place["x"] + place["width"]
        assert box["x"] == pytest.approx(min(start, end - box["width"]), abs=12)
        assert place["x"] <= box["x"] <= box["x"] + box["width"] <= end
    said = words.nth(1).get_attribute("aria-label")
    assert said is not None
    assert re.fullmatch(r"a: \d\.\d\d to \d\.\d\d s, \d+% sure, wrong: another word was said", said)
    for width in (390, 1280):
        opened.set_viewport_size({"width": width, "height": 900})
        opened.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )  # laid out anew
        taken: set[tuple[int, int]] = set()
        for word in words.all():
            box = word.bounding_box()
            assert box is not None
            pixels = {(x, round(box["y"])) for x in range(round(box["x"]), round(box["x"] + box["width"]))}
            assert not taken & pixels, f"two labels at one place, {width} pixels wide"
            taken |= pixels
    words.first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        opened.keyboard.press(key)
    assert opened.evaluate("document.activeElement.textContent") == "a"
    assert words.first.get_attribute("tabindex") == "-1"


def test_a_clip_is_heard_from_a_word_on(opened: Page) -> None:
    box = opened.locator(".player", has=opened.locator("audio")).first
    button, slider, cursor = box.get_by_role("button", name="Play"), box.get_by_role("slider"), box.locator(".cursor")
    box.get_by_role("button", name="for: ").click()
    opened.wait_for_function("document.querySelector('audio').currentTime > 1.6")
    assert (box.locator(".controls button").text_content(), cursor.is_visible()) == ("Pause", True)
    assert box.locator("audio").evaluate("each => each.duration") == pytest.approx(2.8235625, abs=0.05)
    shown = float(cursor.evaluate("each => parseFloat(each.style.left)"))
    assert 100 * 1.5 / 2.83 < shown <= 100
    opened.locator(".controls button").last.click()  # another clip: this one stops
    assert button.is_visible()
    assert box.locator("audio").evaluate("each => each.paused")
    assert not opened.locator("audio").last.evaluate("each => each.paused")
    opened.locator(".controls button").last.click()
    slider.fill("2.7")
    button.click()
    opened.wait_for_function("document.querySelectorAll('.controls button')[2].textContent === 'Play'")
    assert box.locator("output").text_content() == "2.9 s, final"  # to the end


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_picture(opened: Page, scheme: Literal["light", "dark"]) -> None:
    opened.emulate_media(color_scheme=scheme)
    picture = np.asarray(Image.open(io.BytesIO(opened.screenshot(full_page=True))).convert("RGB"))
    height, width, _ = picture.shape
    assert (width, height > 1000) == (1280, True)
    ground = picture[0, 0]
    assert ground.mean() > 200 if scheme == "light" else ground.mean() < 50
    for name in ("table", "figure svg", ".words", ".track", ".line", ".line svg"):
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_texts_have_contrast(opened: Page, scheme: Literal["light", "dark"]) -> None:
    opened.emulate_media(color_scheme=scheme)
    texts = ["h1", "a", "thead th", "td", ".words", ".words ins", ".words del", ".counts", ".controls button"]
    for name in (*texts, ".shown .changeable", ".shown .early", ".quiet .early", ".line .equal", ".line .substitute"):
        place = opened.locator(name).first
        contrast = contrast_of(place)
        assert contrast >= 4.5, f"{name}: {contrast:.2f}, WCAG 2.1 AA asks for 4.5"


def test_it_fits_a_telephone(opened: Page) -> None:
    for width in (390, 320):
        opened.set_viewport_size({"width": width, "height": 844})
        assert opened.evaluate("document.documentElement.scrollWidth") == width
