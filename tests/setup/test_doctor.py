"""What the doctor says of a machine and its environments, and when its verdict is no."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from setup import doctor
from setup.environments import EXPORT, RUNTIME, SIZES, Part, wanted
from setup.machine import CPU, CUDA12, CUDA13, UNSUPPORTED, Gpu

pytestmark = pytest.mark.usefixtures("checkout")
T4 = Gpu("Tesla T4", "550.54.15", "7.5", "15360 MiB")
OLD = Gpu("Tesla T4", "470.256", "7.5", "15360 MiB")
VENV = f"build/venv-{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(autouse=True)
def plenty_of_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr(doctor, "free_gb", lambda: 1000.0)


@pytest.mark.parametrize(
    ("hardware", "runtime_only", "parts"),
    [
        (CPU, False, [(CPU, RUNTIME), (CPU, EXPORT)]),
        (CPU, True, [(CPU, RUNTIME)]),
        (CUDA12, False, [(CUDA12, RUNTIME), (CPU, RUNTIME), (CPU, EXPORT)]),
        (CUDA13, True, [(CUDA13, RUNTIME)]),
    ],
)
def test_what_is_wanted(hardware: str, runtime_only: bool, parts: list[tuple[str, str]]) -> None:
    found = wanted(hardware, runtime_only=runtime_only)
    assert [(part.hardware, part.name) for part in found] == parts
    for part in found:
        assert (part.hardware, part.name) in SIZES
        assert all(file.is_file() for file in (*part.files, part.constraints, *([part.alone] if part.alone else [])))


def link() -> None:
    Path("build/elsewhere").mkdir(parents=True)
    Path(f"{VENV}-cuda12").symlink_to(Path("build/elsewhere").absolute())


@pytest.mark.parametrize(
    ("prepare", "hardware", "gpu", "says"),
    [
        (None, CUDA12, T4, None),
        (None, CPU, None, None),
        (link, CUDA12, T4, rf"expected a folder at {VENV}-cuda12, found a link to .*/build/elsewhere; remove the link"),
        (
            None,
            UNSUPPORTED,
            OLD,
            r"expected NVIDIA driver 535 or later, found 470.256; install a newer driver, or set HARDWARE=cpu",
        ),
    ],
)
def test_verdict(prepare: Callable[[], None] | None, hardware: str, gpu: Gpu | None, says: str | None) -> None:
    if prepare:
        prepare()
    parts = wanted(hardware, runtime_only=True)
    found = doctor.problems(parts, gpu)
    answer = doctor.verdict(parts, gpu)
    if says is None:
        assert found == []
        assert answer.startswith("yes: about ")
    else:
        assert len(found) == 1
        assert re.fullmatch(says, found[0])
        assert answer == f"no: {found[0]}"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("free_gb", lambda: 1.0, "GB of free disk, found 1.0; make room"),
        ("version", lambda: "3.13", "expected Python 3.10, 3.11 or 3.12, found 3.13"),
        ("PLATFORM", "Plan9 x86_64", "expected Plan9 x86_64, found Linux"),
    ],
)
def test_problems(monkeypatch: pytest.MonkeyPatch, name: str, value: object, says: str) -> None:
    monkeypatch.setattr(doctor, name, value)
    (problem,) = doctor.problems(wanted(CUDA12, runtime_only=False), T4)
    assert says in problem


def test_what_is_installed_takes_no_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "find_gpu", lambda: T4)
    monkeypatch.setattr(doctor, "free_gb", lambda: 1.0)
    assert doctor.main(["--for", "runtime"]) == 1
    part = Part(CUDA12, RUNTIME)
    assert f"{part.folder}  runtime: to be installed, about" in capsys.readouterr().out
    part.folder.mkdir(parents=True)
    part.stamp.touch()
    assert doctor.main(["--for", "runtime"]) == 0
    said = capsys.readouterr().out
    assert f"{part.folder}  runtime: installed\n" in said
    assert "Tesla T4, 15360 MiB, compute capability 7.5" in said
    assert "10.16.1.11, to be installed" in said
    (part.folder / "lib/python3/site-packages/tensorrt_cu12-10.16.1.11.dist-info").mkdir(parents=True)
    assert doctor.main(["--for", "runtime", "--short"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "TensorRT 10.16.1.11, installed; " in said
    assert said.endswith("; yes: everything is installed\n")
