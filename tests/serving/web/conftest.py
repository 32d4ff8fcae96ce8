"""A server, speech for it, and a tab for the page to talk to."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from runtime import Recognizer
from runtime.backends import Backend, open_backend
from runtime.bundle import read_bundle
from tests.serving.web.served import served

TIMEOUT_MS = 30_000


@pytest.fixture
def tab(tab: Page) -> Iterator[Page]:
    """Of a visitor who was never here; it leaves at the end, and nothing is kept."""
    tab.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    yield tab
    tab.evaluate("sessionStorage.clear(); localStorage.clear()")
    tab.goto("about:blank")


@pytest.fixture(scope="session")
def backend(bundle: Path) -> Backend:
    """All sessions hear the same few clips."""
    return open_backend(bundle, read_bundle(bundle), "onnxruntime-cpu", "fp32")


@pytest.fixture(scope="module")
def recognizer(bundle: Path, backend: Backend) -> Iterator[Recognizer]:
    with Recognizer(bundle, backend=backend) as opened:
        yield opened


@pytest.fixture(scope="module")
def port(recognizer: Recognizer) -> Iterator[int]:
    with served(recognizer) as found:
        yield found


@pytest.fixture(scope="module")
def clips(sample: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    return [(32_767 * clip).astype(np.int16) for _, clip in sample[:3]]
