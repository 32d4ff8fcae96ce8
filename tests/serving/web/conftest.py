"""A tab for the page to talk to."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

TIMEOUT_MS = 30_000


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """Of a visitor who was never here."""
    with browser.new_page() as page:
        page.set_default_timeout(TIMEOUT_MS)
        expect.set_options(timeout=TIMEOUT_MS)
        yield page
