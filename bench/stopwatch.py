"""A recogniser that notes how long each step, and the decoding of its frames, takes."""

import os
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from runtime import Recognizer
from runtime.backends import Backend, Step, StepResult, Wrapped
from runtime.decoders.decoder import Decoder
from runtime.decoders.hotwords import Hotwords
from runtime.decoders.remote import RemoteDecoder


class TimedBackend(Wrapped):
    """A backend, and the seconds of each of its steps in `step_s`, of each of its peeks in `peek_s`, and of all in `run_s`."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.step_s: list[float] = []
        self.peek_s: list[float] = []
        self.run_s: list[float] = []
        self.in_run: list[int] = []
        """Streams of each run, where they run together."""

    def step(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend.step."""
        begin = time.perf_counter()
        result = self.wrapped.step(window, valid, state)
        self._note(self.step_s, begin)
        return result

    def peek(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend.peek."""
        begin = time.perf_counter()
        result = self.wrapped.peek(window, valid, state)
        self._note(self.peek_s, begin)
        return result

    def run(self, steps: Sequence[Step]) -> list[StepResult]:
        """See Backend.run; steps that run together take each the time of all."""
        if not self.most_streams:
            return super().run(steps)
        begin = time.perf_counter()
        results = self.wrapped.run(steps)
        took_s = time.perf_counter() - begin
        for step in steps:
            (self.peek_s if step.peek else self.step_s).append(took_s)
        self.run_s.append(took_s)
        self.in_run.append(len(steps))
        return results

    def _note(self, times_s: list[float], begin: float) -> None:
        times_s.append(time.perf_counter() - begin)
        self.run_s.append(times_s[-1])


class TimedDecoder:
    """A decoder that adds the seconds of each `push` to `push_s`; all else is the decoder's own."""

    def __init__(self, decoder: Decoder, push_s: list[float]) -> None:
        self._decoder, self._push_s = decoder, push_s

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the decoder's
        return getattr(self._decoder, name)

    def push(self, result: StepResult, frames: int) -> bool:
        """See Decoder.push."""
        begin = time.perf_counter()
        changed = self._decoder.push(result, frames)
        self._push_s.append(time.perf_counter() - begin)
        return changed


class TimedRecognizer(Recognizer):
    """A recogniser whose steps and peeks are timed in `timed` and whose decoding, a chunk at a time, in `decode_s`."""

    def __init__(self, bundle: str | os.PathLike[str], **choices: Any) -> None:
        super().__init__(bundle, **choices)
        self.backend = self.timed = TimedBackend(self.backend)
        self.decode_s: list[float] = []

    def new_decoder(
        self, start_s: float = 0.0, hotwords: Hotwords | None = None, *, language_model: bool = True
    ) -> Decoder:
        """See Recognizer.new_decoder."""
        decoder = super().new_decoder(start_s, hotwords, language_model=language_model)
        if isinstance(decoder, RemoteDecoder):  # its time is another process's
            return decoder
        return cast("Decoder", TimedDecoder(decoder, self.decode_s))

    def forget_times(self) -> None:
        """Begin anew with what comes: warm-up and earlier rows are in no figure."""
        self.timed.step_s.clear()
        self.timed.peek_s.clear()
        self.timed.run_s.clear()
        self.timed.in_run.clear()
        self.decode_s.clear()
