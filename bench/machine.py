"""What a figure was measured on: hardware, versions, commit, command."""

import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.process import first_visible, number, output, smi
from bench.rows import DataProvenance, Provenance
from runtime.bundle import Graph
from runtime.stamp import plan_path, read_stamp

OUTSIDE = re.compile(r"(?<![\w./-])(?:~|\.\.)?/(?:[^\s/'\":,;]+/)+")
"""The folders of an absolute path, or of one that leaves the checkout."""
DIRTY = "-dirty"
"""Ends a commit that code or data differ from."""


def collect(argv: Sequence[str], data: list[DataProvenance]) -> Provenance:
    """Return the provenance of a run that ends now. Call it right after the measurement, while the GPU's clock is up.

    Args:
        argv: the arguments of `python -m bench`.
        data: the data sets measured on.
    """
    gpu = _gpu()
    import onnxruntime  # heavy, and needed by a run only

    return Provenance(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit(),
        command=command(argv),
        **gpu,
        tensorrt=_version("tensorrt-cu12", "tensorrt"),
        cuda=getattr(onnxruntime, "cuda_version", None) or None,  # that it was built for
        onnxruntime=_version("onnxruntime-gpu", "onnxruntime"),
        python=platform.python_version(),
        cpu=cpu(),
        data=data,
    )


def plan_figures(folder: Path, precision: str, backend: str, graph: Graph = "step") -> dict[str, float | None]:
    """Return a row's `plan_mb` and `build_s`: of the bundle's plan of a graph, None where the backend has none."""
    if backend != "tensorrt":
        return {"plan_mb": None, "build_s": None}
    plan = plan_path(folder, precision, graph)
    return {"plan_mb": plan.stat().st_size / 1e6, "build_s": read_stamp(plan).build_s}


def commit() -> str | None:
    """Return the commit of the working folder, with `-dirty` where code or data differ from it; None outside a repository.

    Result files and the page made from them are what a run writes, not what it measures: they make nothing dirty.
    """
    head = output("git", "rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    # Without the lock that a status takes to note what it saw: killed, or on a full disk, it would stay in the repository.
    status = ("git", "--no-optional-locks", "status", "--porcelain")
    changed = output(*status, "--", ".", ":!bench/results", ":!RESULTS.md")
    return head if changed == "" else f"{head}{DIRTY}"  # git that does not answer says nothing of the files


def command(argv: Sequence[str]) -> str:
    """Return the command line, without folders outside the checkout: where a checkout lies says nothing about a figure."""
    return shlex.join(["python", "-m", "bench", *map(without_folders, argv)])


def without_folders(text: str) -> str:
    """Return a text whose paths are relative to the checkout, and of files elsewhere the name alone: folders may name a user."""
    home = os.path.expanduser("~")  # noqa: PTH111 -- Path.home fails where a container's user has none
    text = text.replace(f"{Path.cwd()}/", "")
    return OUTSIDE.sub("", text if home == "/" else text.replace(home, "~"))


def cpu() -> str:
    """Return the CPU's model name and the cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores} cores"


def _gpu() -> dict[str, Any]:
    """Return what a provenance says of the first visible GPU, as it is now; nothing without one."""
    gpus = smi("gpu", "name,driver_version,clocks.sm,power.limit", *first_visible())
    for name, driver, clock, power in gpus[:1]:
        return {"gpu": name, "driver": driver, "sm_clock_mhz": number(clock), "power_w": number(power)}
    return {}


def _version(*names: str) -> str | None:
    """Return the version of the first of these packages that is installed."""
    return next((found.version for name in names for found in metadata.distributions(name=name)), None)
