"""The normaliser, case by case."""

import pytest
from text_unidecode import unidecode

from bench.score.normalise import LANGUAGES, check_language, normalise, scorable
from runtime.errors import InputError
from tests.bench.score import whisper


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
        ("en", "S\u00f8rensen met \u0141ukasz", "sorensen met lukasz"),
        (
            "en",
            "\u00e6on \u0153uvre \u0111ak \u00feing \u0131l\u0131k gro\u00df \u01fe",
            "aeon oeuvre dak thing ilik gross o",
        ),
        ("en", "co\u00adop zero\u200bwidth \ufeffmark le\u200dft\u200e x\ufe0f", "coop zerowidth mark left x"),
        ("en", "It\u2032s don\u02b9t I\uff07m o\u055aclock \u0149", "it's don't i'm o'clock n"),
        ("en", "Cola\u2122 & Co\u00ae \u2103 \U0001f600", "cola co"),
        ("en", "Paral\u00b7lel co\u0140legi Ju\u01c0\u02bchoan", "parallel collegi ju'hoan"),
        ("en", "Lt. Dan, Prof. X, King Jr. and a rep", "lieutenant dan professor x king junior and a rep"),
        ("en", "A\u00a0no\u2028break\u202fspace", "a no break space"),
        (
            "de",
            "S\u00f8rensen gr\u00fc\u00dft \u0141ukasz und Fran\u00e7ois, GRO\u1e9e",
            "sorensen gr\u00fc\u00dft lukasz und francois gro\u00df",
        ),
        ("de", "co\u00adop f\u00fc\u00adr u\u0308ber", "coop f\u00fcr \u00fcber"),
        ("de", "Stra\u00dfe, \u00dcber M\u00e4dchen; sch\u00f6n!", "stra\u00dfe \u00fcber m\u00e4dchen sch\u00f6n"),
        ("de", "U\u0308ber", "\u00fcber"),
        (
            "de",
            "Dr. Müller aus St. Gallen, Hr. Prof. Groß usw.",
            "doktor müller aus sankt gallen herr professor groß und so weiter",
        ),
        ("de", "Nr. 7 bzw. ca. 30", "nummer sieben beziehungsweise circa dreißig"),
        (
            "de",
            "Donaudampfschifffahrt, E-Mail-Adresse, Müller-Lüdenscheidt",
            "donaudampfschifffahrt e mail adresse müller lüdenscheidt",
        ),
        ("de", "„Größe“ «Öl» ‚Maß‘ – STRASSE, Fuss", "größe öl maß strasse fuss"),
        ("de", "Geht\u2019s dir gut? Caf\u00e9", "geht's dir gut cafe"),
    ],
)
def test_normalise(lang: str, text: str, expected: str) -> None:
    assert normalise(text, lang) == expected
    assert normalise(expected, lang) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two", True),
        ("in 1984", False),
        ("x\u00b2", False),
        ("\u00bd a cup", False),
        ("room \u2461", False),
        ("\u2163", False),
        ("one half", True),
        ("\u0663", False),
        ("...", False),
        ("''", False),
    ],
)
def test_scorable(text: str, expected: bool) -> None:
    assert scorable(text, "en") is expected


def test_a_language_without_a_normaliser() -> None:
    with pytest.raises(InputError, match=r"expected one of en, de, found 'xx'"):
        check_language("xx")


DECIDED = {
    **dict(
        zip(
            "ĸǝəɯƣɂʌỻỽỿǯẚʃⱥⱦ",
            ["q", "e", "a", "m", "gh", "'", "v", "ll", "v", "y", "z", "a'", "sh", "a", "t"],
            strict=True,
        )
    ),
    **dict.fromkeys("ƅƨƽǀǁǂǃ", ""),  # tones and clicks
    **dict.fromkeys("ƍƛƪƹƺƻƾȸȹẟ", " "),  # letters of phoneticians
}
"""Letters that text-unidecode, which spells most of Unicode in ASCII, writes otherwise: ə as @, ʌ as ^, some not at all."""


def test_the_letters_of_latin_languages_as_text_unidecode_spells_them() -> None:
    """All of Unicode's blocks of Latin letters that languages are written in."""
    letters = {chr(code).lower() for code in [*range(0xC0, 0x250), *range(0x1E00, 0x1F00)] if chr(code).isalpha()}
    spelt = {letter: normalise(f"x{letter}x", "en")[1:-1] for letter in letters}
    assert {letter: ours for letter, ours in spelt.items() if ours != unidecode(letter).lower()} == DECIDED


def test_normalised_text_stays_as_it_is() -> None:
    blocks = [range(first, first + 0x100) for first in range(0, 0x10000, 0x100) if not 0xD800 <= first < 0xE000]
    for lang in LANGUAGES:
        for block in blocks:  # a text of a letter alone would take ten times as long
            once = normalise(" ".join(f"a{chr(code)}b c" for code in block), lang)
            assert normalise(once, lang) == once, (lang, block)
            assert set(once) <= LANGUAGES[lang] | {" ", "'"}, (lang, block)


@pytest.mark.parametrize(
    "sentence", whisper.sentences(), ids=lambda each: each.text.encode("unicode_escape").decode()[:40]
)
def test_every_difference_from_whispers_normaliser_is_decided(sentence: whisper.Sentence) -> None:
    assert sentence.kinds == ("same",) or set(sentence.kinds) <= set(whisper.DECISIONS)
    assert (sentence.ours == sentence.whispers) is (sentence.kinds == ("same",)), (sentence.ours, sentence.whispers)


def test_the_page_has_the_comparison() -> None:
    page = whisper.TABLES.search(whisper.PAGE.read_text("utf-8"))
    assert page
    assert page[0] == whisper.tables(), "write it anew with `python -m tests.bench.score.whisper`"
    assert len(whisper.sentences()) >= 200


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("0", "null"),
        ("1", "eins"),
        ("12 16 17", "zwölf sechzehn siebzehn"),
        ("20 30 67", "zwanzig dreißig siebenundsechzig"),
        ("21", "einundzwanzig"),
        ("100", "einhundert"),
        ("101", "einhunderteins"),
        ("731", "siebenhunderteinunddreißig"),
        ("1000", "eintausend"),
        ("1984", "neunzehnhundertvierundachtzig"),
        ("2026", "zweitausendsechsundzwanzig"),
        ("1.001", "eintausendeins"),
        ("21.000", "einundzwanzigtausend"),
        ("101.000", "einhunderteintausend"),
        ("999999", "neunhundertneunundneunzigtausendneunhundertneunundneunzig"),
        ("1000000", "eins null null null null null null"),
        ("3,14", "drei komma eins vier"),
        ("um 7.30", "um sieben dreißig"),
        ("20 %", "zwanzig"),
        ("Der 3. Mai, 5km", "der drei mai fünf km"),
        ("007", "sieben"),
    ],
)
def test_german_numbers(written: str, spoken: str) -> None:
    assert normalise(written, "de") == spoken
    assert normalise(written, "en") != spoken
    assert not scorable(written, "de"), "how it was said is not known"
