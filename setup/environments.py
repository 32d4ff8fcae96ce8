"""The environments: a folder for each Python version and kind of hardware, and the sets of packages that are installed into it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from setup.machine import CPU, CUDA12, CUDA13

TRITON, CLIENTS = "triton", "clients"
"""Beside the kinds of hardware: the environments in which the tests' Triton server and others' clients run, on a CPU."""
BUILD, REQUIREMENTS = Path("build"), Path("requirements")
RUNTIME, EXPORT, DEV, SERVER = "runtime", "export", "dev", "server"
FILES = {
    RUNTIME: ("runtime", "bench", "graphs", "serve"),
    EXPORT: ("export",),
    DEV: ("dev",),
    SERVER: ("runtime", "cpu"),
    CLIENTS: ("clients",),
}
"""A set's files in requirements/; of the set `runtime`, also the hardware's own."""
ALONE = {RUNTIME: "vad", DEV: "triton", SERVER: "triton-server"}
"""A set's file that is installed without what its packages ask for; the file says why."""


@dataclass(frozen=True)
class Size:
    """What a set takes."""

    download: float
    """In GB, as the next."""
    disk: float
    note: str = ""

    def __str__(self) -> str:
        """Return it for a user."""
        return f"about {self.download:.1f} GB to download, {self.disk:.1f} GB on disk{self.note}"


TENSORRT = ", of which TensorRT's 3 and 5 are estimated"
SIZES = {
    (CPU, RUNTIME): Size(0.1, 0.4),
    (CPU, EXPORT): Size(0.5, 2.0, "; with a CUDA build of torch 2.5 and 3.8 more"),
    (CPU, DEV): Size(0.2, 0.6),
    (TRITON, SERVER): Size(0.2, 0.5),
    (CLIENTS, CLIENTS): Size(0.2, 0.6),
    (CUDA12, RUNTIME): Size(5.1, 8.5, TENSORRT),
    (CUDA13, RUNTIME): Size(4.6, 7.7, TENSORRT),
}
"""Measured in November 2026 with Python 3.11: downloads are the wheels' sizes in the index, disk is what `du` says of the environment.

The libraries of TensorRT 10.16 come from an index of NVIDIA's that could not be reached: theirs are estimated, for a T4 as for any GPU.
"""


@dataclass(frozen=True)
class Part:
    """A set of packages in the environment of one kind of hardware, for the Python that runs this."""

    hardware: str
    name: str
    """`runtime`, `export`, `dev`, `server` or `clients`."""

    @property
    def folder(self) -> Path:
        """The environment's."""
        return BUILD / f"venv-{version()}-{self.hardware}"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that says that the set is installed; the Makefile knows it by this name."""
        return self.folder / f".{self.name}"

    @property
    def begun(self) -> Path:
        """The file that says that an installation began and did not end."""
        return self.folder / ".begun"

    @property
    def is_current(self) -> bool:
        """Whether the set is installed and no requirement has changed since."""
        if not self.stamp.exists():
            return False
        return self.stamp.stat().st_mtime >= max(file.stat().st_mtime for file in REQUIREMENTS.glob("*.txt"))

    @property
    def constraints(self) -> Path:
        """The versions of all packages of the environment."""
        return REQUIREMENTS / f"constraints-{self.hardware}.txt"

    @property
    def files(self) -> list[Path]:
        """The requirements that are resolved, within the constraints."""
        names = (*FILES[self.name], *([self.hardware] if self.name == RUNTIME else []))
        return [REQUIREMENTS / f"{name}.txt" for name in names]

    @property
    def alone(self) -> Path | None:
        """The requirements that are installed as they are."""
        name = ALONE.get(self.name)
        return REQUIREMENTS / f"{name}.txt" if name else None

    @property
    def size(self) -> Size:
        """What it takes; nothing for a kind of hardware that no environment fits."""
        return SIZES.get((self.hardware, self.name), Size(0, 0))


def version() -> str:
    """Return the version of the Python that runs this, such as 3.11."""
    return "{}.{}".format(*sys.version_info)


def wanted(hardware: str, *, runtime_only: bool) -> list[Part]:
    """Return what `make setup` installs: recognition for the hardware, and what makes bundles, which always runs on the CPU."""
    parts = [Part(hardware, RUNTIME)]
    if not runtime_only:
        parts += [Part(CPU, RUNTIME), Part(CPU, EXPORT)]
    return list(dict.fromkeys(parts))
