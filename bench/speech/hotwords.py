"""`python -m bench hotwords`: rare words as hotwords, alone and among distractors: how many more are found, and what it costs.

Each chunk is decoded by the decoder of every row in turn: all rows have the same log-probabilities, and the same noise in their times.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import jiwer
from rich.console import Console

from bench.progress import Bar
from bench.rows import HotwordsRow
from bench.score.normalise import normalise
from bench.session import SpeechOptions, Written, write_rows
from bench.speech.clips import Clip, DataSet, seeded
from bench.speech.speech_session import SpeechSession, opened
from bench.stopwatch import TimedRecognizer
from bench.summary import spread
from runtime.backends import StepResult
from runtime.bundle import checked_file
from runtime.decoders.decoder import Decoder
from runtime.decoders.hotwords import LONG, WEIGHT, Hotwords
from runtime.decoders.ngram import read_words
from runtime.errors import InputError

RARE = -5.0
"""Logarithm to base 10 of a word's probability without context, below which it is rare."""
DISTRACTORS = (0, 100, 1000)
DEFINITIONS = {
    "hotwords": "the rare words of the references, those that the bundle's language model has not, or with a probability without context "
    f"below 10^{RARE:g}; and distractors: such words of its list that no reference has, drawn at random (seed); each of the usual "
    f"weight, {WEIGHT:g} from {LONG} letters on and in proportion below. The first row is without hotwords",
    "decode_ms": "ms of the thread's CPU time; each chunk is decoded by the decoder of every row in turn, in another order each time",
}


@dataclass(frozen=True, kw_only=True)
class Options(SpeechOptions):
    """What to measure and how."""

    seed: int = 0
    """Of the distractors."""

    @property
    def kind(self) -> type[TimedRecognizer]:
        """See SpeechOptions."""
        return SideBySide


@dataclass
class Choice:
    """A row's hotwords, and what comes of them."""

    distractors: int | None
    """None: no hotwords."""
    words: frozenset[str]
    hotwords: Hotwords | None
    push_s: list[float] = field(default_factory=list)
    """CPU seconds of each chunk."""
    texts: list[str] = field(default_factory=list)


class SideBySide(TimedRecognizer):
    """A recogniser whose streams decode for every choice of hotwords, and show the text of the first."""

    choices: Sequence[Choice] = ()

    def new_decoder(
        self, start_s: float = 0.0, hotwords: Hotwords | None = None, *, language_model: bool = True
    ) -> Decoder:
        """See Recognizer.new_decoder."""
        if not self.choices:
            return super().new_decoder(start_s, hotwords, language_model=language_model)
        decoders = [super(TimedRecognizer, self).new_decoder(start_s, choice.hotwords) for choice in self.choices]
        return cast("Decoder", _SideBySide(decoders, self.choices))


class _SideBySide:
    """Decoders that decode the same; all that is not here is the first one's."""

    def __init__(self, decoders: Sequence[Decoder], choices: Sequence[Choice]) -> None:
        self._turns = list(zip(decoders, choices, strict=True))
        self._first = decoders[0]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the decoder's
        return getattr(self._first, name)

    def push(self, result: StepResult, frames: int) -> bool:
        """See Decoder.push."""
        for decoder, choice in self._turns:
            begin = time.thread_time()
            decoder.push(result, frames)
            choice.push_s.append(time.thread_time() - begin)
        self._turns.append(self._turns.pop(0))
        return True

    def finish(self) -> None:
        """See Decoder.finish."""
        for decoder, choice in self._turns:
            decoder.finish()
            choice.texts.append(decoder.text)


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file.

    Raises:
        InputError: bad options, data or bundle, among them a bundle without a language model; nothing is written then.
    """
    with opened(options, argv, console) as session:
        path = session.path("hotwords")
        sets = session.data.sets
        texts = [normalise(utterance.text, options.lang) for each in sets for utterance in each.utterances]
        choices = list(hotword_choices(session, texts, options.seed))
        spoken = list(session.clips())
        rows = measure(session, choices, spoken, options.seed)
        return write_rows(path, argv, rows, session.data.described, DEFINITIONS)


def hotword_choices(session: SpeechSession, texts: Sequence[str], seed: int) -> Iterator[Choice]:
    """Yield the choices of the rows: no hotwords, then the rare words of normalised references with each number of distractors."""
    said = Counter(word for text in texts for word in text.split())
    probabilities = unigram(session, said)
    lang = session.options.lang
    pool = sorted(
        word
        for word, log_prob in probabilities.items()
        if word not in said and RARE > log_prob > -float("inf") and normalise(word, lang) == word
    )
    if len(pool) < max(DISTRACTORS):
        raise InputError(
            f"expected a word list with {max(DISTRACTORS)} rare words that are not said, found {len(pool)}; take a larger language model"
        )
    rare = frozenset(word for word in said if probabilities[word] < RARE)
    drawn = seeded(seed).permutation(pool).tolist()
    yield Choice(None, rare, None)
    for distractors in DISTRACTORS:
        words = rare | frozenset(drawn[:distractors])
        yield Choice(distractors, words, session.recognizer.hotwords(sorted(words)))


def unigram(session: SpeechSession, words: Sequence[str] | Mapping[str, int]) -> dict[str, float]:
    """Return the words and those of the bundle's list -> their log10 probability without context; minus infinity where it has not the word.

    Raises InputError for a bundle without a language model.
    """
    own, folder = session.recognizer.bundle.language_model, session.options.bundle
    if own is None:
        raise InputError(
            f"expected a bundle with a language model, which tells rare words, found none in {folder}; "
            f"make it again with `make export LM=FILE`"
        )
    import kenlm  # only where there is one

    model = kenlm.Model(str(checked_file(folder, own.model)))
    listed = read_words(checked_file(folder, own.words))
    return {
        word: model.score(word, bos=False, eos=False) if word in model else -float("inf") for word in (*listed, *words)
    }


def measure(
    session: SpeechSession, choices: Sequence[Choice], spoken: Sequence[tuple[DataSet, Sequence[Clip]]], seed: int
) -> list[HotwordsRow]:
    """Recognise the clips of all data sets; return a row for each choice, of all of them together."""
    recognizer, lang = session.recognizer, session.options.lang
    clips = [clip for _, of_set in spoken for clip in of_set]
    audio_s = sum(clip.audio_s for clip in clips)
    recognizer.forget_times()
    cast("SideBySide", recognizer).choices = choices
    done_s = 0.0
    with Bar(session.console, "hotwords", len(clips), audio_s) as bar:
        for number, clip in enumerate(clips, 1):
            stream = recognizer.stream(early="off")
            stream.push(clip.samples)
            stream.end_utterance()
            done_s += clip.audio_s
            bar.done(number, done_s, None)
    references = [normalise(clip.reference, lang) for clip in clips]
    rare = choices[0].words
    shared = session.row_keys(*(data_set for data_set, _ in spoken))
    rows = []
    for choice in choices:
        hypotheses = [normalise(text, lang) for text in choice.texts]
        found = counted(references, hypotheses, rare, choice.words) if session.trained else None
        decoding: dict[str, Any] = {
            **spread("decode_ms", (1e3 * seconds for seconds in choice.push_s)),
            "decode_times": sum(choice.push_s) / sum(choices[0].push_s),
        }
        row = HotwordsRow(
            **shared | decoding | (found.keys() if found else {}),
            mode="hotwords",
            pace="fast",
            clips=len(clips),
            audio_minutes=audio_s / 60,
            hotwords=0 if choice.hotwords is None else len(choice.words),
            distractors=choice.distractors,
            seed=seed,
        )
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Counted:
    """Words of references and hypotheses, aligned (jiwer)."""

    words: int
    """Of the references."""
    errors: int
    rare: int
    """Rare words of the references."""
    found: int
    """Of them, those that are right."""
    other_errors: int
    """Other words of the references that are replaced or deleted, and all words that are inserted."""
    false: int
    """Words of the hypotheses that are hotwords, and not the reference's word in their place."""

    def keys(self) -> dict[str, float | None]:
        """Return a row's keys; None of words that there are none of."""
        return {
            "wer": 100 * self.errors / self.words,
            "rare_words": self.rare,
            "rare_recall": 100 * self.found / self.rare if self.rare else None,
            "other_wer": 100 * self.other_errors / (self.words - self.rare) if self.words > self.rare else None,
            "false_hotwords": 1000 * self.false / self.words,
        }


def counted(
    references: Sequence[str], hypotheses: Sequence[str], rare: frozenset[str], hotwords: frozenset[str]
) -> Counted:
    """Count what became of the rare words, and of the others. Texts are normalised and in pairs, no reference is empty."""
    aligned = jiwer.process_words(list(references), list(hypotheses))
    found = other_errors = false = 0
    for expected, heard, chunks in zip(aligned.references, aligned.hypotheses, aligned.alignments, strict=True):
        for chunk in chunks:
            spoken = expected[chunk.ref_start_idx : chunk.ref_end_idx]
            said = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "equal":
                found += sum(word in rare for word in spoken)
                continue
            false += sum(word in hotwords for word in said)
            other_errors += len(said) if chunk.type == "insert" else sum(word not in rare for word in spoken)
    words = [word for text in references for word in text.split()]
    errors = aligned.substitutions + aligned.deletions + aligned.insertions
    return Counted(len(words), errors, sum(word in rare for word in words), found, other_errors, false)
