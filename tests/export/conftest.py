"""The toy bundle of tests/calibration, for what is observed and quantised, and a tokenizer for checkpoints that NeMo saves."""

from pathlib import Path

import pytest

from tests.calibration.conftest import model, toy

__all__ = ["model", "tokenizer", "toy"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded checkpoint's tokenizer."""
    from tests.export.saved import write_tokenizer

    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
