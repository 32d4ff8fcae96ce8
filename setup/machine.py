"""The machine's GPU, and the kind of environment (HARDWARE) that fits it: `python -m setup.machine` prints that kind."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import NamedTuple

SMI_S = 30
"""Seconds that nvidia-smi may take to answer: a first call may have to start the driver."""
QUERY = ("--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader")

CPU, CUDA12, CUDA13 = "cpu", "cuda12", "cuda13"
HARDWARE = (CPU, CUDA12, CUDA13)
UNSUPPORTED = "unsupported"
"""The kind of a machine whose GPU no environment fits."""
OLDEST_DRIVERS = {CUDA13: 580, CUDA12: 535}
"""The first driver that runs each set of packages, the newest set first."""
OLDEST_CAPABILITY = 7.5
"""TensorRT 10 runs on Turing, as a T4 is, and on later GPUs."""


class Gpu(NamedTuple):  # every `make` runs this file: dataclasses would take as long to import as all else
    """The first GPU that nvidia-smi lists."""

    name: str
    driver: str
    capability: str
    """Compute capability, 7.5 for a T4."""
    memory: str
    """With its unit."""


def read_gpu(answer: str) -> Gpu | None:
    """Return the first GPU of nvidia-smi's answer to QUERY; None where it lists none."""
    fields = [field.strip() for field in answer.partition("\n")[0].split(",")]
    return Gpu(*fields) if len(fields) == len(Gpu._fields) else None


def ask_smi(*arguments: str) -> str:
    """Return what nvidia-smi prints; nothing where it is missing, fails or hangs."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=True, timeout=SMI_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def find_gpu() -> Gpu | None:
    """Return the machine's GPU; None where nvidia-smi names none."""
    return read_gpu(ask_smi(*QUERY))


def hardware_of(gpu: Gpu | None) -> str:
    """Return the kind of environment for a GPU, which depends on its driver; `cpu` without a GPU."""
    if gpu is None:
        return CPU
    if what_is_too_old(gpu):
        return UNSUPPORTED
    return next(kind for kind, oldest in OLDEST_DRIVERS.items() if _number(gpu.driver) >= oldest)


def what_is_too_old(gpu: Gpu) -> str | None:
    """Return what no environment fits, in one line; None for a GPU and a driver that are new enough."""
    oldest = min(OLDEST_DRIVERS.values())
    if _number(gpu.driver) < oldest:
        return (
            f"expected NVIDIA driver {oldest} or later, found {gpu.driver}; install a newer driver, or set HARDWARE=cpu"
        )
    if _number(gpu.capability) < OLDEST_CAPABILITY:
        return (
            f"expected a GPU of compute capability {OLDEST_CAPABILITY} or later, which TensorRT 10 needs, found {gpu.name} with "
            f"{gpu.capability}; set HARDWARE=cpu"
        )
    return None


def _number(version: str) -> float:
    """Return the leading number of a version; 0 for one that nvidia-smi does not know, such as `[N/A]`."""
    found = re.match(r"\d+(\.\d+)?", version)
    return float(found[0]) if found else 0.0


if __name__ == "__main__":
    print(hardware_of(find_gpu()))
