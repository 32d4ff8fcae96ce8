"""`python -m setup.doctor`: what this machine is, what set-up will install on it, and whether it can."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from setup.environments import BUILD, RUNTIME, Part, version, wanted
from setup.machine import CPU, HARDWARE, UNSUPPORTED, Gpu, ask_smi, find_gpu, hardware_of, what_is_too_old

if TYPE_CHECKING:
    from collections.abc import Sequence

PYTHONS = ("3.10", "3.11", "3.12")
PLATFORM = "Linux x86_64"
"""What the pinned packages are built for."""
MACHINE_LINES = 6
"""Lines of the report that are not of an environment."""


def missing(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that are not installed yet."""
    return [part for part in parts if not part.stamp.exists()]


def needed_gb(parts: Sequence[Part]) -> float:
    """Return the free disk that the parts which are missing need: pip keeps a download until it is installed."""
    return sum(part.size.download + part.size.disk for part in missing(parts))


def free_gb() -> float:
    """Return the free disk where the environments lie."""
    return shutil.disk_usage(BUILD if BUILD.exists() else BUILD.absolute().parent).free / 1e9


def problems(parts: Sequence[Part], gpu: Gpu | None) -> list[str]:
    """Return why the parts cannot be installed, a line each; none where they can."""
    found = []
    here = f"{platform.system()} {platform.machine()}"
    if here != PLATFORM:
        found.append(f"expected {PLATFORM}, found {here}; the packages are built for no other")
    if version() not in PYTHONS:
        found.append(
            f"expected Python {', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}, found {version()}; name one, as in `make setup PYTHON=python3.12`"
        )
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        found.append(f"expected Python's venv, found none; `apt install python{version()}-venv`")
    if gpu and any(part.hardware == UNSUPPORTED for part in parts):
        found.append(str(what_is_too_old(gpu)))
    found += [
        f"expected a folder at {folder}, found a link to {folder.resolve()}; remove the link"
        for folder in dict.fromkeys(part.folder for part in parts)
        if folder.is_symlink()
    ]
    if free_gb() < needed_gb(parts):
        found.append(f"expected {needed_gb(parts):.1f} GB of free disk, found {free_gb():.1f}; make room")
    return found


def verdict(parts: Sequence[Part], gpu: Gpu | None) -> str:
    """Return whether set-up can do its work here, in a line."""
    found = problems(parts, gpu)
    if found:
        return f"no: {found[0]}"
    if not missing(parts):
        return "yes: everything is installed"
    download, disk = (sum(getattr(part.size, what) for part in missing(parts)) for what in ("download", "disk"))
    return f"yes: about {download:.1f} GB to download, {disk:.1f} GB on disk"


def report(parts: Sequence[Part], gpu: Gpu | None) -> list[tuple[str, str]]:
    """Return what is known of the machine and of the parts, each with its name; the verdict is not in it."""
    return [
        (
            "GPU",
            f"{gpu.name}, {gpu.memory}, compute capability {gpu.capability}" if gpu else "none that nvidia-smi names",
        ),
        ("driver", f"{gpu.driver}, runs CUDA up to {newest_cuda(ask_smi())}" if gpu else "none"),
        ("hardware", hardware_line(parts, gpu)),
        ("TensorRT", tensorrt(parts[0])),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("disk", f"{free_gb():.1f} GB free"),
        *((str(part.folder), f"{part.name}: {state(part)}") for part in parts),
    ]


def hardware_line(parts: Sequence[Part], gpu: Gpu | None) -> str:
    """Return the kind of environment, and whether it is the one that fits the machine."""
    chosen, fitting = parts[0].hardware, hardware_of(gpu)
    return chosen if chosen == fitting else f"{chosen}, as asked for; this machine's is {fitting}"


def state(part: Part) -> str:
    """Return whether a part is installed, or what it takes."""
    if part.stamp.exists():
        return "installed" if part.is_current else "installed, to be updated as requirements have changed"
    return f"to be installed, {part.size}"


def newest_cuda(table: str) -> str:
    """Return the newest CUDA that the driver runs, as nvidia-smi's table has it."""
    found = re.search(r"CUDA (?:UMD )?Version *: *([\d.]+)", table)
    return found[1] if found else "a version that nvidia-smi does not tell"


def tensorrt(part: Part) -> str:
    """Return the version of TensorRT in the part's environment, or else the one that will be."""
    if part.hardware not in HARDWARE or part.hardware == CPU:
        return "none: ONNX Runtime recognises on the CPU"
    for record in part.folder.glob("lib/python*/site-packages/tensorrt_cu12-*.dist-info"):
        return f"{record.name[len('tensorrt_cu12-') : -len('.dist-info')]}, installed"
    pinned = re.search(r"^tensorrt-cu12==(\S+)", part.constraints.read_text(encoding="utf-8"), re.MULTILINE)
    return f"{pinned[1] if pinned else 'none'}, to be installed"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m setup.doctor", description=__doc__)
    parser.add_argument("--hardware", choices=HARDWARE, help="default: this machine's")
    parser.add_argument(
        "--for", dest="purpose", choices=[RUNTIME], help="without what makes bundles (default: everything)"
    )
    parser.add_argument("--short", action="store_true", help="one line")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Print the report and the verdict; return 1 where the verdict is no."""
    args = parse_args(argv)
    gpu = find_gpu()
    parts = wanted(args.hardware or hardware_of(gpu), runtime_only=args.purpose == RUNTIME)
    lines = report(parts, gpu)
    answer = verdict(parts, gpu)
    if args.short:
        said = "; ".join(f"{name} {text}" for name, text in lines[:MACHINE_LINES])
        print(f"setup: {said}; {answer}", flush=True)
    else:
        width = max(len(name) for name, _ in lines)
        for name, text in (*lines, ("verdict", answer)):
            print(f"{name:{width}}  {text}")
    return 1 if problems(parts, gpu) else 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGPIPE):  # nothing has to be undone, and nothing said
        signal.signal(number, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
