"""The toy bundle of tests/calibration, for what is observed and quantised, and a tokenizer for checkpoints that NeMo saves."""

from pathlib import Path

import pytest

from tests.calibration.conftest import model, toy

__all__ = ["model", "tokenizer", "toy"]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of PIECES."""
    from tests.export.saved import PIECES, train_tokenizer

    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"), PIECES)
