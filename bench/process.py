"""This process: its age, its memory on the host and on the GPU. The standard library alone, for an interpreter that has little else."""

import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def process_age_s() -> float:
    """Return the seconds since the kernel started this process, the interpreter's own start included (Linux)."""
    started_ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def peak_host_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (10**6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def cpu_s() -> float:
    """Return the seconds of a core that this process and those that it started, as far as they run, have taken so far (Linux)."""
    own, ticks = str(os.getpid()), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            _, parent, *fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[9:11])) if parent == own else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def gpu_memory_mb() -> float | None:
    """Return the GPU memory that this process holds now, in MB (10**6 bytes); None without a GPU, or where its driver hides it.

    The engines' allocators give nothing back while they are open, so at the end of a run this is the peak.
    """
    own = [number(mib) for pid, mib in smi("compute-apps", "pid,used_gpu_memory") if pid == str(os.getpid())]
    return None if not own or own[0] is None else own[0] * 2**20 / 1e6


def smi(what: str, fields: str, *options: str) -> list[list[str]]:
    """Return these fields of each GPU (gpu) or process (compute-apps) that nvidia-smi lists; none where it is missing or fails."""
    answer = output("nvidia-smi", f"--query-{what}={fields}", "--format=csv,noheader,nounits", *options) or ""
    rows = [line.split(", ") for line in answer.splitlines()]
    return [row for row in rows if len(row) == len(fields.split(","))]  # other lines are messages


def first_visible() -> list[str]:
    """Return the option with which nvidia-smi tells of the first visible GPU alone."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    return [f"--id={visible or 0}"]


def number(text: str) -> float | None:
    """Return a figure of nvidia-smi's; None for its `[N/A]`."""
    try:
        return float(text)
    except ValueError:
        return None


def output(*words: str) -> str | None:
    """Return what a command prints, stripped; None where it is missing or fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
