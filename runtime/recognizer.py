"""Recognizer: a bundle opened on a backend, from which streams are made."""

import os
import threading
import weakref
from pathlib import Path
from weakref import WeakSet

from typing_extensions import Self

from .backends import Backend, open_backend
from .bundle import Bundle, Decoding, checked_file, read_bundle
from .decoders.beam import BeamCtc
from .decoders.decoder import Decoder
from .decoders.greedy import GreedyCtc, GreedyRnnt
from .decoders.hotwords import HotwordChoice, Hotwords
from .decoders.ngram import LmChoice, language_model_file, open_language_model
from .early import Early
from .endpoint import EndpointRules
from .errors import ClosedError, InputError
from .files import check_spelling
from .hearing import StreamOptions
from .processes import OfOneProcess
from .scheduler import Scheduler
from .stream import Stream
from .vad import SAMPLE_RATE, Vad
from .word_models import Search, known_words, word_model
from .words import Either, WordMaker


class Recognizer(OfOneProcess):
    """A bundle opened on a backend; makes any number of streams. A context manager: leaving it frees the backend.

    It belongs to the process that opened it, and so do its streams: a process forked from that one opens a recogniser of its own.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        precision: str | None = None,
        backend: str | Backend | None = None,
        lm: LmChoice = "default",
        decoder: str | None = None,
        max_streams: int | None = None,
    ) -> None:
        """Open the bundle in the folder `bundle`.

        `backend` is a name, an open backend, or None for this machine's best; `precision` None is the named backend's usual one, and
        an open backend has its own. `lm` is a KenLM file with its word list beside it, "default" for the one that the bundle carries,
        if any, or None or "none" for none; it goes with CTC. `decoder` is ctc, rnnt or None for the bundle's best (CTC where `lm` is a
        file); an open backend's is ctc unless named, or where there is no CTC head.

        With `max_streams` the steps of all streams that are due run together, by the bundle's step over many streams, and there may be
        that many streams at once; without it each stream runs apart, for the shortest delay of a few.

        Raises InputError for a bundle that is missing, broken or not for this backend, and for a language model that is so.
        """
        super().__init__()
        folder = Path(bundle)
        check_spelling(folder)
        self.bundle = read_bundle(folder)
        self._folder = folder.absolute()  # the working folder may change
        self._detector: Path | None = None
        name, opened = (backend, None) if isinstance(backend, str) else (None, backend)
        self.decoder = choose_decoder(self.bundle, decoder, lm, best=opened is None)
        self.ngram = None if self.decoder == "rnnt" else open_language_model(lm, folder, self.bundle)
        self.backend = opened or open_backend(folder, self.bundle, name, precision, self.decoder, max_streams)
        search: Search = "ctc with language model" if self.ngram else self.decoder
        self._word_model = word_model(folder, self.bundle, search)
        self._known = known_words(folder, self.bundle)
        self._opening = threading.Lock()  # no stream is made while the streams are closed
        self._closed = False
        self._streams: WeakSet[Stream] = WeakSet()
        self._scheduling = threading.Lock()
        self._scheduler: Scheduler | None = None

    def stream(
        self, endpoints: EndpointRules | None = None, *, hotwords: HotwordChoice = (), early: Early | None = None
    ) -> Stream:
        """A new stream at an utterance's start.

        With `endpoints` it ends utterances itself, without only `end_utterance` does. `hotwords` are phrases to favour, each of the
        same weight, or a dict of their weights; with them CTC is decoded by beam search, with the language model or without.
        `early`: which tokens are shown before their look-ahead has arrived: off (none), steady (those of an utterance's first text that
        are likely to stay) or eager (all); None is steady where the backend can. They take a step each, only while the caller
        waits for audio, and change no final.

        Raises InputError where rules are given for a bundle without a voice activity detector, and for hotwords that the bundle's
        pieces cannot spell, or that are given for RNN-T; FullError where `max_streams` are open; ClosedError after `close`.
        """
        self._check_process()
        with self._opening:
            if self._closed:
                raise ClosedError("expected an open recogniser, found a closed one; open it again")
            stream = self._new_stream(StreamOptions(endpoints, hotwords, early))
            self._streams.add(stream)
        return stream

    def _new_stream(self, options: StreamOptions) -> Stream:
        return Stream(self, options)

    @property
    def scheduler(self) -> Scheduler:
        """What does the work of streams whose callers do not."""
        with self._scheduling:
            if self._scheduler is None:
                self._scheduler = Scheduler(self.backend)
                # Also when the recogniser is dropped without close(), or the process ends.
                weakref.finalize(self, _end, self._scheduler, os.getpid())
            return self._scheduler

    def hotwords(self, choice: HotwordChoice) -> Hotwords:
        """Return the hotwords of a choice. Raises InputError as `stream` does."""
        found = Hotwords(choice, self.bundle.vocabulary)
        if found and self.decoder != "ctc":
            raise InputError(
                f"expected the decoder ctc with hotwords, which its beam search favours, found {self.decoder}; leave one of them out"
            )
        return found

    def new_decoder(self, start_s: float = 0.0, hotwords: Hotwords | None = None) -> Decoder:
        """A decoder at the start of an utterance, which is at `start_s` of its stream."""
        bundle = self.bundle
        known = Either(self._known, hotwords.words) if hotwords else self._known
        make = WordMaker(self._word_model, bundle.encoder_frame_ms / 1e3, start_s, known)
        if self.decoder == "rnnt":
            return GreedyRnnt(bundle.vocabulary, bundle.blank, make)
        if self.ngram or hotwords:
            return BeamCtc(bundle.vocabulary, bundle.blank, make, ngram=self.ngram, hotwords=hotwords)
        return GreedyCtc(bundle.vocabulary, bundle.blank, make)

    def new_detector(self) -> Vad:
        """A voice activity detector at a stream's start. Raises InputError for a bundle that has none, or is at another rate."""
        if self.bundle.voice_activity is None:
            raise InputError(
                f"expected voice activity in the bundle {self._folder} for endpoints and barge-in, found none; install silero-vad and make "
                f"the bundle again with `make export`"
            )
        if self.bundle.sample_rate != SAMPLE_RATE:
            raise InputError(
                f"expected a bundle at {SAMPLE_RATE} Hz for endpoints and barge-in, found one at {self.bundle.sample_rate} Hz; end its "
                f"utterances yourself"
            )
        self._detector = self._detector or checked_file(self._folder, self.bundle.voice_activity)
        return Vad(self._detector)

    def close(self) -> None:
        """Close the streams, each after the step that it is in, and free the backend; safe to call twice. In a fork nothing happens."""
        if self._forked:
            return
        with self._opening:
            self._closed = True
            for stream in list(self._streams):
                stream.close()
            if self._scheduler:
                self._scheduler.close()
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(scheduler: Scheduler, process: int) -> None:
    """End it in that process; a fork has none of its threads."""
    if os.getpid() == process:
        scheduler.close()


def choose_decoder(bundle: Bundle, asked: str | None, lm: LmChoice, *, best: bool) -> Decoding:
    """The decoder that is asked for; else, without a language model of the caller's, the bundle's `best`, or what needs least.

    Raises InputError for a decoder that the bundle has not, or that a language model does not go with.
    """
    file = language_model_file(lm)
    if file:
        bundle.check_ctc(f"the language model {file}")
    decoder = bundle.decoder(asked or (None if best and not file else bundle.step_decoder))
    if decoder == "rnnt" and file:
        raise InputError(
            f"expected the decoder ctc with a language model, found rnnt and {file}; leave one of them out"
        )
    return decoder
