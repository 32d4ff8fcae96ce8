"""Where a recogniser's decoders come from: this process, or others that search."""

import threading
from pathlib import Path

from ..bundle import Bundle, Decoding
from .decoder import Decoder
from .hotwords import Hotwords
from .maker import DecoderMaker
from .ngram import LmChoice
from .remote import SearchProcesses


class Decoders:
    """Makes a decoder for each utterance, with the language model or without."""

    def __init__(
        self, folder: Path, bundle: Bundle, decoder: Decoding, lm: LmChoice, *, processes: int | None = None
    ) -> None:
        """`processes`: how many search, None: this one. Raises InputError as DecoderMaker does."""
        self.maker = DecoderMaker(folder, bundle, decoder, lm)
        self._opened_from = folder.absolute(), bundle, decoder
        self._count = processes
        self._processes = SearchProcesses(self.maker, len(bundle.vocabulary) + 1, processes) if processes else None
        self._at_once = self._processes if self.maker.searches(None) else None
        self._opening = threading.Lock()
        self._without: Decoders | None = None

    def without_language_model(self) -> "Decoders":
        """Those that have none, opened when they are first asked for. Raises InputError as DecoderMaker does."""
        if self.maker.ngram is None:
            return self
        with self._opening:
            self._without = self._without or Decoders(*self._opened_from, None, processes=self._count)
            return self._without

    def new_decoder(self, start_s: float, hotwords: Hotwords | None) -> Decoder:
        """A decoder at the start of an utterance, which is at `start_s` of its stream."""
        if self._processes and self.maker.searches(hotwords):
            return self._processes.new_decoder(start_s, hotwords)
        return self.maker.new_decoder(start_s, hotwords)

    def start(self) -> None:
        """Start the processes, where every utterance is searched for; others are started with the first that is. Does not wait."""
        if self._at_once:
            self._at_once.start()

    def wait(self) -> None:
        """Wait until the processes that `start` starts can search. Raises LostError where one cannot, InputError where it has no files."""
        if self._at_once:
            self._at_once.wait()

    def close(self) -> None:
        """End the processes, also while they search. Safe to call twice."""
        if self._processes:
            self._processes.close()
        if self._without:
            self._without.close()
