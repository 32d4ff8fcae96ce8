"""What a figure was measured on: hardware, versions, commit, command; and the memory that this process took."""

import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from bench.results import DataProvenance, Provenance


def collect(argv: Sequence[str], data: list[DataProvenance]) -> Provenance:
    """Provenance of a run that ends now. Call it right after the measurement, while the GPU's clock is up.

    Args:
        argv: the arguments of `python -m bench`.
        data: the data sets measured on.
    """
    gpu, driver, clock, power = _gpu()
    return Provenance(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit(),
        command=command(argv),
        gpu=gpu,
        driver=driver,
        sm_clock_mhz=_number(clock),
        power_w=_number(power),
        tensorrt=_version("tensorrt-cu12", "tensorrt"),
        cuda=_cuda(),
        onnxruntime=_version("onnxruntime-gpu", "onnxruntime"),
        python=platform.python_version(),
        cpu=cpu(),
        data=data,
    )


def commit() -> str | None:
    """Commit of the working folder, with `-dirty` where code or data differ from it; None outside a repository.

    Result files and the page made from them are what a run writes, not what it measures: they make nothing dirty.
    """
    head = _output("git", "rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    changed = _output("git", "status", "--porcelain", "--", ".", ":!bench/results", ":!RESULTS.md")
    return f"{head}-dirty" if changed else head


def command(argv: Sequence[str]) -> str:
    """The command line, absolute paths made relative: where a checkout lies says nothing about a figure."""
    relative = [os.path.relpath(arg) if Path(arg).is_absolute() else arg for arg in argv]
    return shlex.join(["python", "-m", "bench", *relative])


def cpu() -> str:
    """Model name and the cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores} cores"


def process_age_s() -> float:
    """Seconds since the kernel started this process, the interpreter's own start included (Linux)."""
    started_ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def peak_host_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (10**6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def gpu_memory_mb() -> float | None:
    """GPU memory that this process holds now, in MB (10**6 bytes); None without a GPU, or where its driver hides it.

    The engines' allocators give nothing back while they are open, so at the end of a run this is the peak.
    """
    rows = _output("nvidia-smi", "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits")
    fields = [row.split(", ") for row in (rows or "").splitlines()]
    own = [mib for pid, mib in (field for field in fields if len(field) == 2) if pid == str(os.getpid())]
    mib = _number(own[0]) if own else None
    return None if mib is None else mib * 2**20 / 1e6


def _gpu() -> tuple[str | None, str | None, str | None, str | None]:
    """Name, driver, SM clock in MHz now and power limit in W of the first visible GPU; all None without one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    query = ["--query-gpu=name,driver_version,clocks.sm,power.limit", "--format=csv,noheader,nounits"]
    rows = _output("nvidia-smi", *query, *([f"--id={visible}"] if visible else []))
    fields = rows.splitlines()[0].split(", ") if rows else []
    return (fields[0], fields[1], fields[2], fields[3]) if len(fields) == 4 else (None, None, None, None)


def _cuda() -> str | None:
    """The CUDA version that ONNX Runtime was built for; None for its CPU build."""
    import onnxruntime  # heavy, and needed by a run only

    return getattr(onnxruntime, "cuda_version", None) or None


def _version(*names: str) -> str | None:
    """Version of the first of these packages that is installed."""
    installed = {each.name: each.version for each in metadata.distributions()}
    return next((installed[name] for name in names if name in installed), None)


def _number(text: str | None) -> float | None:
    """A figure of nvidia-smi's; None for its `[N/A]`."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _output(*words: str) -> str | None:
    """What a command prints, stripped; None where it is missing or fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
