"""A clip's texts and words in the result file: lines that are a third of the bytes of JSON with a key for each thing."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

from runtime.prefix import common_prefix
from runtime.words import Word

LINE_DEFINITIONS = {
    "partials": "texts of a clip fed on its own, each as 'SECONDS KEPT/STABLE/EARLY TEXT': when it came, from the capture of the first "
    "sample, how many characters of the text before it stay, how many of its words stay up to the final, how many characters at its end "
    "are early (left out: none), and what follows the characters that stay",
    "words": "of the final, each as 'START END CONFIDENCE TEXT': seconds of what was fed, and how likely the word is right, 0..1",
}
_PARTIAL = re.compile(r"(\d+\.\d\d) (\d+)(?:/(\d+))?(?:/(\d+))? (.*)", re.DOTALL)
_WORD = re.compile(r"(\d+(?:\.\d+)?) (\d+(?:\.\d+)?) (0|1|0\.\d+) (.+)", re.DOTALL)


class Shown(NamedTuple):
    """A text that was shown."""

    seconds: float
    """From the capture of the first sample; hundredths in JSON."""
    text: str
    stable: int | None = None
    """How many of its words stay up to the final; None in files from before it was stored."""
    early: int = 0
    """How many characters at its end are shown before their look-ahead has arrived."""


class Change(NamedTuple):
    """A text that was shown, as what it changes of the one before."""

    kept: int
    """Characters of the text before that stay."""
    rest: str
    """What follows them."""


def changes(partials: Iterable[Shown]) -> list[Change]:
    """Return what each text changes of the one before."""
    found, before = [], ""
    for shown in partials:
        text = shown.text
        kept = common_prefix(before, text)
        found.append(Change(kept, text[kept:]))
        before = text
    return found


def _partial_lines(partials: tuple[Shown, ...]) -> list[str]:
    lines = []
    for shown, change in zip(partials, changes(partials), strict=True):
        stable = "" if shown.stable is None else f"/{shown.stable}" + (f"/{shown.early}" if shown.early else "")
        lines.append(f"{shown.seconds:.2f} {change.kept}{stable} {change.rest}")
    return lines


def _partials(lines: Any) -> Any:  # noqa: ANN401 -- JSON
    """Partials of their lines; what is no list of lines is left for the field's own type to judge."""
    if not _are_lines(lines):
        return lines
    partials: list[Shown] = []
    text = ""
    for line in lines:
        found = _PARTIAL.fullmatch(line)
        if found is None or int(found[2]) > len(text):
            raise ValueError(f"expected a partial as 'SECONDS KEPT TEXT', found {line!r} after {text!r}")
        text = text[: int(found[2])] + found[5]
        stable = None if found[3] is None else int(found[3])
        partials.append(Shown(float(found[1]), text, stable, int(found[4] or 0)))
    return tuple(partials)


def _word_lines(words: tuple[Word, ...]) -> list[str]:
    return [f"{word.start_s:.9g} {word.end_s:.9g} {word.confidence:.3g} {word.text}" for word in words]


def _words(lines: Any) -> Any:  # noqa: ANN401 -- JSON
    """Words of their lines, as `_partials`."""
    if not _are_lines(lines):
        return lines
    words: list[Word] = []
    for line in lines:
        found = _WORD.fullmatch(line)
        if found is None:
            raise ValueError(f"expected a word as 'START END CONFIDENCE TEXT', found {line!r}")
        words.append(Word(found[4], float(found[1]), float(found[2]), float(found[3])))
    return tuple(words)


def _are_lines(lines: object) -> bool:
    return isinstance(lines, list) and all(isinstance(line, str) for line in lines)


Partials = Annotated[
    tuple[Shown, ...],
    BeforeValidator(_partials),
    PlainSerializer(_partial_lines, return_type=list[str], when_used="json"),
]
"""Every non-empty partial, in order."""
Words = Annotated[
    tuple[Word, ...], BeforeValidator(_words), PlainSerializer(_word_lines, return_type=list[str], when_used="json")
]
"""A final's words."""
