"""The page in a browser, with a server: a file and a fake microphone against the recogniser itself, and who gets in."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from runtime import EndpointRules, Final, Recognizer
from serving.web.access import Access
from serving.web.connection import Limits
from tests.browser import watched
from tests.serving.web.served import served, wait_for_a_place

CLIPS = (
    24,
    8,
)  # "Let us talk about something else." and "Yes, that sounds great.": heard the same wherever a chunk begins
AFTER_S = 1.5  # of silence, which the page adds to a file
LETTERS = "0123456789.abcdef"


WATCH = """() => {
  window.seen = { stable: [], early: [] };
  const look = () => {
    for (const name of Object.keys(seen))
      for (const each of document.querySelectorAll(`#talk .${name}`)) if (each.textContent) seen[name].push(each.textContent);
  };
  new MutationObserver(look).observe(document.querySelector("#talk"), { childList: true, subtree: true });
}"""
"""Keeps what was shown as words that stay, and as early ones."""


ECHO = """() => {
  const connect = AudioNode.prototype.connect;
  let room = null;
  navigator.mediaDevices.getUserMedia = async () => {
    room = context.createMediaStreamDestination();
    return room.stream;
  };
  AudioNode.prototype.connect = function (to, ...more) {
    if (to === context.destination) {
      const path = [new DelayNode(context, { delayTime: 0.07 }), new GainNode(context, { gain: 0.3 }), room];
      path.reduce((from, next) => { connect.call(from, next); return next; }, this);
    }
    return connect.call(this, to, ...more);
  };
}"""
"""The microphone hears what the page plays, later and not as loud, and nothing else."""


@pytest.fixture(scope="module")
def address(recognizer: Recognizer) -> Iterator[str]:
    with served(recognizer) as port:
        yield f"http://localhost:{port}/"


@pytest.fixture(scope="module")
def talk(sample: list[tuple[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two utterances in a file."""
    silences = [np.zeros(int(16_000 * seconds), np.float32) for seconds in (0.4, 1.2, 0.1)]
    clips = [sample[number][1] for number in CLIPS]
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    together = np.concatenate([silences[0], clips[0], silences[1], clips[1], silences[2]])
    soundfile.write(path, together, 16_000, "PCM_16")
    return path


@pytest.fixture(scope="module")
def finals(recognizer: Recognizer, talk: Path) -> list[Final]:
    """What the recogniser itself says of the file."""
    heard, _ = soundfile.read(talk, dtype="int16")
    stream = recognizer.stream(EndpointRules(), early="off")
    events = stream.push(np.concatenate([heard, np.zeros(int(16_000 * AFTER_S), np.int16)]))
    found = [event for event in events if isinstance(event, Final) and event.text]
    assert len(found) == len(CLIPS)
    return found


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser], talk: Path) -> Iterator[Browser]:
    """With a microphone that hears the file once, from when it is opened."""
    fake = ("device-for-media-stream", "ui-for-media-stream", f"file-for-fake-audio-capture={talk}%noloop")
    with launch(*(f"--use-{each}" if "capture" in each else f"--use-fake-{each}" for each in fake)) as browser:
        yield browser


@pytest.fixture
def opened(tab: Page, address: str) -> Iterator[Page]:
    """The page, watched and connected."""
    with watched(tab, address) as page:
        expect(page.locator("#state")).to_have_text("Connected to streaming_fastconformer_ctc_en_small")
        yield page


def words_of(page: Page) -> list[str]:
    """The texts of the finals."""
    return [
        " ".join(each.locator("li > :first-child").all_text_contents())
        for each in page.locator(".words:not([hidden])").all()
    ]


def test_a_file_is_heard_as_the_recogniser_hears_it(opened: Page, talk: Path, finals: list[Final]) -> None:
    file = opened.get_by_role("button", name="File")
    opened.get_by_label("look-ahead").select_option("all")
    expect(opened.locator("#state")).to_contain_text("Connected")
    opened.evaluate(WATCH)
    with opened.expect_file_chooser() as chooser:
        file.press("Enter")
    chooser.value.set_files(talk)
    expect(file).to_have_attribute("aria-pressed", "true")
    expect(opened.locator("#talk .end:visible")).to_have_count(len(finals))
    expect(file).to_have_attribute("aria-pressed", "false")  # it ends by itself
    assert words_of(opened) == [final.text for final in finals]
    for row, final in zip(opened.locator("#talk > li").all(), finals, strict=True):
        end = final.start_s + final.audio_s
        assert row.locator(".end").text_content() == f"Ended by silence at {end:.2f} s"
        voice = re.fullmatch(r"Voice at (\d+\.\d\d) s", row.locator(".voice").text_content() or "")
        assert voice is not None
        assert abs(float(voice[1]) - final.words[0].start_s) < 0.4
        assert [each.get_attribute("title") for each in row.locator(".words li > :first-child").all()] == [
            f"{word.start_s:.2f} to {word.end_s:.2f} s, {int(100 * word.confidence + 0.5)} % sure"
            for word in final.words
        ]
        sure = row.locator(".words span:first-child").evaluate_all(
            "all => all.map((each) => each.style.getPropertyValue('--sure'))"
        )
        assert [float(each) for each in sure] == [word.confidence for word in final.words]
        events = [each.locator("td").all_text_contents() for each in row.locator("tbody tr").all()]
        kinds = [event[0] for event in events]
        assert (kinds.count("voice"), kinds[-1], "partial" in kinds) == (1, "final", True)
        assert events[-1][1] == f"{end:.2f} s"
        assert final.text.endswith(events[-1][-1].removeprefix("…"))
        for kind, _, server, here, _ in events:
            if kind != "voice":  # the way there and back comes on top
                assert 0 <= int(server.removesuffix(" ms")) <= int(here.removesuffix(" ms")) < 5_000
    assert opened.locator("#said").text_content() == finals[-1].text
    seen = opened.evaluate("seen")
    assert seen["early"]
    for text in seen["stable"]:
        assert any(final.text.startswith(text) for final in finals), f"{text} did not stay"


def test_a_microphone(opened: Page, finals: list[Final]) -> None:
    microphone = opened.get_by_role("button", name="Microphone")
    microphone.click()
    expect(opened.locator("#talk .end:visible")).to_have_count(1)
    expect(opened.locator("#talk > li").last.locator(".text")).to_contain_text(re.compile("yes", re.IGNORECASE))
    microphone.click()  # within the second
    expect(opened.locator("#talk .end:visible")).to_have_text([re.compile("by silence"), re.compile("by this page")])
    expect(microphone).to_have_attribute("aria-pressed", "false")
    first, second = words_of(opened)
    error_rate = jiwer.wer(finals[0].text, first)
    print(f"of a fake microphone {error_rate:.1%} of the words differ from the recogniser's")
    assert error_rate <= 0.2
    assert second.startswith("yes")


def test_a_user_interrupts_the_agent(opened: Page, talk: Path, finals: list[Final]) -> None:
    agent = opened.get_by_role("button", name="Agent speaks")
    expect(agent).to_be_disabled()  # nobody listens
    opened.set_input_files("#chosen", talk)
    expect(opened.locator("#talk .end:visible")).to_have_count(1)
    agent.click()
    expect(agent).to_have_attribute("aria-pressed", "true")
    expect(opened.locator("#talk .agent")).to_have_text("Agent speaks")
    expect(opened.locator(".barge")).to_have_text(re.compile(r"Barge-in at \d+\.\d\d s"))
    told = opened.locator(".barge").text_content() or ""
    expect(opened.locator("#talk .agent")).to_have_text(f"Agent spoke, interrupted {told.removeprefix('Barge-in ')}")
    expect(agent).to_have_attribute("aria-pressed", "false")
    assert abs(float(told.split()[-2]) - finals[1].words[0].start_s) < 0.5
    expect(opened.locator("#talk .end:visible")).to_have_count(2)
    assert jiwer.wer(finals[1].text, words_of(opened)[1]) <= 0.5


def test_the_agent_does_not_interrupt_itself(opened: Page) -> None:
    opened.evaluate(ECHO)
    microphone, agent = opened.get_by_role("button", name="Microphone"), opened.locator("#talk .agent")
    microphone.click()
    opened.get_by_role("button", name="Agent speaks").click()
    level = "parseFloat(document.querySelector('.level div').style.transform.slice(7))"
    opened.wait_for_function(f"{level} > 0.4")  # the echo is heard
    expect(agent).to_have_text("Agent spoke, to its end")
    microphone.click()
    expect(opened.locator("#talk > li")).to_have_count(1)


def test_hotwords_that_are_refused(opened: Page) -> None:
    field, problem = opened.get_by_label("Hotwords"), opened.get_by_role("alert")
    field.fill("日本, timer")
    field.press("Enter")
    expect(problem).to_contain_text("expected hotwords")
    field.fill("timer, twenty minutes")
    field.press("Enter")
    expect(problem).to_be_hidden()


def test_what_is_no_sound(opened: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("no sound")
    opened.set_input_files("#chosen", tmp_path / "letter.txt")
    expect(opened.get_by_role("alert")).to_have_text(re.compile("^expected sound .*, found letter.txt; take another"))
    expect(opened.get_by_role("button", name="File")).to_have_attribute("aria-pressed", "false")


def test_a_microphone_that_is_refused(opened: Page) -> None:
    opened.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(Error('Permission denied')); }")
    opened.get_by_role("button", name="Microphone").click()
    expect(opened.get_by_role("alert")).to_have_text(re.compile("^expected a microphone, found: Permission denied; "))
    expect(opened.get_by_role("button", name="Microphone")).to_have_attribute("aria-pressed", "false")


def test_a_token(tab: Page, recognizer: Recognizer) -> None:
    with served(recognizer, access=Access(tokens=(LETTERS.encode(),))) as port:
        tab.goto(f"http://localhost:{port}/")
        problem, field, state = tab.get_by_role("alert"), tab.get_by_label("Token"), tab.locator("#state")
        for entered, said in [
            ("", "expected a token of this server; enter one, or ask who runs it"),
            ("another.one.that.is.wrong", "expected a token of this server as bearer; ask who runs it"),
            ("a token, with a comma", "expected a token without spaces, "),
        ]:
            if entered:
                field.fill(entered)
                field.press("Enter")
            expect(problem).to_contain_text(said)
            expect(state).to_have_text("Not connected")
        field.fill(LETTERS)
        tab.get_by_role("button", name="Enter").click()
        expect(state).to_contain_text("Connected")
        expect(problem).to_be_hidden()
        expect(field).to_be_hidden()
        tab.reload()  # it is kept
        expect(state).to_contain_text("Connected")


def test_a_session_that_nobody_talks_to_ends_in_silence(tab: Page, recognizer: Recognizer) -> None:
    with served(recognizer, Limits(idle_s=0.5)) as port:
        tab.goto(f"http://localhost:{port}/")
        expect(tab.locator("#state")).to_contain_text("Connected")
        expect(tab.locator("#state")).to_have_text("Not connected")
        expect(tab.get_by_role("alert")).to_be_hidden()
        microphone = tab.get_by_role("button", name="Microphone")
        microphone.click()  # begins another one
        expect(tab.locator("#clock")).to_have_text(re.compile(r"[1-9]\.\d s"))
        microphone.click()


def test_a_full_server_and_one_that_is_gone(tab: Page, browser: Browser, recognizer: Recognizer) -> None:
    problem, again = tab.get_by_role("alert"), tab.get_by_role("button", name="Connect again")
    with served(recognizer, Limits(streams=1)) as port, browser.new_page() as first:
        first.goto(f"http://localhost:{port}/")
        expect(first.locator("#state")).to_contain_text("Connected")
        tab.goto(f"http://localhost:{port}/")
        expect(problem).to_have_text("expected a free place, found all 1 taken; try again later")
        expect(tab.get_by_label("Token")).to_be_hidden()
        first.close()
        wait_for_a_place(port)
        again.click()
        expect(tab.locator("#state")).to_contain_text("Connected")
        expect(again).to_be_hidden()
        tab.get_by_role("button", name="Microphone").click()
        expect(tab.get_by_role("button", name="Agent speaks")).to_be_enabled()
    expect(problem).to_contain_text("found the connection closed; connect again")
    expect(tab.get_by_role("button", name="Microphone")).to_have_attribute("aria-pressed", "false")
    again.click()
    expect(problem).to_have_text("expected the server, found nobody who answers; start it, then connect again")
