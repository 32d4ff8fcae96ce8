"""The browser that draws pages."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium to draw pages: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # CI runs as root
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_tab(browser: Browser) -> Iterator[Page]:
    """One tab for all tests: a new one is a new process."""
    with browser.new_page() as page:
        yield page


@pytest.fixture
def tab(shared_tab: Page) -> Page:
    """The tab, with no medium and no colour scheme but its own."""
    shared_tab.emulate_media(media="null", color_scheme="null")
    return shared_tab
