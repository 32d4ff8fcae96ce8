"""Which environment fits a machine, by what nvidia-smi says; nothing real is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from setup.doctor import newest_cuda
from setup.machine import Gpu, find_gpu, hardware_of, read_gpu, what_is_too_old

T4 = "Tesla T4, {}, 7.5, 15360 MiB\n"


@pytest.mark.parametrize(
    ("answer", "hardware"),
    [
        ("", "cpu"),
        ("No devices were found\n", "cpu"),
        (T4.format("470.256.02"), "unsupported"),
        (T4.format("525.147.05"), "unsupported"),
        (T4.format("535.54.03"), "cuda12"),
        (T4.format("550.54.15"), "cuda12"),
        (T4.format("570.211.01"), "cuda12"),
        (T4.format("579.99"), "cuda12"),
        (T4.format("580"), "cuda13"),
        (T4.format("595.91"), "cuda13"),
        (T4.format("[N/A]"), "unsupported"),
        ("Tesla P100-PCIE-16GB, 580.65.06, 6.0, 16384 MiB\n", "unsupported"),
        ("NVIDIA H100 80GB HBM3, 580.65.06, 9.0, 81559 MiB\n" + T4.format("580.65.06"), "cuda13"),
        ("NVIDIA RTX PRO 6000, 590.44, 12.0, 97887 MiB\n", "cuda13"),
    ],
)
def test_hardware(answer: str, hardware: str) -> None:
    assert hardware_of(read_gpu(answer)) == hardware


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        (Gpu("Tesla T4", "470.256", "7.5", "15360 MiB"), "expected NVIDIA driver 535 or later, found 470.256; "),
        (Gpu("Tesla P100", "580.65", "6.0", "16384 MiB"), "expected a GPU of compute capability 7.5 or later, "),
        (Gpu("Tesla T4", "535.1", "7.5", "15360 MiB"), None),
    ],
)
def test_what_is_too_old(gpu: Gpu, says: str | None) -> None:
    said = what_is_too_old(gpu)
    assert said is None if says is None else str(said).startswith(says) and "\n" not in str(said)


@pytest.mark.parametrize(
    ("table", "cuda"),
    [
        ("| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |", "12.4"),
        ("| NVIDIA-SMI 595.71    KMD Version: 595.71    CUDA UMD Version: 13.2     |", "13.2"),
        (
            "| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: N/A      |",
            "a version that nvidia-smi does not tell",
        ),
    ],
)
def test_newest_cuda(table: str, cuda: str) -> None:
    assert newest_cuda(table) == cuda


@pytest.mark.parametrize(
    ("script", "hardware"),
    [
        (None, "cpu"),
        ("echo Tesla T4, 550.54.15, 7.5, 15360 MiB", "cuda12"),
        ("echo Tesla T4, 550.54.15, 7.5, 15360 MiB; exit 9", "cpu"),
        ("exec sleep 10", "cpu"),
    ],
    ids=["missing", "answers", "fails", "hangs"],
)
def test_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, hardware: str) -> None:
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr("setup.machine.SMI_S", 1)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if script else str(tmp_path))
    assert hardware_of(find_gpu()) == hardware


def test_it_needs_the_standard_library_alone() -> None:
    """Before anything is installed there is nothing else."""
    for module in ("machine", "environments", "doctor", "install"):
        command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); import setup.{module}"]
        subprocess.run(command, check=True)
