"""What a build says while it runs: TensorRT's messages, a bar for each phase, and a way to stop it."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from runtime.console import progress_console


class MessageLog(Protocol):
    """An ILogger that keeps what went wrong."""

    errors: list[str]
    """One line each, in order."""
    warning: str
    """The latest; 8.6 reports a CUDA that does not start as no more than that."""


def make_logger(trt: Any) -> MessageLog:  # noqa: ANN401
    """A logger that keeps errors and the latest warning, each as one line, and shows none (8.6 warns without end)."""

    class Logger(trt.ILogger):  # type: ignore[misc] # each library has its own ILogger
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warning = "no reason given"

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401
            line = " ".join(msg.split())
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(line)
            elif severity == trt.ILogger.WARNING:
                self.warning = line

    return Logger()


@contextmanager
def watched(trt: Any, config: Any) -> Iterator[None]:  # noqa: ANN401
    """Show the build's phases where the library reports them (10 and later), else one line; raise KeyboardInterrupt after Ctrl-C.

    TensorRT cannot be interrupted by an exception, only asked to stop between steps.
    """
    signals: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: signals.append(number))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        if hasattr(trt, "IProgressMonitor"):
            with Progress(*columns, console=progress_console(), transient=True) as progress:
                monitor = make_monitor(trt, progress, signals)
                config.progress_monitor = monitor  # the configuration does not keep it alive: this frame does
                yield
        else:
            print("engines: building, this takes minutes", flush=True)
            yield
    finally:
        signal.signal(signal.SIGINT, before)
        if signals:
            raise KeyboardInterrupt


def make_monitor(trt: Any, progress: Progress, signals: Sequence[int]) -> Any:  # noqa: ANN401
    """An IProgressMonitor that draws each phase under its parent on `progress`, and stops the build once there are `signals`.

    TensorRT calls it from several threads.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # each library has its own IProgressMonitor
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, tuple[TaskID, int]] = {}  # name to bar and depth

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            depth = self.phases[parent_phase][1] + 1 if parent_phase in self.phases else 0
            self.phases[phase_name] = progress.add_task("  " * depth + phase_name, total=num_steps), depth

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.phases:
                progress.update(self.phases[phase_name][0], completed=step + 1)
            return not signals

        def phase_finish(self, phase_name: str) -> None:
            if phase := self.phases.pop(phase_name, None):
                progress.remove_task(phase[0])

    return Monitor()
