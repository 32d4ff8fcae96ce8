"""Measurements in processes of their own: fresh memory, a crash that stays its own, and what fails left out with its reason."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console

from bench.figures import shown
from bench.machine import without_folders
from bench.rows import StepRow
from runtime.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """Measurements one after another: what comes of them is printed, and what fails is left out with its reason."""

    console: Console
    left_out: dict[str, str] = field(default_factory=dict)

    def tried(self, what: str, work: Callable[[], T]) -> T | None:
        """Return what `work` does; None where it fails, and then `what` is left out."""
        try:
            return work()
        except InputError as error:
            self.left_out[what] = without_folders(str(error))
            self.say(f"{what}: left out: {error}")
            return None

    def say_steps(self, what: str, row: StepRow) -> None:
        """Print the times of a row of steps."""
        self.say(f"{what}: step {shown([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 3)} ms (p50 / p95 / p99)")

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run_child(command: Sequence[str], limit_s: float, *, graph: bool = True) -> str:
    """Run a command to its end and return what it printed; `graph`: whether the runtime captures its steps in CUDA graphs there.

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
    return done.stdout
