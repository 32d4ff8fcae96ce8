"""Language codes as people write them, and the names that a checkpoint has for its languages."""

import difflib
from collections.abc import Collection, Iterable

from .errors import InputError

NEAREST = 3
"""Names that a refusal gives."""


def find_language(asked: str, known: Iterable[str]) -> str | None:
    """Return the known name that a code such as `de`, `de-DE` or `de_de` means; None where there is none.

    That is the same code, else its language without the region, else, of a code without one, the first of its regions that is known.
    """
    names = {_code(name): name for name in known}
    code = _code(asked)
    language, _, region = code.partition("-")
    regions = (name for each, name in names.items() if not region and each.startswith(f"{language}-"))
    return names.get(code) or names.get(language) or next(regions, None)


def known_language(asked: str, known: Collection[str], checkpoint: str) -> str:
    """Return what `find_language` does. Raises InputError, with the names spelt most like the code, where a checkpoint has none for it."""
    found = find_language(asked, known)
    if found is None:
        names = {_code(name): name for name in known}
        nearest = [names[code] for code in difflib.get_close_matches(_code(asked), names, NEAREST, 0.0)]
        raise InputError(
            f"expected one of the {len(known)} languages of {checkpoint}, such as {', '.join(nearest)}, found {asked}; choose one of them"
        )
    return found


def _code(name: str) -> str:
    return name.replace("_", "-").casefold()
