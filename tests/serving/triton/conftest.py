"""Model repositories and the server that most tests share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.triton.repository import Served, model_name, write_repository
from tests.serving.triton.servers import Triton, running

STREAMS, IDLE_S = 8, 3.0


@pytest.fixture(scope="session")
def repository(batched_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "models"
    write_repository(batched_bundle, Served(STREAMS, IDLE_S, backend="onnxruntime-cpu"), out)
    return out


@pytest.fixture(scope="session")
def model(batched_bundle: Path) -> str:
    return model_name(batched_bundle)


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    server = Triton(repository, tmp_path_factory.mktemp("server"), metrics=True)
    with running(server):
        yield server


@pytest.fixture
def speech(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """A clip of some two seconds."""
    return min((audio for _, audio in sample), key=len)
