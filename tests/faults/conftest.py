"""The servers of stages' processes for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.stages import Processes


@pytest.fixture(scope="session")
def processes() -> Processes:
    from tests.faults.stages import Processes

    return Processes()


@pytest.fixture(scope="session")
def base_of(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Stage and start ("nothing" or "an earlier run") to the folder that it starts from, to be copied."""

    @cache
    def base_of(stage: str, start: str) -> Path:
        base = tmp_path_factory.mktemp("base")
        for action in ["before"] if start == "nothing" else ["before", "run", "outdate"]:
            done = processes.run(stage, action, base)
            assert done.code == 0, done.said
        return base

    return base_of
