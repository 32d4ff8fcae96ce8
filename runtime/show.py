"""Events on standard output as they come: lines for people, on a terminal one that is drawn over, or lines of JSON for programs."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .audio import shown_name
from .events import Event, Final, Partial

Show = Callable[[str, Event], None]
"""Takes where the audio comes from, as the command line names it, and what was said there."""
CHANGEABLE, EARLY = "dim", "dim italic"
"""How a terminal shows the words that may still change, and the letters whose look-ahead has not arrived."""


@contextmanager
def display(console: Console, *, named: bool = False) -> Iterator[Show]:
    """What shows events: a partial replaces the one before it, a final stays. The terminal is as it was when the block is left.

    `named`: each source's name stands above its events. Of silence after an utterance that ended itself nothing is shown.
    """
    last = text = ""

    def is_silence(event: Event) -> bool:
        nonlocal text
        before, text = text, "" if isinstance(event, Final) else event.text
        return isinstance(event, Final) and event.start_s > 0 and not (event.text or before)

    def name(source: str) -> None:
        nonlocal last
        if named and source != last:
            console.print(shown_name(source), markup=False, highlight=False, soft_wrap=True)
        last = source

    if not console.is_terminal:

        def print_line(source: str, event: Event) -> None:
            name(source)
            if not is_silence(event):
                print(_line(event).plain, file=console.file, flush=True)

        yield print_line
        return
    # Redrawn only when told: a drawing thread would take time from recognition.
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(source: str, event: Event) -> None:
            name(source)
            final = isinstance(event, Final)
            live.update(Text("") if final else _line(event), refresh=True)
            if not is_silence(event) and final:
                console.print(_line(event))

        yield show


def _line(event: Event) -> Text:
    """A line of an event at its time in the stream, the parts of a partial told apart."""
    line = Text(f"{event.start_s + event.audio_s:8.2f} s  ")
    if not isinstance(event, Partial):
        return line.append(f"final: {event.text}")
    early = len(event.text) - len(event.early)
    stable = min(early, len(" ".join(event.text.split(" ")[: event.stable])))
    line.append(event.text[:stable])
    line.append(event.text[stable:early], CHANGEABLE)
    return line.append(event.text[early:], EARLY)


def print_json(source: str, event: Event) -> None:
    """Print an event as a line of JSON in UTF-8, whatever the locale's letters are, with its source as `file`.

    A byte of a file's name that is no UTF-8 is escaped as JSON has it, as `os.fsdecode` does.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding != "utf-8":
        sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)
    print(json.dumps({"file": source, **event.json()}, ensure_ascii=False), flush=True)
