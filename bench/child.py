"""A measurement in a process of its own: fresh memory, and a crash that stays its own."""

import os
import subprocess
from collections.abc import Sequence

from runtime.errors import InputError


def run_child(command: Sequence[str], limit_s: float, *, graph: bool = True) -> None:
    """Run a command to its end; `graph`: whether the runtime captures its steps in CUDA graphs there.

    Raises:
        InputError: the command cannot be started, takes longer than `limit_s` seconds, or fails: with its last line on stderr.
    """
    environment = os.environ | {"CUDA_GRAPH": "1" if graph else "0"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit_s)
    except OSError as error:
        raise InputError(f"cannot start {error.filename}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"not done after {limit_s:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}, nothing on stderr"]
        raise InputError(said[-1].removeprefix("error: "))
