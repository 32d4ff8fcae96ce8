"""A checkout with the Makefile, the requirements and the set-up alone, in which nothing is installed."""

import shutil
from pathlib import Path

import pytest


def copy_checkout(folder: Path) -> Path:
    for name in ("requirements", "setup"):
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("Makefile", folder)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests' working folder: a copy of what set-up reads."""
    folder = copy_checkout(tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder
