"""How processes share the tests (pytest-xdist): file by file, and all that import NeMo, a third of the time, go to the first one.

NeMo is imported once then, and what the fixtures of a file make is made once.
"""

from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


class Files(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """One work unit a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "NeMo's" if _needs_nemo(file) else file


@cache
def _needs_nemo(file: str) -> bool:
    return "mark.nemo" in Path(file).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    return Files(config, log)
