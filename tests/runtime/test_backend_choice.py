"""Which backend a machine gets: by nvidia-smi, which may be missing, fail or hang."""

import os
from pathlib import Path

import pytest

from runtime import backends
from runtime.backends import default_backend
from runtime.errors import InputError


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (None, "onnxruntime-cpu"),
        ("exit 9", "onnxruntime-cpu"),
        ("echo GPU 0: Tesla T4", "tensorrt"),
        ("exec sleep 60", InputError),
    ],
)
def test_default_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, expected: str | type[InputError]
) -> None:
    monkeypatch.setattr(backends, "SMI_S", 0.5)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin" if script else str(tmp_path))
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    if isinstance(expected, str):
        assert default_backend() == expected
    else:
        with pytest.raises(expected, match=r"expected nvidia-smi to answer within .* s, found it hanging"):
            default_backend()
