"""Bundles and NeMo's modules that several tests share; each is made once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from data.manifest import read_manifest
from export.bundle import bundle_folder, export_bundle, is_current
from export.checkpoint import EMBEDDED, Checkpoint, load_checkpoint
from runtime.audio import load_audio
from runtime.backends.onnxruntime import check_rounding
from runtime.errors import InputError

BUNDLES = Path("build/bundles")


@cache
def exported(model: str, lookahead_ms: int) -> Path:
    """The bundle's folder, as `make export` leaves it."""
    folder = bundle_folder(BUNDLES, model, lookahead_ms)
    return folder if is_current(folder, model) else export_bundle(model, lookahead_ms, BUNDLES)


@pytest.fixture(scope="session")
def bundle_of() -> Callable[[str, int], Path]:
    """Model and look-ahead in ms to the bundle's folder."""
    return exported


@pytest.fixture(scope="session")
def bundle_at() -> Callable[[int], Path]:
    """Look-ahead in ms to the embedded checkpoint's bundle."""
    return lambda lookahead_ms: exported(EMBEDDED, lookahead_ms)


@pytest.fixture(scope="session")
def bundle(bundle_at: Callable[[int], Path]) -> Path:
    """The embedded checkpoint's bundle at 80 ms."""
    return bundle_at(80)


@pytest.fixture(scope="session")
def rounding() -> None:
    """Skips where onnxruntime cannot run INT8."""
    try:
        check_rounding()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """The embedded checkpoint in NeMo."""
    return load_checkpoint(EMBEDDED)


@pytest.fixture(scope="session")
def sample() -> list[tuple[str, np.ndarray]]:
    """Transcript and samples of each clip of data/sample."""
    return [(each.text, load_audio(each.audio)) for each in read_manifest(Path("data/sample/manifest_en.jsonl"))]
