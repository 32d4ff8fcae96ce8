"""The browser that draws pages."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    with launch() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared_tab(browser: Browser) -> Iterator[Page]:
    """One tab for all tests: a new one is a new process."""
    with browser.new_page() as page:
        yield page


@pytest.fixture
def tab(shared_tab: Page) -> Page:
    """The tab, with no medium and no colour scheme but its own."""
    shared_tab.emulate_media(media="null", color_scheme="null")
    return shared_tab
