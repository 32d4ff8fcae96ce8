"""A load is tried in a process of its own first, whose memory and time are bounded: what is too large, or crashes, ends that one."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from runtime.errors import InputError

MEMORY_BYTES, MEMORY_PER_BYTE = 4 << 30, 10
"""Beyond what this process has, and of each byte of the file: its tensors are held twice, some in twice the width."""
CPU_S, CPU_S_PER_GB = 60, 60
"""Seconds of computing; the embedded checkpoint takes one."""
WALL_S = 1200
"""Seconds in all: a file may come from a slow network."""


def tried(load: Callable[[], object], file: Path) -> None:
    """Do `load` of a file in a fork of this process and forget what it gives.

    Raises InputError as it does, and where it takes more memory or time than such a file may, or crashes.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _load_and_end(load, file.stat().st_size, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as said:
            refusal = said.read()
    finally:
        os.kill(child, signal.SIGKILL)  # after Ctrl-C; one that has ended waits for the next line
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if refusal:
        raise InputError(refusal)
    if code:
        raise InputError(
            f"expected a checkpoint that loads within {CPU_S} s of computing and a few times its size in memory, found that {file} does "
            f"not: {_reason(-code)}; do not use this file, fetch the checkpoint from its publisher"
        )


def _load_and_end(load: Callable[[], object], size: int, writing: int) -> None:
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        quiet = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # what a library prints of a crash
            os.dup2(quiet, stream)
        _limit(size)
        load()
        code = 0
    except InputError as error:
        os.write(writing, str(error).encode("utf-8", "replace"))
    finally:
        os._exit(code)


def _limit(size: int) -> None:
    """Bound this process."""
    import torch

    torch.set_num_threads(1)  # a pool's stacks would count
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + MEMORY_BYTES + MEMORY_PER_BYTE * size,
        resource.RLIMIT_CPU: round(CPU_S + CPU_S_PER_GB * size / 1e9),
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    signal.alarm(WALL_S)


def _reason(number: int) -> str:
    """What ended it."""
    if number in (signal.SIGXCPU, signal.SIGALRM):
        return "it was still loading then"
    return f"it ended with {signal.Signals(number).name}" if number > 0 else "it failed without a reason"
