"""The normaliser, case by case."""

import pytest

from bench.score.normalise import check_language, normalise, scorable
from runtime.errors import InputError


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("en", "The quick brown Fox.", "the quick brown fox"),
        ("en", "  We always\ttry,\nto!  ", "we always try to"),
        ("en", "customers\u2019 likes", "customers likes"),
        ("en", "You\u2019ve, they\u02bcll, he\u00b4s, she`s", "you've they'll he's she's"),
        ("en", "'quoted' and \u2018quoted\u2019, don't", "quoted and quoted don't"),
        ("en", "''", ""),
        ("en", "nerve-racking side\u2010tap a\u2013b c\u2014d", "nerve racking side tap a b c d"),
        ("en", "Mr. Smith, Mrs Jones, Dr. No of St. Ives", "mister smith missus jones doctor no of saint ives"),
        ("en", "mrs' first drama, stop", "missus first drama stop"),
        ("en", "caf\u00e9 na\u00efve cafe\u0301", "cafe naive cafe"),
        ("en", "\uff28ello \ufb01sh \u2026", "hello fish"),
        ("en", "100 % & more", "more"),
        ("en", "\u65e5\u672c", ""),
        ("de", "Stra\u00dfe, \u00dcber M\u00e4dchen; sch\u00f6n!", "stra\u00dfe \u00fcber m\u00e4dchen sch\u00f6n"),
        ("de", "U\u0308ber", "\u00fcber"),
        ("de", "Dr. St", "dr st"),
        ("de", "Geht\u2019s dir gut? Caf\u00e9", "geht's dir gut cafe"),
    ],
)
def test_normalise(lang: str, text: str, expected: str) -> None:
    assert normalise(text, lang) == expected
    assert normalise(expected, lang) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("one two", True), ("in 1984", False), ("x\u00b2", False), ("\u0663", False), ("...", False), ("''", False)],
)
def test_scorable(text: str, expected: bool) -> None:
    assert scorable(text, "en") is expected


def test_a_language_without_a_normaliser() -> None:
    with pytest.raises(InputError, match=r"expected one of en, de, found 'xx'"):
        check_language("xx")
