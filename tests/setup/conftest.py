"""A checkout with the Makefile, the requirements and the set-up alone, in which nothing is installed."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests' working folder: a copy of what set-up reads."""
    folder = tmp_path / "checkout"
    for name in ("requirements", "setup"):
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("Makefile", folder)
    monkeypatch.chdir(folder)
    return folder
