"""German numbers as they are spoken: a recogniser may write digits where a reference has words."""

import re

# fmt: off
ONES = (
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn", "vierzehn",
    "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
)
# fmt: on
TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
LARGEST = 999_999
"""Larger numbers are read digit by digit."""
HUNDREDS = range(1_100, 2_000)
"""Said in hundreds, as years are."""
NUMBER = re.compile(r"(?<!\d)(\d{1,3}(?:\.\d{3})+|\d+)(?:,(\d+))?(?!\d)")
"""With points between thousands and a comma before decimals."""


def german_numbers(text: str) -> str:
    """Return the text with its numbers in words; ordinals, times and dates are read as the numbers that they are written with."""
    return NUMBER.sub(_spoken, text)


def _spoken(found: re.Match[str]) -> str:
    whole, decimals = found[1].replace(".", ""), found[2]
    words = [_cardinal(int(whole)) if int(whole) <= LARGEST and whole.isascii() else _digits(whole)]
    return f" {' komma '.join([*words, *([_digits(decimals)] if decimals else [])])} "


def _digits(text: str) -> str:
    return " ".join(ONES[int(digit)] for digit in text)


def _cardinal(number: int) -> str:
    """From 0 to LARGEST."""
    if number >= 1_000 and number not in HUNDREDS:
        return _joined(number, 1_000, "tausend")
    if number >= 100:
        return _joined(number, 100, "hundert")
    if number < len(ONES):
        return ONES[number]
    tens, one = TENS[number // 10 - 2], number % 10
    return f"{_before(one)}und{tens}" if one else tens


def _joined(number: int, unit: int, name: str) -> str:
    many, rest = divmod(number, unit)
    return f"{_before(many)}{name}{_cardinal(rest) if rest else ''}"


def _before(number: int) -> str:
    """As the first part of a word: einundzwanzig, hunderteintausend."""
    spoken = _cardinal(number)
    return spoken.removesuffix("s") if spoken.endswith("eins") else spoken
