"""A word n-gram in KenLM's format and its word list: loaded, checked against the recogniser's pieces, and scored."""

import math
import os
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..bundle import Bundle, checked_file
from ..errors import InputError, install
from ..files import check_spelling
from .transcript import text_of

CACHED = 1 << 16  # scores kept: bounded, however long a stream is
WRITABLE = 0.95  # of a list's words must be spelled in the recogniser's characters; the rest may be loan words
LN_10 = math.log(10)  # KenLM has logarithms to base 10

LmChoice = str | os.PathLike[str] | None
"""A KenLM file with its word list beside it; "default": the bundle's own, if any; "none" or None: no language model."""


class Scored(NamedTuple):
    """A word after a context."""

    log_prob: float
    """Natural logarithm."""
    known: bool
    """Whether the language model has the word."""
    state: Any
    """The context with the word, KenLM's own; equal ones have an equal future."""


class AnyWord:
    """No language model: every word is as likely as any other."""

    def sentence_start(self) -> None:
        """No context."""

    def end_log_prob(self, state: None) -> float:  # noqa: ARG002 -- as NGram's
        """A sentence may end anywhere."""
        return 0.0

    def score(self, state: None, word: str) -> Scored:  # noqa: ARG002 -- as NGram's
        """Return the score that any word has."""
        return Scored(0.0, True, None)

    def is_start(self, text: str) -> bool:  # noqa: ARG002 -- as NGram's
        """Any text may begin a word."""
        return True


class NGram:
    """Scores words one after another. Shared by all streams of a recogniser."""

    def __init__(self, name: str, path: Path, words: Path) -> None:
        """Load a KenLM file (binary or ARPA) and its word list, UTF-8 and one word a line.

        Raises InputError where one is missing, is no such file, or the list is not of that language model.
        """
        self.name = name
        self._words = read_words(words)
        self._kenlm, self._model = _open_kenlm(path)
        unknown = [word for word in self._words if word not in self._model]
        if unknown:
            raise InputError(
                f"expected the words of {words.name} in {path}, found {len(unknown)} of {len(self._words)} missing, "
                f"as {unknown[0]!r}; give the list of this language model"
            )
        self.score = lru_cache(CACHED)(self._score)
        self.is_start = lru_cache(CACHED)(self._is_start)

    def sentence_start(self) -> Any:  # noqa: ANN401 -- KenLM's
        """The context before the first word."""
        state = self._kenlm.State()
        self._model.BeginSentenceWrite(state)
        return state

    def end_log_prob(self, state: Any) -> float:  # noqa: ANN401 -- KenLM's
        """Natural logarithm of the probability that the sentence ends after `state`."""
        return float(self._model.BaseScore(state, "</s>", self._kenlm.State())) * LN_10

    def check_spelling(self, bundle: Bundle) -> None:
        """Raise InputError where the recogniser's pieces do not mark words, or cannot spell the list's."""
        texts = text_of(bundle.vocabulary)
        if not any(text.startswith(" ") for text in texts):
            raise InputError(
                f"expected pieces that mark where a word begins, found none in {bundle.checkpoint.name}; go without a language model"
            )
        letters = set("".join(texts))
        written = sum(map(letters.issuperset, self._words)) / len(self._words)
        if written < WRITABLE:
            raise InputError(
                f"expected a language model of words that {bundle.checkpoint.name} can spell, found {written:.0%} of those of "
                f"{self.name}; take one of its language and case, or none"
            )

    def _score(self, state: Any, word: str) -> Scored:  # noqa: ANN401 -- KenLM's
        following = self._kenlm.State()
        log_prob = float(self._model.BaseScore(state, word, following)) * LN_10
        return Scored(log_prob, word in self._model, following)

    def _is_start(self, text: str) -> bool:
        """Whether a word of the list begins with `text`."""
        place = bisect_left(self._words, text)
        return place < len(self._words) and self._words[place].startswith(text)


def language_model_file(choice: LmChoice) -> Path | None:
    """The file that was chosen; None for the bundle's own, and for none."""
    return None if choice is None or choice in ("default", "none") else Path(choice)


def open_language_model(choice: LmChoice, folder: Path, bundle: Bundle) -> NGram | None:
    """The language model of that choice for the bundle in `folder`; None where there is none.

    Raises InputError as NGram does, and for a bundle whose pieces do not spell its words.
    """
    if file := language_model_file(choice):
        ngram = NGram(language_model_name(file, bundle.checkpoint.name), file, word_list(file))
    elif choice == "default" and (own := bundle.language_model):
        ngram = NGram(own.name, checked_file(folder, own.model), checked_file(folder, own.words))
    else:
        return None
    ngram.check_spelling(bundle)
    return ngram


def language_model_name(path: Path, checkpoint: str) -> str:
    """NAME of NAME.kenlm, or of CHECKPOINT.NAME.kenlm."""
    return path.stem.removeprefix(f"{checkpoint}.")


def _open_kenlm(path: Path) -> tuple[Any, Any]:
    check_spelling(path)
    try:
        import kenlm

        config = kenlm.Config()
        config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE  # of ARPA, on standard error
        return kenlm, kenlm.Model(str(path), config)
    except ImportError as error:
        raise InputError(
            f"expected KenLM (kenlm-ex) for {path}, found none installed; {install()}, or go without a language model"
        ) from error
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"expected a KenLM file, binary or ARPA, found {path} that KenLM cannot read; make one with lmplz and build_binary"
        ) from error


def word_list(path: Path) -> Path:
    """The word list beside a KenLM file: NAME_words.txt, where NAME is the file's name up to its end or to one of its underscores.

    So it is lm_en_words.txt for lm_en_4gram.kenlm. Raises InputError where one of them is missing.
    """
    if not path.is_file():
        raise InputError(
            f"expected a KenLM file, found no file {path}; name one, or none to go without a language model"
        )
    parts = path.stem.split("_")
    names = ["_".join([*parts[:length], "words.txt"]) for length in range(len(parts), 0, -1)]
    found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    if not found:
        raise InputError(
            f"expected the word list of {path} beside it ({' or '.join(names)}), found none; write its words, one a line"
        )
    return found[0]


def read_words(words: Path) -> Sequence[str]:
    """The words of a list, sorted. Raises InputError for a file that is no list of words."""
    found = f"expected a word list in UTF-8, one word a line, found {words}"
    try:
        # Of a sorted list this keeps the order, which a set would not: sorting it again costs nothing.
        listed = sorted(dict.fromkeys(words.read_text(encoding="utf-8").split()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{found} unreadable; write it anew") from error
    if not listed:
        raise InputError(f"{found} empty; write it anew")
    return listed
