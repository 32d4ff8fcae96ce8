"""Each set of packages resolves for each Python within its constraints, to versions that fit the driver, as the package index has them."""

import subprocess
import sys
from functools import cache

import pytest

from setup.environments import CLIENTS, DEV, EXPORT, RUNTIME, SERVER, TRITON, Part
from setup.machine import CPU, CUDA12, CUDA13

pytestmark = pytest.mark.environments

PYTHONS = ("3.10", "3.11", "3.12")
SETS = {CPU: (RUNTIME, EXPORT, DEV), CUDA12: (RUNTIME,), CUDA13: (RUNTIME,), TRITON: (SERVER,), CLIENTS: (CLIENTS,)}
NEWER = {
    CPU: {"onnxruntime": "1.31.1", "torch": "2.13.0", "nemo-toolkit": "3.0.0"},
    CUDA12: {"onnxruntime-gpu": "1.26.0", "cuda-python": "12.9.10", "tensorrt-cu12": "10.16.1.11"},
    CUDA13: {"onnxruntime-gpu": "1.31.1", "cuda-python": "13.4.4", "tensorrt-cu12": "10.16.1.11"},
    TRITON: {"onnxruntime": "1.31.1", "numpy": "1.26.4"},
    CLIENTS: {"openai": "3.57.0", "pipecat-ai": "1.14.0"},
}
OLDER = {
    CPU: NEWER[CPU] | {"onnxruntime": "1.23.2"},
    CUDA12: NEWER[CUDA12] | {"onnxruntime-gpu": "1.23.2"},
    CUDA13: {"onnxruntime": "1.23.2", "cuda-python": "13.4.4", "tensorrt-cu12": "10.16.1.11"},
    TRITON: {"onnxruntime": "1.23.2", "numpy": "1.26.4"},
    CLIENTS: {"openai": "3.57.0"},
}
"""With Python 3.10."""


def uv(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", *arguments]
    # No wheel needs an interpreter of the version asked for: uv would ask all that are here for theirs, then fetch one.
    command += ["--python", sys.executable, "--no-python-downloads"]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@cache
def index_answers() -> bool:
    return uv("-", "--no-cache", given="packaging").returncode == 0


asked: set[str] = set()
"""Sets of packages of which this run has asked the index."""


@cache
def resolved(hardware: str, python: str) -> dict[str, str]:
    """Versions by package.

    What the index said a moment ago, for another Python, is not asked for again: to ask takes four times as long as to resolve.
    """
    if not index_answers():
        pytest.skip("no package index answers uv: the sets of packages are not resolved")
    parts = [Part(hardware, name) for name in SETS[hardware]]
    files = [str(file) for part in parts for file in part.files]
    within = ["-c", str(parts[0].constraints), "--python-version", python, "--python-platform", "x86_64-manylinux_2_35"]
    done = uv(*files, *within, *(["--offline"] if hardware in asked else []))
    if done.returncode and hardware in asked:  # it lacks what only this Python needs
        done = uv(*files, *within)
    asked.add(hardware)
    assert done.returncode == 0, done.stderr
    return dict(line.partition(" ;")[0].split("==") for line in done.stdout.splitlines())


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("hardware", SETS)
def test_versions(hardware: str, python: str) -> None:
    expected = (OLDER if python == "3.10" else NEWER)[hardware]
    found = resolved(hardware, python)
    assert {name: found.get(name) for name in expected} == expected
    pinned = {
        line.partition("==")[0] for line in Part(hardware, RUNTIME).constraints.read_text().splitlines() if "==" in line
    }
    assert found.keys() <= pinned, "each package has one version"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("hardware", [CUDA12, CUDA13])
def test_a_gpu_s_set_has_neither_torch_nor_nemo(hardware: str, python: str) -> None:
    assert (
        resolved(hardware, python)
        .keys()
        .isdisjoint({"torch", "triton", "nemo-toolkit", "onnxruntime" if python != "3.10" else ""})
    )


@pytest.mark.parametrize("python", PYTHONS)
def test_cuda12_has_no_package_of_cuda13(python: str) -> None:
    found = resolved(CUDA12, python)
    assert [name for name in found if name.endswith("-cu13")] == []
    assert [name for name in found if name.startswith("nvidia-") and not name.endswith("-cu12")] == []
    assert {found[name].partition(".")[0] for name in ("cuda-python", "cuda-bindings", "nvidia-cuda-runtime-cu12")} == {
        "12"
    }
