"""CTC prefix beam search with a word n-gram, its state carried across chunks.

Prefixes as Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs"; the pruning
and the score of a word in progress as pyctcdecode, for which the language model's weights were chosen.
"""

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from operator import itemgetter
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from ..backends.base import StepResult
from ..words import Piece, Word, WordMaker
from .greedy import first
from .hotwords import Hotwords
from .hypotheses import Tokens, Words, chain_of, note_rival, shared_words
from .ngram import AnyWord, NGram
from .transcript import Transcript, text_of

LONG = 8  # pieces from which on those that are certain are looked for
WORDS = 256  # that are remembered: from chunk to chunk hypotheses have most of them in common


@dataclass(frozen=True)
class BeamOptions:
    """How wide to search and what words weigh. Log-probabilities are natural logarithms.

    Defaults: alpha and beta made the fewest errors on calibration speech, clean and with noise, with the embedded checkpoint at 80 ms;
    pyctcdecode's own for the rest.
    """

    width: int = 64
    """Alignments kept after a frame."""
    token_log_prob: float = -5.0
    """Tokens of a frame less likely than this are not followed, but for its best one."""
    prune_log_prob: float = -10.0
    """Alignments that score this much below the best are dropped."""
    alpha: float = 0.5
    """Weight of the language model's log-probability beside the acoustic one."""
    beta: float = 1.2
    """Added for each word, in log-probability."""
    unknown_word: float = -10.0 * math.log(10)
    """Added to the language model's log-probability of a word that it has not."""
    unknown_start: float = -10.0
    """Added to the log-probability of a word in progress that begins no known word, in proportion beyond `long_word`."""
    long_word: int = 6
    """Letters."""
    steady: float = 2.0
    """What is shown is not taken back while the best that goes on from it scores less than this below the best; the final is the best."""


_Alignment = tuple[Words, str, int]
"""Completed words, the word in progress, the last frame's token: alignments that agree in these are one, whatever their pieces."""
_Found = tuple[float, Tokens]
"""Acoustic log-probability, summed over the alignments that are one, and the likeliest one's pieces."""
_Reached = tuple[Tokens, Piece | None]
"""Pieces, and the one after them: put together once it is known that the alignment stays."""

K = TypeVar("K")
V = TypeVar("V")


class BeamCtc:
    """Searches for the likeliest text under the acoustic model and a language model. A Decoder."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        blank: int,
        make: WordMaker,
        *,
        ngram: NGram | None = None,
        hotwords: Hotwords | None = None,
        options: BeamOptions | None = None,
    ) -> None:
        self._blank, self._ngram, self._hotwords = blank, ngram or AnyWord(), hotwords or None
        self._options = options or (BeamOptions() if ngram else BeamOptions(beta=0.0))
        self._text_of = text_of(vocabulary)
        # What all hypotheses begin with, as far as it was looked for.
        self._settled = Transcript(self._text_of, lru_cache(WORDS)(make.word))
        self._shown = self._settled
        self._frames = 0
        self._is_copy = False
        self._known: WeakValueDictionary[tuple[Words, str], Words] = WeakValueDictionary()
        start = Words(self._ngram.sentence_start(), 0.0)
        # By falling score.
        self._beam: dict[_Alignment, _Found] = {(start, "", blank): (0.0, Tokens(None, Piece(blank, 0, 0.0), start))}
        self.blank_frames = 0
        self.stable = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the hypothesis that is shown."""
        return self._shown.tokens

    @property
    def text(self) -> str:
        """Its text."""
        return self._shown.text

    @property
    def words(self) -> tuple[Word, ...]:
        """Its words."""
        return self._shown.words

    def push(self, result: StepResult, frames: int) -> bool:
        """Take the log-probabilities of new frames; return whether the text changed."""
        return self.push_log_probs(first(result.log_probs, frames))

    def push_log_probs(self, frames: npt.NDArray[np.float32]) -> bool:
        """Take log-probabilities [n, V+1] of new frames; return whether the text changed."""
        before = self.text
        searched = [self._advance(frame) for frame in frames]
        if any(searched):
            self._show()
        return self.text != before

    def copy(self) -> "BeamCtc":
        """See Decoder. What has been found is shared, so it alone is cut where it is settled."""
        other = copy(self)
        other._is_copy = True  # noqa: SLF001 -- its own class
        return other

    def finish(self) -> None:
        """The utterance is over: score the last word and the sentence's end."""
        ngram, options = self._ngram, self._options
        ended: dict[Words, _Found] = {}
        for (words, word, _), (log_prob, tokens) in self._beam.items():
            _add(ended, self._end(words, word) if word else words, log_prob, tokens)
        scores = {
            words: log_prob + words.score + options.alpha * ngram.end_log_prob(words.state)
            for words, (log_prob, _) in ended.items()
        }
        best = max(scores, key=scores.__getitem__)
        for words, score in scores.items():
            note_rival(best, words, score - scores[best])
        self._shown = self._transcript(ended[best][1])
        self._shown.found = best.found
        self.stable = len(self._shown.words)

    def _advance(self, frame: npt.NDArray[np.float32]) -> bool:
        """Search one frame on; return whether the hypotheses may differ from before."""
        number, self._frames = self._frames, self._frames + 1
        best = int(frame.argmax())
        self.blank_frames = self.blank_frames + 1 if best == self._blank else 0
        followed = np.flatnonzero(frame >= self._options.token_log_prob).tolist() or [best]
        if followed == [self._blank] and all(last == self._blank for _, _, last in self._beam):
            return False  # every score would fall by the same
        log_probs = sorted(zip(frame[followed].tolist(), followed, strict=True), reverse=True)
        # The best one with a blank or a repeat will be there; what others may gain is a word's beta and hotwords.
        (top, (log_prob, _)), *_ = self._beam.items()
        stays = next((each for each, token in log_probs if token in (self._blank, top[2])), -math.inf)
        gain = max(0.0, self._options.beta) + (self._hotwords.most if self._hotwords is not None else 0.0)
        lowest = self._score(top, log_prob) + stays + self._options.prune_log_prob - gain
        pieces = [Piece(token, number, of_token) for of_token, token in log_probs]
        following: dict[_Alignment, tuple[float, _Reached]] = {}
        blank = self._blank
        for (words, word, last), (log_prob, tokens) in self._beam.items():
            least = lowest - log_prob - words.score
            for piece in pieces:
                token, _, of_token = piece
                if of_token < least:
                    break
                if token in (blank, last):
                    _add(following, (words, word, token), log_prob + of_token, (tokens, None))
                else:
                    _add(following, (*self._grow(words, word, token), token), log_prob + of_token, (tokens, piece))
        self._beam = {}
        for alignment in self._kept(following):
            log_prob, (tokens, last_piece) = following[alignment]
            self._beam[alignment] = log_prob, Tokens(tokens, last_piece, alignment[0]) if last_piece else tokens
        return True

    def _grow(self, words: Words, word: str, token: int) -> tuple[Words, str]:
        text = self._text_of[token]
        if " " not in text:
            return words, word + text
        *ended, word = (word + text).split(" ")
        for each in ended:
            words = self._end(words, each) if each else words
        return words, word

    def _end(self, words: Words, word: str) -> Words:
        known = self._known.get((words, word))
        if known is None:
            options, scored = self._options, self._ngram.score(words.state, word)
            gained, hot = self._hotwords.ended(words.hot, word) if self._hotwords is not None else (0.0, ())
            log_prob = scored.log_prob + (0.0 if scored.known or gained or hot else options.unknown_word)
            score = words.score + options.alpha * log_prob + options.beta + gained
            known = Words(scored.state, score, word, scored.log_prob, hot, words, words.count + 1)
            self._known[words, word] = known
        return known

    def _score(self, alignment: _Alignment, log_prob: float) -> float:
        """Acoustic log-probability, completed words, and the word in progress where it begins no known one."""
        words, word, _ = alignment
        score = log_prob + words.score
        if self._hotwords is not None and (share := self._hotwords.begun(words.hot, word)):
            return score + share
        if not word or self._ngram.is_start(word):
            return score
        return score + self._options.unknown_start * max(1.0, len(word) / self._options.long_word)

    def _kept(self, following: dict[_Alignment, tuple[float, _Reached]]) -> Iterator[_Alignment]:
        """The best of each future, by falling score, within the width."""
        scored = [(self._score(alignment, log_prob), alignment) for alignment, (log_prob, _) in following.items()]
        scored.sort(key=itemgetter(0), reverse=True)
        lowest = scored[0][0] + self._options.prune_log_prob
        kept: dict[tuple[Any, tuple[str, ...], str, int], tuple[float, _Alignment]] = {}  # by future
        for score, alignment in scored[: self._options.width]:
            if score < lowest:
                break
            words, word, last = alignment
            most, (better, _, _) = kept.setdefault((words.state, words.hot, word, last), (score, alignment))
            if better is not words and not self._is_copy:
                note_rival(better, words, score - most)
        return (alignment for _, alignment in kept.values())

    def _show(self) -> None:
        """Show the best hypothesis; or, while it is hardly better, the best that goes on from what is shown."""
        (best, (log_prob, tokens)), *_ = self._beam.items()
        if not self._is_copy:
            self.stable = shared_words(words for words, _, _ in self._beam)
            if len(chain_of(tokens)) > LONG:
                self._settle()
        lowest = self._score(best, log_prob) - self._options.steady
        near = (found[1] for alignment, found in self._beam.items() if self._score(alignment, found[0]) >= lowest)
        transcripts = map(self._transcript, near)
        going_on = (transcript for transcript in transcripts if transcript.text.startswith(self.text))
        self._shown = next(going_on, None) or self._transcript(tokens)

    def _transcript(self, tokens: Tokens) -> Transcript:
        transcript = self._settled.copy()
        for piece in chain_of(tokens)[1:]:
            transcript.add(piece.piece, piece.words.found)
        return transcript

    def _settle(self) -> None:
        """Show for good what all hypotheses begin with, so that a long utterance costs no more."""
        chains = [chain_of(tokens) for _, tokens in self._beam.values()]
        at_each_place = zip(*chains, strict=False)
        shared = [pieces[0] for pieces in takewhile(lambda pieces: len(set(pieces)) == 1, at_each_place)]
        for piece in shared[1:]:
            self._settled.add(piece.piece, piece.words.found)
        shared[-1].before = None


def _add(found: dict[K, tuple[float, V]], key: K, log_prob: float, value: V) -> None:
    """Sum probabilities of what is one; keep the likelier's value."""
    if other := found.get(key):
        (most, value), less = (other, log_prob) if other[0] >= log_prob else ((log_prob, value), other[0])
        log_prob = most + math.log1p(math.exp(less - most))
    found[key] = log_prob, value
