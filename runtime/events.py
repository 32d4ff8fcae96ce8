"""What a stream says: partials as the text changes, a final at an utterance's end. Times are in seconds of the stream."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from typing_extensions import Self

from .endpoint import EndedBy
from .words import Word


@dataclass(frozen=True)
class Said:
    """What partials and finals share."""

    text: str
    """The whole utterance so far."""
    tokens: tuple[int, ...]
    audio_s: float
    """Audio that the text accounts for, in seconds from the utterance's start; of a final the utterance's length."""
    start_s: float = 0.0
    """Where the utterance starts in the stream: at its start, or where the utterance before ended. In whole milliseconds."""
    words: tuple[Word, ...] = ()
    """The words of `text`."""
    lag_ms: float = field(default=0.0, compare=False)
    """From the arrival of the last of that audio, or from the call that ended the utterance, to this event; no part of what was said."""

    def at(self, start_s: float) -> Self:
        """Return the same of an utterance that starts at `start_s`, in whole milliseconds."""
        words = tuple(word.moved(start_s - self.start_s) for word in self.words)
        return replace(self, start_s=start_s, words=words)

    def json(self) -> dict[str, Any]:
        """Return what a line of JSON says of it: `event`, then the fields but for `lag_ms`, so that the same audio gives the same lines."""
        said = asdict(self)
        del said["lag_ms"]
        return {"event": type(self).__name__.lower(), **said}


@dataclass(frozen=True)
class Partial(Said):
    """The hypothesis changed: it grew, or its last words became others."""

    stable: int = 0
    """How many of the words, from the first on, stay up to the final."""
    early: str = ""
    """The end of `text` that is shown before its look-ahead has arrived, and may be taken back."""


@dataclass(frozen=True)
class Final(Said):
    """The utterance ended."""

    ended_by: EndedBy = "caller"

    @property
    def stable(self) -> int:
        """All words stay."""
        return len(self.words)


Event = Partial | Final
