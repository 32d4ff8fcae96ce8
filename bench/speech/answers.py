"""What a stream of many said, and when."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from runtime import Event

GIVE_UP_S = 1.0
"""An arrived frame that waited so long ends the run: it only gets later."""


@dataclass
class Answers:
    """What one stream said, and when. Times are in seconds."""

    chunk_s: list[float] = field(default_factory=list)
    """From the arrival of a chunk's last frame until it was decoded."""
    final_s: list[float] = field(default_factory=list)
    """From the arrival of an utterance's last frame to its final."""
    said: list[bytes] = field(default_factory=list)
    """Digest of the texts of each utterance that was ended, in order: the events of hours of streams would fill the memory."""
    backlog_s: float = 0.0
    """Longest time that an arrived frame waited to be fed."""
    audio_s: float = 0.0
    """Of the utterances that were ended."""


def texts_of(events: Iterable[Event]) -> bytes:
    """Return a digest of what events say, and of which audio, as another stream, or one of another process, may say it too."""
    said = [(event.text, event.tokens, event.audio_s) for event in events]
    return blake2b(repr(said).encode(), digest_size=16).digest()
