"""Recognizer: a bundle opened on a backend, from which streams are made."""

import os
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path
from weakref import WeakSet

from typing_extensions import Self

from .backends import Backend, check_number, open_backend
from .bundle import Bundle, Decoding, checked_file, read_bundle
from .decoders.decoder import Decoder
from .decoders.decoders import Decoders
from .decoders.hotwords import HotwordChoice, Hotwords
from .decoders.ngram import LmChoice, NGram, language_model_file
from .decoders.remote import usual_processes
from .early import Early
from .endpoint import EndpointRules
from .errors import ClosedError, FullError, InputError, LostError
from .files import check_spelling
from .hearing import StreamOptions
from .processes import OfOneProcess
from .scheduler import Scheduler
from .stream import Stream
from .vad import SAMPLE_RATE, Vad


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
        search_processes: int | None = None,
        language: str | None = None,
    ) -> None:
        """Open the bundle in the folder `bundle`.

        `backend` is a name, an open backend, or None for this machine's best; `precision` None is the named backend's usual one, and
        an open backend has its own. `lm` is a KenLM file with its word list beside it, "default" for the one that the bundle carries,
        if any, or None or "none" for none; it goes with CTC. `decoder` is ctc, rnnt or None for the bundle's best (CTC where `lm` is a
        file); an open backend's is ctc unless named, or where there is no CTC head.

        With `max_streams` the steps of all streams that are due run together, by the bundle's step over many streams, and there may be
        that many streams at once; without it each stream runs apart, for the shortest delay of a few. Beam search is then done by
        `search_processes` other processes, None: one for each 48 streams, and fewer than the machine has cores; by as many again where
        streams without the language model have hotwords. Those of the language model are there once this returns, others with the first
        utterance that needs them.

        `language` is a code such as de or de-DE, or auto where the checkpoint has it: what streams hear unless they ask for another; None
        is the bundle's own.

        Raises InputError for a bundle that is missing, broken or not for this backend, for a language model that is so, for a language
        that the checkpoint does not have, and for what an open backend has of its own; LostError where a process of the language model
        cannot be had.
        """
        super().__init__()
        folder = Path(bundle)
        check_spelling(folder)
        self.bundle = read_bundle(folder)
        self.language = self.bundle.language_of(language)
        """What streams hear unless they ask for another."""
        self._folder = folder.absolute()  # the working folder may change
        self._detector: Path | None = None
        if not (backend is None or isinstance(backend, str) or hasattr(backend, "new_state")):
            raise InputError(
                f"expected a backend's name or an open one, found {backend!r}; leave it out for the best here"
            )
        name, opened = (backend, None) if isinstance(backend, str) else (None, backend)
        for option, value in (("precision", precision), ("max_streams", max_streams)):
            if opened and value is not None:
                raise InputError(
                    f"expected no {option} beside an open backend, found {value!r}; it has its own: leave it out"
                )
        self.decoder = choose_decoder(self.bundle, decoder, lm, best=opened is None)
        processes = _checked_processes(search_processes, opened.most_streams if opened else max_streams)
        self._decoders = Decoders(folder, self.bundle, self.decoder, lm, processes=processes)
        with ExitStack() as unopened:  # whoever keeps the error would keep processes and memory
            unopened.callback(self._decoders.close)
            self._decoders.start()
            self.backend = opened or open_backend(folder, self.bundle, name, precision, self.decoder, max_streams)
            if opened is None:
                unopened.callback(self.backend.close)
            self._decoders.wait()
            unopened.pop_all()
        self._opening = threading.Lock()  # no stream is made while the streams are closed
        self._closed = False
        self._streams: WeakSet[Stream] = WeakSet()
        self._scheduling = threading.Lock()
        self._scheduler: Scheduler | None = None

    def __repr__(self) -> str:
        """What was opened, and on what."""
        bundle, model = self.bundle, "none" if self.ngram is None else self.ngram.name
        said = f"{bundle.checkpoint.name}, look-ahead {bundle.lookahead_ms} ms, {self.decoder}, language model {model}"
        return f"<Recognizer: {said}, on {self.backend.name}>"

    def stream(
        self,
        endpoints: EndpointRules | None = None,
        *,
        hotwords: HotwordChoice = (),
        early: Early | None = None,
        language: str | None = None,
        language_model: bool = True,
    ) -> Stream:
        """A new stream at an utterance's start.

        With `endpoints` it ends utterances itself, without only `end_utterance` does. `hotwords` are phrases to favour, each of the
        same weight, or a dict of their weights; with them CTC is decoded by beam search, with the language model or without.
        `early`: which tokens are shown before their look-ahead has arrived: off (none), steady (those of an utterance's first text that
        are likely to stay) or eager (all); None is steady where the backend can. They take a step each, only while the caller
        waits for audio, and change no final. `language`: as the recogniser was opened with, None for its own.
        `language_model`: whether the recogniser's helps, if it has one.

        Raises InputError for rules that are none, or for a bundle without a voice activity detector, for hotwords that the bundle's pieces
        cannot spell, or that are given for RNN-T, and for a language that the checkpoint does not have; FullError where `max_streams`
        are open; ClosedError after `close`.
        """
        self._check_process()
        if endpoints is not None and not isinstance(endpoints, EndpointRules):
            raise InputError(f"expected EndpointRules for endpoints, or None, found {endpoints!r}")
        with self._opening:
            if self._closed:
                raise ClosedError("expected an open recogniser, found a closed one; open it again")
            options = StreamOptions(endpoints, hotwords, early, language, language_model)
            try:
                stream = self._new_stream(options)
            except FullError:
                if self._scheduler is None:
                    raise
                self._scheduler.settle()  # it may hold a stream that nobody else refers to any more
                stream = self._new_stream(options)
            self._streams.add(stream)
        return stream

    def _new_stream(self, options: StreamOptions) -> Stream:
        return Stream(self, options)

    @property
    def scheduler(self) -> Scheduler:
        """What does the work of streams whose callers do not."""
        with self._scheduling:
            if self._scheduler is None:
                try:
                    self._scheduler = Scheduler(self.backend)
                except RuntimeError as error:
                    raise LostError(
                        f"expected room for the threads of many streams, found none: {error}; end other processes"
                    ) from error
                # Also when the recogniser is dropped without close(), or the process ends.
                weakref.finalize(self, _end, self._decoders, self._scheduler, os.getpid())
            return self._scheduler

    @property
    def ngram(self) -> NGram | None:
        """The language model, if any."""
        return self._decoders.maker.ngram

    def prompt(self, language: str | None) -> int | None:
        """The number that tells a step the language, None for the recogniser's own; None where steps are told none.

        Raises InputError as `stream` does.
        """
        return self.bundle.prompt(self.language if language is None else language)

    def hotwords(self, choice: HotwordChoice) -> Hotwords:
        """Return the hotwords of a choice. Raises InputError as `stream` does."""
        return self._decoders.maker.hotwords(choice)

    def new_decoder(
        self, start_s: float = 0.0, hotwords: Hotwords | None = None, *, language_model: bool = True
    ) -> Decoder:
        """A decoder at the start of an utterance, which is at `start_s` of its stream."""
        decoders = self._decoders if language_model else self._decoders.without_language_model()
        return decoders.new_decoder(start_s, hotwords)

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
            self._decoders.close()
            for stream in list(self._streams):
                stream.close()
            if self._scheduler:
                self._scheduler.close()
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(decoders: Decoders, scheduler: Scheduler, process: int) -> None:
    """End both in that process, searches first, for which the scheduler waits; a fork has none of its threads."""
    if os.getpid() == process:
        decoders.close()
        scheduler.close()


def _checked_processes(asked: int | None, streams: int | None) -> int | None:
    """How many processes search for that many streams; None where each stream runs apart. Raises InputError for what cannot be."""
    if streams is not None:
        check_number(streams)
    if asked is None:
        return usual_processes(streams) if streams else None
    if not streams:
        raise InputError(f"expected max_streams with search_processes, found {asked!r} of them without; leave one out")
    if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= streams:
        raise InputError(
            f"expected search_processes from 1 to the {streams} of max_streams, found {asked!r}; None is one for each 48"
        )
    return asked


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
