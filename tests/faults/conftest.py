"""One server of stages' processes for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.stages import Processes


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    from tests.faults.stages import Processes

    with Processes() as processes:
        yield processes
