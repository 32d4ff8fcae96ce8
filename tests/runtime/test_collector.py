"""The garbage collector leaves alone what was loaded before a stream, within the block and no longer."""

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from runtime import live
from runtime.live import loaded_spared


@pytest.fixture(autouse=True)
def _nothing_is_spared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(live, "gc", gc)  # as it is without tests/collector.py
    gc.unfreeze()
    yield
    gc.freeze()


def looked_at(error: Exception | None) -> int:
    """Objects of a full collection within the block, which ends in the error."""
    with loaded_spared():
        seen = len(gc.get_objects())
        if error is not None:
            raise error
    return seen


def test_what_is_loaded_is_spared() -> None:
    loaded, seen = len(gc.get_objects()), looked_at(None)
    print(f"{seen} of {loaded} objects are looked at by a full collection")
    assert seen < 0.1 * loaded


@pytest.mark.parametrize("error", [None, ValueError()])
def test_no_longer_than_the_block(error: Exception | None) -> None:
    with suppress(ValueError):
        looked_at(error)
    assert gc.get_freeze_count() == 0
