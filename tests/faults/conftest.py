"""One server of stages' processes for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.faults.stages import Processes


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes
