"""This process: its age, its memory on the host and on the GPU. The standard library alone, for an interpreter that has little else."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def process_age_s() -> float:
    """Return the seconds since the kernel started this process, the interpreter's own start included (Linux)."""
    started_ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def peak_host_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (10**6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def gpu_memory_mb() -> float | None:
    """Return the GPU memory that this process holds now, in MB (10**6 bytes); None without a GPU, or where its driver hides it.

    The engines' allocators give nothing back while they are open, so at the end of a run this is the peak.
    """
    rows = output("nvidia-smi", "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits")
    fields = [row.split(", ") for row in (rows or "").splitlines()]
    own = [mib for pid, mib in (field for field in fields if len(field) == 2) if pid == str(os.getpid())]
    mib = number(own[0]) if own else None
    return None if mib is None else mib * 2**20 / 1e6


def number(text: str | None) -> float | None:
    """Return a figure of nvidia-smi's; None for its `[N/A]`."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def output(*words: str) -> str | None:
    """Return what a command prints, stripped; None where it is missing or fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
