"""Decoders of a bundle: what they share is opened once, and made the same again in another process."""

from collections.abc import Callable
from pathlib import Path

from ..bundle import Bundle, Decoding
from ..errors import InputError
from ..word_models import Search, known_words, word_model
from ..words import Either, WordMaker
from .beam import BeamCtc
from .decoder import Decoder
from .greedy import GreedyCtc, GreedyRnnt
from .hotwords import HotwordChoice, Hotwords
from .ngram import LmChoice, language_model_file, open_language_model


class DecoderMaker:
    """Makes a decoder for each utterance. Pickled, it is opened again from the same files where it is unpickled."""

    def __init__(self, folder: Path, bundle: Bundle, decoder: Decoding, lm: LmChoice) -> None:
        """`folder`: where the bundle is; `lm`: see Recognizer.

        Raises InputError for a language model or a words.json that is missing, broken or of another bundle.
        """
        self._bundle, self._decoder = bundle, decoder
        file = language_model_file(lm)
        self._opened_from = folder.absolute(), bundle, decoder, file.absolute() if file else lm
        self.ngram = None if decoder == "rnnt" else open_language_model(lm, folder, bundle)
        search: Search = "ctc with language model" if self.ngram else decoder
        self.word_model = word_model(folder, bundle, search)
        self._known = known_words(folder, bundle)

    def __reduce__(self) -> tuple[Callable[..., "DecoderMaker"], tuple[object, ...]]:
        """Name the files that it was opened from; unpickling raises InputError where they are not there any more."""
        return DecoderMaker, self._opened_from

    def hotwords(self, choice: HotwordChoice) -> Hotwords:
        """Return the hotwords of a choice. Raises InputError as Recognizer.stream does."""
        found = Hotwords(choice, self._bundle.vocabulary)
        if found and self._decoder != "ctc":
            raise InputError(
                f"expected the decoder ctc with hotwords, which its beam search favours, found {self._decoder}; leave one of them out"
            )
        return found

    def searches(self, hotwords: Hotwords | None) -> bool:
        """Whether an utterance with these hotwords is decoded by beam search."""
        return self._decoder == "ctc" and bool(self.ngram or hotwords)

    def new_decoder(self, start_s: float, hotwords: Hotwords | None) -> Decoder:
        """Return a decoder at the start of an utterance, which is at `start_s` of its stream."""
        if self.searches(hotwords):
            return self.new_beam(start_s, hotwords)
        kind = GreedyRnnt if self._decoder == "rnnt" else GreedyCtc
        return kind(self._bundle.vocabulary, self._bundle.blank, self._words(start_s, None))

    def new_beam(self, start_s: float, hotwords: Hotwords | None) -> BeamCtc:
        """Return a beam search at the start of an utterance, which is at `start_s` of its stream."""
        make = self._words(start_s, hotwords)
        return BeamCtc(self._bundle.vocabulary, self._bundle.blank, make, ngram=self.ngram, hotwords=hotwords)

    def _words(self, start_s: float, hotwords: Hotwords | None) -> WordMaker:
        known = Either(self._known, hotwords.words) if hotwords else self._known
        return WordMaker(self.word_model, self._bundle.encoder_frame_ms / 1e3, start_s, known)
