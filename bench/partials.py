"""A clip's partials in the result file: each its time, and what it changes of the one before. A third of the bytes of whole texts."""

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

DEFINITION = (
    "texts of a clip fed on its own, each as 'SECONDS KEPT TEXT': when it came, from the capture of the first sample, how many "
    "characters of the text before it stay, and what follows them"
)
_LINE = re.compile(r"(\d+\.\d\d) (\d+) (.*)", re.DOTALL)


def changes(partials: Iterable[tuple[float, str]]) -> list[tuple[float, int, str]]:
    """Of each partial (seconds, text): seconds, how many characters of the text before stay, and what follows them."""
    found, before = [], ""
    for seconds, text in partials:
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, text, strict=False)))
        found.append((seconds, kept, text[kept:]))
        before = text
    return found


def _restored(lines: object) -> object:
    """Partials of their lines; what is no list of lines is left for the field's own type to judge."""
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return lines
    partials: list[tuple[float, str]] = []
    text = ""
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None or int(found[2]) > len(text):
            raise ValueError(f"expected a partial as 'SECONDS KEPT TEXT', found {line!r} after {text!r}")
        text = text[: int(found[2])] + found[3]
        partials.append((float(found[1]), text))
    return tuple(partials)


Partials = Annotated[
    tuple[tuple[float, str], ...],
    BeforeValidator(_restored),
    PlainSerializer(
        lambda partials: [f"{seconds:.2f} {kept} {rest}" for seconds, kept, rest in changes(partials)],
        return_type=list[str],
        when_used="json",
    ),
]
"""(seconds from the capture of the first sample, hypothesis) of every non-empty partial; hundredths of a second in JSON."""
