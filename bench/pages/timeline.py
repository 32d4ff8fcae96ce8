"""A clip's words on a line of time: where each stands, how sure it is, whether it is right."""

from dataclasses import dataclass

from bench.rows import UtteranceRecord
from bench.score.words import matches

REM_PER_S = 5.0
"""The least width of a second; a wider page stretches the line."""
KINDS = {None: "", "equal": "", "substitute": ", wrong: another word was said", "insert": ", wrong: nothing was said"}
"""How a tooltip and a screen reader say what `matches` found."""


@dataclass(frozen=True)
class Placed:
    """A word on the line."""

    text: str
    kind: str | None
    """As `matches` has it."""
    start_s: float
    """Within the clip."""
    left: float
    """Where it starts, in percent of the line."""
    width: float
    """How long it is, in percent of the line."""
    confidence: float
    said: str
    """All of this in words."""


@dataclass(frozen=True)
class Timeline:
    """The words of a clip, whose line has the clip's length."""

    words: list[Placed]
    width_rem: float
    """The least; where the page is narrower, the line is scrolled."""


def timeline(record: UtteranceRecord, *, scored: bool) -> Timeline:
    """Lay out a record's words. Those that lie outside the clip, as an utterance that began before it has them, are left out."""
    words, length_s, origin_s = record.words or (), max(record.audio_s, 0.001), record.start_s or 0.0
    found = matches(record.reference, [word.text for word in words], record.lang) if scored else []
    kinds = [match.kind for match in found] or [None] * len(words)
    placed = []
    for word, kind in zip(words, kinds, strict=True):
        start_s, end_s = word.start_s - origin_s, word.end_s - origin_s
        if end_s < 0 or start_s > length_s:
            continue
        start_s, end_s = max(0.0, start_s), min(length_s, end_s)
        said = f"{word.text}: {start_s:.2f} to {end_s:.2f} s, {word.confidence:.0%} sure{KINDS[kind]}"
        left, width = (round(100 * seconds / length_s, 2) for seconds in (start_s, end_s - start_s))
        placed.append(Placed(word.text, kind, round(start_s, 3), left, width, word.confidence, said))
    return Timeline(placed, round(REM_PER_S * length_s, 2))
