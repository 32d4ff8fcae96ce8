"""`python -m setup.install HARDWARE SET`: install a set of packages into its environment, in place and one process at a time."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from setup.doctor import problems, state
from setup.environments import BUILD, FILES, Part
from setup.machine import CUDA12, CUDA13, find_gpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PROGRESS = re.compile(r"Collecting \S+|Installing collected packages")
"""Of what pip prints, what a user is shown."""
UV_PROGRESS = re.compile(r"Resolved|Downloading|Prepared|Installed|Bytecode")
"""The same of uv."""
UV_KNOWS = r"\.(index-url|extra-index-url|find-links|constraint)='(.*)'$"
"""pip's settings that uv has by the same names."""
WRAPPER = """#!/bin/sh
build=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit
PYTHONPATH="${{build%/*}}${{PYTHONPATH:+:$PYTHONPATH}}" exec "$build/{environment}/bin/python" "$@"
"""
"""The project's packages are found from any folder."""


class InstallError(RuntimeError):
    """A set could not be installed: one line with the reason."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the environment for this process; wait while another holds it."""
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"setup: another process is setting up {folder}; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(part: Part) -> None:
    """Install a set unless another process just did. What an interrupted installation left is kept and completed.

    Raises InstallError where the machine or the environment's folder is not fit for it, and where venv or pip fails.
    """
    found = problems([part], find_gpu())
    if found:
        raise InstallError(found[0])
    with locked(part.folder):
        if part.is_current:
            return
        started = time.monotonic()
        print(f"setup: {part.folder}, {part.name}: {state(part)}", flush=True)
        _make_environment(part)
        _forget_unfinished(part.folder)
        requirements = [word for file in part.files for word in ("-r", str(file))]
        arguments = ("-c", str(part.constraints), *requirements)
        # TensorRT's package asks for pip while it builds.
        if part.hardware in (CUDA12, CUDA13) or not _uv(part, *arguments):
            _pip(part, *arguments)
        if part.alone:
            _pip(part, "--no-deps", "-r", str(part.alone))
        part.begun.unlink(missing_ok=True)
        part.stamp.touch()
        print(f"setup: {part.folder}, {part.name}: done in {time.monotonic() - started:.0f} s", flush=True)


def point_at(part: Part) -> None:
    """Make build/python run the environment's interpreter. A link would not do: Python looks for its environment beside the link."""
    wrapper = BUILD / "python"
    partial = BUILD / "python.part"
    partial.write_text(WRAPPER.format(environment=part.folder.name))
    partial.chmod(0o755)
    partial.replace(wrapper)


def _make_environment(part: Part) -> None:
    """Make the environment where there is none; one that was only begun is completed."""
    has_pip = (str(part.python), "-m", "pip", "--version")
    # As venv does by itself, but with the interpreter that is to have pip: where that does not start, this ends at once.
    steps = (
        (sys.executable, "-m", "venv", "--without-pip", str(part.folder)),
        (str(part.python), "-Im", "ensurepip", "--upgrade", "--default-pip"),
        has_pip,
    )
    if not _succeeds(*has_pip) and not all(_succeeds(*step) for step in steps):
        raise InstallError(
            f"expected an environment with pip at {part.folder}, found that `{sys.executable} -m venv` makes none; remove it"
        )


def _forget_unfinished(folder: Path) -> None:
    """Remove the records of packages that an interrupted pip had not written whole: it takes them for installed. RECORD comes last."""
    for record in folder.glob("lib/python*/site-packages/*.dist-info"):
        if not (record / "RECORD").exists():
            shutil.rmtree(record)


def _pip(part: Part, *arguments: str) -> None:
    """Run pip's `install` in the environment and print a line for each package. Raises InstallError where it fails."""
    command = [
        str(part.python),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            shown = PROGRESS.match(line)
            if shown:
                print(f"  {shown[0].replace('Collecting ', '')}", flush=True)
    if process.returncode:
        raise InstallError(
            f"expected pip to install {part.name} into {part.folder}, found that it failed; its message is above"
        )


def _uv(part: Part, *arguments: str) -> bool:
    """Install as pip would, with uv, which takes half a minute where pip takes two; return whether it could.

    It looks where pip is set to look for packages. What uv cannot do, such as ask for a password, is left to pip.
    """
    if not _has_uv(part):
        _pip(part, "-c", str(part.constraints), "uv")
    command = [str(part.python), "-m", "uv", "pip", "install", "--compile-bytecode", "--python", str(part.python)]
    # As pip: the best of all indexes, instead of the first that knows the name.
    command += ["--index-strategy", "unsafe-best-match", *settings_of_pip(part.python)]
    if part.begun.exists():  # an installation was cut off, of which uv cannot tell what is whole
        command.append("--reinstall")
    part.begun.touch()
    said = []
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            said.append(line.strip())
            if UV_PROGRESS.match(line.strip()):
                print(f"  {line.strip()}", flush=True)
    if process.returncode:
        print(f"  uv could not: {' '.join(said)[:200]}; pip goes on", flush=True)
    return not process.returncode


def _has_uv(part: Part) -> bool:
    """Return whether uv is there whole, in the version that the constraints ask for: pip takes a second to find that out."""
    asked = re.search(r"^uv==(\S+)", part.constraints.read_text(encoding="utf-8"), re.MULTILINE)
    return bool(asked and any(part.folder.glob(f"lib/python*/site-packages/uv-{asked[1]}.dist-info/RECORD")))


def settings_of_pip(python: Path | str) -> list[str]:
    """Return the arguments by which uv looks for packages where the pip of this interpreter is set to look."""
    asked = [str(python), "-m", "pip", "config", "list"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    found = re.findall(UV_KNOWS, said, re.MULTILINE)
    return [
        word for name, values in found for value in values.replace("\\n", " ").split() for word in (f"--{name}", value)
    ]


def _succeeds(*command: str) -> bool:
    """Return whether a command starts and exits with 0; what it prints is not shown."""
    with contextlib.suppress(OSError):
        return not subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    return False


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m setup.install", description=__doc__)
    parser.add_argument(
        "hardware", help="cpu, cuda12 or cuda13; triton for the set server, clients for the set clients"
    )
    parser.add_argument("set", choices=FILES)
    parser.add_argument("--default", action="store_true", help="make build/python run this environment")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Install; return the exit code."""
    args = parse_args(argv)
    part = Part(args.hardware, args.set)
    try:
        install(part)
        if args.default:
            point_at(part)
    except (InstallError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the next set-up goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
