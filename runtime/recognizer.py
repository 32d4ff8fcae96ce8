"""Recognizer and Stream: push audio, get partials; end the utterance, get the final."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from runtime.backends import Backend, default_backend, default_precision, open_backend
from runtime.bundle import read_bundle
from runtime.ctc import GreedyCtc
from runtime.decoder import Decoder
from runtime.errors import InputError
from runtime.rnnt import GreedyRnnt

ALL_VALID = 1 << 30  # mel frames: the end of the audio is not known yet
INT16_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Partial:
    """The hypothesis grew."""

    text: str
    """The whole utterance so far."""
    tokens: tuple[int, ...]
    audio_s: float
    """Audio that the hypothesis accounts for, from the utterance's start, in seconds."""


@dataclass(frozen=True)
class Final:
    """The utterance ended."""

    text: str
    tokens: tuple[int, ...]
    audio_s: float
    """Length of the utterance, in seconds."""


Event = Partial | Final


class Recognizer:
    """A bundle opened on a backend; makes any number of streams. A context manager: leaving it frees the backend."""

    def __init__(
        self,
        bundle: Path,
        precision: str | None = None,
        backend: str | Backend | None = None,
        decoder: str | None = None,
    ) -> None:
        """Open the bundle in the folder `bundle`.

        `backend` is a name, an open backend, or None for this machine's best; `precision` None is the named backend's usual one, and
        an open backend has its own. `decoder` is ctc, rnnt or None for the bundle's best; an open backend's is ctc unless named.

        Raises InputError for a bundle that is missing, broken or not for this backend.
        """
        self.bundle = read_bundle(bundle)
        if backend is None or isinstance(backend, str):
            name = backend or default_backend()
            self.decoder = self.bundle.decoder(decoder)
            backend = open_backend(name, bundle, self.bundle, precision or default_precision(name), self.decoder)
        else:
            self.decoder = self.bundle.decoder(decoder or "ctc")
        self.backend = backend

    def stream(self) -> "Stream":
        """A new stream at an utterance's start."""
        return Stream(self)

    def new_decoder(self) -> Decoder:
        """A decoder at an utterance's start."""
        kind = GreedyRnnt if self.decoder == "rnnt" else GreedyCtc
        return kind(self.bundle.vocabulary, self.bundle.blank)

    def close(self) -> None:
        """Free the backend."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stream:
    """One speaker's audio. `push` frames of any length, `end_utterance` at the end of an utterance; then the next one may begin.

    Steps run as soon as their window is full: the first after `first_step_samples`, then every `chunk_samples`. Between steps only
    the samples that the next window overlaps are kept.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self._bundle = recognizer.bundle
        self._backend = recognizer.backend
        self._new_decoder = recognizer.new_decoder
        # Room for the step in progress and what is pushed at once beyond it; grown when a longer piece comes.
        self._audio: npt.NDArray[np.float32] = np.zeros(2 * self._bundle.window_samples, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the utterance: equal to a new stream."""
        bundle = self._bundle
        self._decoder = self._new_decoder()
        self._state: Any = None  # given back before the next is asked for: a backend may reuse it
        self._state = self._backend.new_state()
        self._steps = 0
        self._received = 0
        # Before the first sample lies silence: that part of the first window is zero.
        self._filled = bundle.window_samples - bundle.first_step_samples
        self._audio[: self._filled] = 0.0

    def push(self, samples: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> list[Partial]:
        """Take mono samples [n] at the bundle's rate, FP32 in -1..1 or INT16; return a partial per step that changed the text.

        Raises InputError, and changes nothing, for another type or shape and for samples that are not finite.
        """
        checked = _checked(samples)
        self._append(checked)
        self._received += len(checked)
        return self._run_full_windows()

    def end_utterance(self) -> Final:
        """End the utterance: flush the tail with synthesised silence at once, return the final, be ready for the next.

        The look-ahead is computed, not waited for: the frames that remain are computed with the end of the audio masked as in
        NeMo's offline forward.
        """
        bundle = self._bundle
        owed = bundle.encoder_frames(self._received) - self._steps * bundle.chunk_frames
        if owed > 0:
            # x[n] = a x[n-1] is what the pre-emphasis y[n] = x[n] - a x[n-1] turns into exact silence: no click at the end.
            missing = bundle.window_samples - self._filled
            last = self._audio[self._filled - 1]
            self._append(last * bundle.preemphasis ** np.arange(1, missing + 1, dtype=np.float32))
            mel_frames = (self._received - self._steps * bundle.chunk_samples) // bundle.hop_samples
            self._step(valid=mel_frames, frames=owed)
        final = Final(self._decoder.text, self._decoder.tokens, self._received / bundle.sample_rate)
        self.reset()
        return final

    def _append(self, samples: npt.NDArray[np.float32]) -> None:
        end = self._filled + len(samples)
        if end > len(self._audio):
            self._audio = np.concatenate([self._audio[: self._filled], np.empty(end, np.float32)])
        self._audio[self._filled : end] = samples
        self._filled = end

    def _run_full_windows(self) -> list[Partial]:
        bundle, partials = self._bundle, []
        consumed = 0
        while self._filled - consumed >= bundle.window_samples:
            if self._step(ALL_VALID, bundle.chunk_frames, consumed):
                heard = (self._steps - 1) * bundle.chunk_samples + bundle.first_step_samples
                partials.append(Partial(self._decoder.text, self._decoder.tokens, heard / bundle.sample_rate))
            consumed += bundle.chunk_samples
        if consumed:
            kept = self._filled - consumed
            self._audio[:kept] = self._audio[consumed : self._filled].copy()
            self._filled = kept
        return partials

    def _step(self, valid: int, frames: int, start: int = 0) -> bool:
        window = self._audio[start : start + self._bundle.window_samples]
        result = self._backend.step(window, valid, self._state)
        self._state = result.state
        self._steps += 1
        return self._decoder.push(getattr(result, self._decoder.fed)[:frames])


def _checked(samples: object) -> npt.NDArray[np.float32]:
    if not isinstance(samples, np.ndarray) or samples.dtype not in (np.float32, np.int16):
        found = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
        raise InputError(f"expected samples as a numpy array of float32 or int16, found {found}; convert them first")
    if samples.ndim != 1:
        raise InputError(f"expected mono samples of shape [n], found {list(samples.shape)}; average the channels first")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(INT16_FULL_SCALE)
    if not np.isfinite(samples).all():
        raise InputError(
            f"expected finite samples, found {int((~np.isfinite(samples)).sum())} NaN or infinite of {len(samples)}; "
            f"check the audio source"
        )
    return samples
