"""Events in the terminal as they come: a partial rewritten in place, or one line per event where stdout is no terminal."""

import signal
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Generic, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text
from typing_extensions import Self

from .events import Event, Final

T = TypeVar("T")


class Display:
    """Shows events. A context manager: leaving it leaves the terminal as it was."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # Redrawn only when told: a drawing thread would take time from recognition.
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def show(self, event: Event) -> None:
        """A partial replaces the one before it; a final stays."""
        final = isinstance(event, Final)
        line = Text(f"{event.audio_s:8.2f} s  {'final: ' if final else ''}{event.text}")
        if self._live is None:
            print(line.plain, file=self._console.file, flush=True)
        elif final:
            self._live.update(Text(""), refresh=True)
            self._console.print(line)
        else:
            self._live.update(line, refresh=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()


class UntilInterrupted(Generic[T]):
    """Items until there are no more or Ctrl-C is pressed, which never strikes between two of them, in the middle of a step."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._waiting = False
        self.interrupted = False

    def __iter__(self) -> Iterator[T]:
        """Yield the items; the main thread only."""
        before = signal.signal(signal.SIGINT, self._handle)
        try:
            items = iter(self._items)
            while not self.interrupted:
                self._waiting = True
                item = next(items, None)
                self._waiting = False
                if item is None:
                    return
                yield item
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGINT, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- as signal calls it
        self.interrupted = True
        if self._waiting:
            raise KeyboardInterrupt


def paced(frames: Iterable[T], frame_s: float) -> Iterator[T]:
    """The frames at the pace of a microphone: each once its last sample was spoken, by absolute deadlines."""
    start = time.monotonic()
    for number, frame in enumerate(frames, 1):
        time.sleep(max(0.0, start + number * frame_s - time.monotonic()))
        yield frame
