"""Chromium, and what is asked of every page in it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ARGUMENTS = (
    "--no-sandbox",  # CI runs as root
    # Pages of the address bar, which each tab brings along: they took longer than all that is tested.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
)


@pytest.fixture(scope="module")
def launch() -> "Iterator[Callable[..., Browser]]":
    """Starts a Chromium with further arguments; it ends with the module, as no other event loop can run meanwhile."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium to draw pages: apt-get install chromium")
    with sync_playwright() as playwright:
        kind = playwright.chromium
        yield lambda *arguments: kind.launch(executable_path=chromium, args=[*ARGUMENTS, *arguments])


@pytest.fixture(scope="module")
def browser(launch: "Callable[..., Browser]") -> "Iterator[Browser]":
    with launch() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared_tab(browser: "Browser") -> "Iterator[Page]":
    """One tab for all tests: a new one is a new process."""
    with browser.new_page() as page:
        yield page


@pytest.fixture
def tab(shared_tab: "Page") -> "Page":
    """The tab, with no medium and no colour scheme but its own."""
    shared_tab.emulate_media(media="null", color_scheme="null")
    return shared_tab


@contextmanager
def watched(page: "Page", address: str) -> "Iterator[Page]":
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


def contrast_of(place: "Locator") -> float:
    """WCAG's, of an element's text with what is behind it."""
    colour = place.evaluate("each => getComputedStyle(each).color")
    grounds = place.evaluate(
        "each => { const found = []; for (; each; each = each.parentElement) found.unshift(getComputedStyle(each).backgroundColor);"
        " return found; }"
    )
    return float(place.page.evaluate(CONTRAST, {"colour": colour, "grounds": grounds}))
