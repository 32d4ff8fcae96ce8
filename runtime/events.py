"""What a stream says: partials as the text changes, a final at an utterance's end."""

from dataclasses import dataclass

from .endpoint import EndedBy


@dataclass(frozen=True)
class Partial:
    """The hypothesis changed: it grew, or with a language model its last words became others."""

    text: str
    """The whole utterance so far."""
    tokens: tuple[int, ...]
    audio_s: float
    """Audio that the hypothesis accounts for, from the utterance's start, in seconds."""


@dataclass(frozen=True)
class Final:
    """The utterance ended."""

    text: str
    tokens: tuple[int, ...]
    audio_s: float
    """Length of the utterance, in seconds."""
    ended_by: EndedBy = "caller"


Event = Partial | Final
