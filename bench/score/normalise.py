"""The one text normaliser: WER and CER compare references and hypotheses after it.

1. Symbols become spaces; every kind of apostrophe becomes `'`; Unicode NFKC; lower case.
2. Letters of the language stay (en: a-z, de: a-z and äöüß), and apostrophes. Another Latin letter becomes the letters that English
   writes for it: without its mark (`café` -> `cafe`, `Łukasz` -> `lukasz`) or as two (`œ` -> `oe`, `ß` -> `ss`). Invisible characters
   go. Everything else, hyphens and dashes included, becomes a space.
3. Apostrophes at the edge of a word go: there they are quotation marks.
4. Titles are written out: mr, mrs, dr, st -> mister, missus, doctor, saint, and so on; German also common abbreviations and numbers, as
   a recogniser may write digits: 21 -> einundzwanzig. Compounds stay one word, but for their hyphens.
5. Spaces collapse.

References with digits have no single spoken form: they are left out, and counted (`scorable`). docs/normaliser.md compares all of this
with Whisper's.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import partial

from bench.score.numerals import german_numbers
from runtime.errors import InputError

_APOSTROPHES = str.maketrans(
    dict.fromkeys(
        "\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u055a\u05f3\ua78b\ua78c\u00b4\u0060\uff07",
        "'",
    )
)

LANGUAGES = {"en": frozenset("abcdefghijklmnopqrstuvwxyz"), "de": frozenset("abcdefghijklmnopqrstuvwxyzäöüß")}
"""Language code -> letters that stay."""
_SPOKEN = {
    "en": {
        "mr": "mister",
        "mrs": "missus",
        "dr": "doctor",
        "st": "saint",
        "jr": "junior",
        "sr": "senior",
        "lt": "lieutenant",
        "capt": "captain",
        "prof": "professor",
        "gov": "governor",
        "esq": "esquire",
        "asst": "assistant",
        "assoc": "associate",
    },
    "de": {
        "dr": "doktor",
        "prof": "professor",
        "hr": "herr",
        "st": "sankt",
        "nr": "nummer",
        "bzw": "beziehungsweise",
        "usw": "und so weiter",
        "ca": "circa",
    },
}
"""Language code -> abbreviation, which is no word of its own -> as spoken."""
_LATIN = {
    "ß": "ss",
    "þ": "th",
    "ð": "d",
    "ə": "a",
    "ŋ": "ng",
    "ĸ": "q",
    "ʃ": "sh",
    "ʒ": "z",
    "ɣ": "g",
    "ʊ": "u",
    "ɩ": "i",
    "ɑ": "a",
    "ʉ": "u",
    "ƿ": "w",
    "ȝ": "y",
    "ȣ": "ou",
    "ꞵ": "b",
    "ꭓ": "x",
    "ƣ": "gh",
    "ʔ": "'",
    "ɂ": "'",
    **dict.fromkeys("ǀǁǂǃƨƽƅ·‧", ""),  # clicks, tones, the dot of Catalan
}
"""Letters whose Unicode names do not say how English writes them -> how it does."""
_NAMED = re.compile(r"LATIN (?:SMALL )?(?:LETTER|LIGATURE) (?:.+ )?([A-Z]{1,2})(?: WITH .+)?")
"""Names of the others, such as O WITH STROKE, DOTLESS I, OPEN E or AE."""
_INVISIBLE = ("Cf", "Mn", "Mc", "Me")  # categories: soft hyphens, zero-width characters, marks


def check_language(lang: str) -> str:
    """Return the language code if the normaliser knows it. Raises InputError otherwise."""
    if lang not in LANGUAGES:
        raise InputError(f"--lang: expected one of {', '.join(LANGUAGES)}, found {lang!r}")
    return lang


def normalise(text: str, lang: str) -> str:
    """Normalise a transcript as the module says. `lang` is a key of LANGUAGES."""
    spoken = _SPOKEN.get(lang, {})
    plain = text.translate(_APOSTROPHES).translate(_SYMBOLS)
    lowered = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain).translate(_APOSTROPHES).lower())
    if lang == "de":
        lowered = german_numbers(lowered)
    words = (word.strip("'") for word in lowered.translate(_KEPT[lang]).split())
    return " ".join(spoken.get(word, word) for word in words if word)


def scorable(text: str, lang: str) -> bool:
    """Whether a transcript can be a reference: it has no digit, number sign or fraction, and letters are left after normalisation."""
    return not any(character.isnumeric() for character in text) and bool(normalise(text, lang))


def _kept(character: str, letters: frozenset[str]) -> str:
    if character in letters or character == "'":
        return character
    if unicodedata.category(character) in _INVISIBLE:
        return ""
    bare = unicodedata.normalize("NFKD", character)[0]
    named = _NAMED.fullmatch(unicodedata.name(bare, ""))
    return _LATIN.get(bare, named[1].lower() if named else " ")


class _Table(dict[int, str]):
    """For `str.translate`: what a function makes of each character, asked once."""

    def __init__(self, become: Callable[[str], str]) -> None:
        super().__init__()
        self._become = become

    def __missing__(self, code: int) -> str:
        return self.setdefault(code, self._become(chr(code)))


_SYMBOLS = _Table(lambda character: " " if unicodedata.category(character)[0] == "S" else character)
_KEPT = {lang: _Table(partial(_kept, letters=letters)) for lang, letters in LANGUAGES.items()}
