"""Garbage collections that look at what is new: all over again at modules and tests, they took a tenth of the time of the tests."""

import gc
from types import SimpleNamespace

import pytest


def pytest_configure() -> None:
    gc.disable()  # until the tests are collected, which makes no garbage


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def spared_for_good(patch: pytest.MonkeyPatch) -> None:
    """What `loaded_spared` spares within its block is spared after it, too, instead of being looked at before the next one."""
    patch.setattr("runtime.live.gc", SimpleNamespace(collect=gc.collect, freeze=gc.freeze, unfreeze=lambda: None))


def pytest_unconfigure() -> None:
    """Free what only a collection frees: soxr prints a list of resamplers that are left when the interpreter ends."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # the interpreter's own collections at its end are many
