"""The one text normaliser: WER and CER compare references and hypotheses after it.

1. Typographic apostrophes become `'`; Unicode NFKC; lower case.
2. Letters of the language stay (en: a-z, de: a-z and äöüß), and apostrophes. Another letter with a mark loses the mark
   (`café` -> `cafe`). Everything else, hyphens and dashes included, becomes a space.
3. Apostrophes at the edge of a word go: there they are quotation marks.
4. English titles are written out: mr, mrs, dr, st -> mister, missus, doctor, saint.
5. Spaces collapse.

References with digits have no single spoken form: they are left out, and counted (`scorable`).
"""

import unicodedata

from runtime.errors import InputError

DEFINITION = (
    "bench/score/normalise.py: NFKC, lower case, letters of the language and apostrophes inside words, all else a space, "
    "English Mr, Mrs, Dr and St written out; references with digits left out"
)

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u2032\u00b4\u0060\uff07", "'"))


LANGUAGES = {"en": frozenset("abcdefghijklmnopqrstuvwxyz"), "de": frozenset("abcdefghijklmnopqrstuvwxyzäöüß")}
"""Language code -> letters that stay."""
_SPOKEN = {"en": {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}}
"""Language code -> abbreviation -> as spoken."""


def check_language(lang: str) -> str:
    """Return the language code if the normaliser knows it. Raises InputError otherwise."""
    if lang not in LANGUAGES:
        raise InputError(f"--lang: expected one of {', '.join(LANGUAGES)}, found {lang!r}")
    return lang


def normalise(text: str, lang: str) -> str:
    """Normalise a transcript as the module says. `lang` is a key of LANGUAGES."""
    letters, spoken = LANGUAGES[lang], _SPOKEN.get(lang, {})
    lowered = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    kept = "".join(_kept(character, letters) for character in lowered)
    words = (word.strip("'") for word in kept.split())
    return " ".join(spoken.get(word, word) for word in words if word)


def scorable(text: str, lang: str) -> bool:
    """Whether a transcript can be a reference: it has no digit, and letters are left after normalisation."""
    return not any(character.isdigit() for character in text) and bool(normalise(text, lang))


def _kept(character: str, letters: frozenset[str]) -> str:
    if character in letters or character == "'":
        return character
    bare = unicodedata.normalize("NFKD", character)[0]
    if bare in letters:
        return bare
    return "" if unicodedata.combining(character) else " "
