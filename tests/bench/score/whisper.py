"""The normaliser beside Whisper's for English; `python -m tests.bench.score.whisper` writes docs/normaliser.md's tables."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from whisper_normalizer.english import EnglishTextNormalizer

from bench.score.normalise import normalise, scorable

SENTENCES = Path("tests/bench/score/sentences.tsv")
"""Kinds, as in DECISIONS or `same`, and a sentence in ASCII with Python's escapes."""
PAGE = Path("docs/normaliser.md")
TABLES = re.compile(r"(?<=<!-- sentences:start -->\n).*(?=<!-- sentences:end -->)", re.DOTALL)
DECISIONS = {
    "number": (
        "words become digits, `oh` and `O'` too",
        "words stay",
        "Whisper writes digits, this model words: there is nothing to unify. `oh no` is not 0, `one;two;three` not 123.",
    ),
    "digits": (
        "stay",
        "the reference is left out",
        "1984 is spoken in several ways; which one cannot be told from the text.",
    ),
    "contraction": (
        "is written out",
        "stays",
        "What was said differs, and a recogniser that writes `do not` for `don't` errs. `she'd said` is not `she would said`.",
    ),
    "possessive": (
        "`'s` becomes `is`",
        "stays",
        "`The dog is bowl` is wrong; on both sides it adds a word to the count.",
    ),
    "apostrophe": ("splits the word", "stays", "One word was said: `o'clock`, `d'Artagnan`."),
    "colloquial": ("`gonna` becomes `going to`", "stays", "As for contractions."),
    "filler": (
        "`um`, `uh`, `hmm` go",
        "stay",
        "A recogniser that invents them, or drops what the reference has, errs.",
    ),
    "title": (
        "`gen`, `sen`, `rep`, `pres`, `rev`, `hon`, `col`, `ald` are written out",
        "stay",
        "These are words or names too: a rep, a col, Gen Z. Other titles are written out by both.",
    ),
    "spelling": (
        "British becomes American, by a list",
        "stays",
        "Precisions and backends of one model spell alike, so no comparison here depends on it. The list turns the Louvre into a louver.",
    ),
    "apostrophe sign": (
        "splits the word, or stays as it is",
        "is an apostrophe",
        "Editors and keyboards write it in a dozen ways.",
    ),
    "letter": ("stays as it is", "as English writes it", "A model of 26 letters cannot write `ı`, `ħ`, `ŋ` or `ə`."),
    "invisible": (
        "stays within the word",
        "goes",
        "With a soft hyphen a word looks and sounds the same, and must be equal.",
    ),
    "symbol": ("becomes letters, or a dot", "becomes a space", "Nobody says `colatm` for `Cola™`, or `c` for `℃`."),
    "brackets": (
        "go with what they hold",
        "go alone",
        "Words in brackets were said, as a rule. Take notes such as [laughs] out of references.",
    ),
    "script": ("stays", "goes", "A model of Latin letters cannot write it."),
}
"""Kind -> what Whisper's does, what ours does, why."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and in which ways the normalisers differ on it."""

    kinds: tuple[str, ...]
    text: str

    @property
    def ours(self) -> str:
        """Our text, or that it is left out."""
        return normalise(self.text, "en") if scorable(self.text, "en") else "(left out)"

    @property
    def whispers(self) -> str:
        """Whisper's text."""
        return str(_whisper()(self.text)).strip()


@cache
def _whisper() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


def sentences() -> list[Sentence]:
    """Return the sentences."""
    lines = [line.split("\t") for line in SENTENCES.read_text("ascii").splitlines()]
    return [Sentence(tuple(kinds.split(", ")), text.encode().decode("unicode_escape")) for kinds, text in lines]


def tables() -> str:
    """Return the decisions, and the sentences on which the two differ, in Markdown."""
    found = sentences()
    differ = [each for each in found if each.ours != each.whispers]
    lines = [
        f"Of {len(found)} sentences {len(found) - len(differ)} come out the same. The other {len(differ)} differ so:",
        "",
    ]
    lines += ["| what | sentences | Whisper's | ours | why |", "|---|---|---|---|---|"]
    for kind, (whispers, ours, why) in DECISIONS.items():
        lines.append(f"| {kind} | {sum(kind in each.kinds for each in differ)} | {whispers} | {ours} | {why} |")
    lines += ["", "| sentence | ours | Whisper's | what |", "|---|---|---|---|"]
    lines += [
        f"| {shown(each.text)} | {each.ours} | {shown(each.whispers)} | {', '.join(each.kinds)} |" for each in differ
    ]
    return "\n".join(lines) + "\n"


def shown(text: str) -> str:
    """A text in a cell, what is invisible as its code."""
    return (
        "".join(each if each.isprintable() else f"(U+{ord(each):04X})" for each in text)
        .replace("<", "&lt;")
        .replace("`", "\\`")
    )


if __name__ == "__main__":
    PAGE.write_text(TABLES.sub(lambda _: tables(), PAGE.read_text("utf-8")), "utf-8")
