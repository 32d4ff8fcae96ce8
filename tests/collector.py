"""Garbage collections that look at what is new: all over again at modules and tests, they took a tenth of the time of the tests."""

import gc
import sys
from types import SimpleNamespace

import pytest

MANY = 300
"""Modules, such as NeMo's, which a later collection should not look at."""

frozen = 0
"""Modules that were there at the last freeze."""


def _freeze() -> None:
    global frozen  # noqa: PLW0603 -- pytest has one session
    gc.freeze()
    frozen = len(sys.modules)


def pytest_configure() -> None:
    gc.disable()  # until the tests are collected, which makes no garbage


def pytest_collection_finish() -> None:
    _freeze()
    gc.enable()


def pytest_runtest_logfinish() -> None:
    if len(sys.modules) > frozen + MANY:
        gc.collect()
        _freeze()


def nothing_more_spared(patch: pytest.MonkeyPatch) -> None:
    """`loaded_spared` collects what is new, and spares no more than that: what it had spared would be garbage to later tests."""
    patch.setattr("runtime.live.gc", SimpleNamespace(collect=gc.collect, freeze=lambda: None, unfreeze=lambda: None))


def pytest_unconfigure() -> None:
    """Free what only a collection frees: soxr prints a list of resamplers that are left when the interpreter ends."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # the interpreter's own collections at its end are many
