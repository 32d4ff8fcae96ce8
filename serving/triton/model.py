"""The recogniser in Triton's Python backend, as model.py; `runtime`, `serving` and the bundle lie beside it."""

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.errors import ClosedError, CudaError, FullError, InputError, LostError
from runtime.events import Event
from runtime.live import loaded_spared
from runtime.recognizer import Recognizer
from runtime.stream import Stream
from serving.options import read_options

FAILURES = (InputError, FullError, ClosedError, LostError, CudaError)
"""What is told in one line."""
MOST_AUDIO_S = 10
"""Seconds of audio in a request, at most: requests that are answered together wait for the longest of them."""
WARM_S = 0.5
"""Seconds of silence that are recognised before the model is ready: what starts with the first words is there then."""
FORGET_S = 1.0
"""A stream outlives Triton's idle time by this, in seconds: the two clocks do not start at the same moment."""

WATCH = 'while kill -0 "$2"; do kill -0 "$1" || exec kill -9 "$2"; sleep 1; done 2>/dev/null'
"""Ends the model's process, $2, once the server, $1, is gone: after a kill -9 under load it waited for ever, and held the GPU's memory. A
process of its own, as Python's threads wait there too."""


@dataclass
class Held:
    """A sequence's stream."""

    stream: Stream
    used_s: float
    """When its last request came, by the monotonic clock."""


class TritonPythonModel:
    """One Stream per correlation id, from START to END. The requests that Triton hands over at a time are answered together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle; called by Triton. Raises TritonModelException, one line, where it cannot, and where numpy corrupts tensors."""
        watch = ["sh", "-c", WATCH, "watch", str(os.getppid()), str(os.getpid())]
        self._watch = subprocess.Popen(watch, start_new_session=True)
        parameters = {key: each["string_value"] for key, each in json.loads(args["model_config"])["parameters"].items()}
        self._most, self._idle_s = int(parameters["max_streams"]), float(parameters["idle_s"])
        self._held: dict[int, Held] = {}
        self._changing = threading.Lock()
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="request")
        try:
            check_numpy()
            self._recognizer = Recognizer(
                Path(args["model_repository"]) / args["model_version"] / "bundle",
                precision=parameters["precision"],
                backend=parameters["backend"],
                lm=parameters["lm"],
                decoder=parameters["decoder"],
                max_streams=self._most if parameters["decoder"] == "ctc" else None,  # RNN-T streams run apart
            )
            self._longest = MOST_AUDIO_S * self._recognizer.bundle.sample_rate
            warm = self._recognizer.stream()
            warm.push(np.zeros(round(WARM_S * self._recognizer.bundle.sample_rate), np.float32))
            warm.end_utterance()
            warm.close()
            self._spared = ExitStack()
            self._spared.enter_context(loaded_spared())
        except FAILURES as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests, of which no two are of one sequence, with an InferenceResponse each; called by Triton."""
        *others, last = requests
        answers = [self._pool.submit(self._answer, request) for request in others]
        own = self._answer(last)
        return [*(answer.result() for answer in answers), own]

    def finalize(self) -> None:
        """Close the recogniser; called by Triton."""
        self._pool.shutdown()
        self._spared.close()
        self._recognizer.close()
        self._watch.kill()
        self._watch.wait()

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 -- Triton's
        """Answer with the events as JSON, or with an error that is this request's alone."""
        try:
            events = self._hear(request)
        except FAILURES as error:
            code = (
                pb_utils.TritonError.INVALID_ARG if isinstance(error, InputError) else pb_utils.TritonError.UNAVAILABLE
            )
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
        except Exception as error:  # noqa: BLE001 -- raised, it would fail the requests that Triton sent along
            said = f"an error of the server, please report it: {error!r}"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(said, pb_utils.TritonError.INTERNAL))
        listed = json.dumps([event.json() for event in events], ensure_ascii=False).encode()
        return pb_utils.InferenceResponse([pb_utils.Tensor("events", np.array([[listed]], np.object_))])

    def _hear(self, request: Any) -> list[Event]:  # noqa: ANN401
        sequence, start, end = (int(_value(request, name).item()) for name in ("CORRID", "START", "END"))
        try:
            if start:
                self._begin(sequence, _value(request, "options"))
            stream = self._stream(sequence)
            samples = self._samples(request)
            events = [] if samples is None else stream.push(samples)
            return [*events, stream.end_utterance()] if end else events
        finally:
            if end:
                self._forget(sequence)

    def _begin(self, sequence: int, options: Any) -> None:  # noqa: ANN401
        """Open a stream; what Triton has forgotten without a word is forgotten first."""
        self._forget(sequence)  # also where what follows is refused: its audio would go to the utterance before
        chosen = read_options({} if options is None else _json(options))
        now_s = time.monotonic()
        with self._changing:
            idle = sorted(self._held, key=lambda each: self._held[each].used_s)
            gone = [each for each in idle if now_s - self._held[each].used_s > self._idle_s + FORGET_S]
            # Triton admits no more sequences than there are streams: of so many one is over, and that is the one idle longest.
            for each in gone or (idle[:1] if len(idle) >= self._most else []):
                self._held.pop(each).stream.close()
            self._held[sequence] = Held(chosen.open(self._recognizer), now_s)

    def _stream(self, sequence: int) -> Stream:
        with self._changing:
            held = self._held.get(sequence)
            if held is None:
                raise InputError(
                    f"expected START before other requests of sequence {sequence}, found none, or {self._idle_s:g} s without a request; "
                    f"begin the sequence anew"
                )
            held.used_s = time.monotonic()
            return held.stream

    def _samples(self, request: Any) -> Any:  # noqa: ANN401 -- Triton's
        """Samples [n] of either input; None without. Raises InputError where both are given, and for too many."""
        found = [value[0] for name in ("audio", "pcm") if (value := _value(request, name)) is not None]
        if len(found) > 1:
            raise InputError("expected audio (FP32) or pcm (INT16), found both; send one of them")
        if found and len(found[0]) > self._longest:
            raise InputError(
                f"expected at most {MOST_AUDIO_S} s of audio in a request, found {len(found[0]):,} samples; send it in pieces"
            )
        return found[0] if found else None

    def _forget(self, sequence: int) -> None:
        with self._changing:
            held = self._held.pop(sequence, None)
        if held:
            held.stream.close()


def check_numpy() -> None:
    """Raise InputError where Triton's tensors reach numpy corrupt, as with numpy 2 in a Python backend before 24.11."""
    sent = np.array([3.0, 4.0], np.float32)
    found = pb_utils.Tensor.from_dlpack("probe", pb_utils.Tensor("probe", sent).to_dlpack()).as_numpy()
    if not np.array_equal(sent, found):
        raise InputError(
            f"expected tensors to reach numpy {np.__version__} whole, found {sent.tolist()} as {found.tolist()}; install numpy before 2, "
            f"or Triton 24.11 or later"
        )


def _value(request: Any, name: str) -> Any:  # noqa: ANN401 -- Triton's
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _json(options: Any) -> Any:  # noqa: ANN401
    """Options [1, 1] as JSON. Raises InputError for what is none."""
    try:
        return json.loads(options.item())
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a stream's options as JSON, found: {error}; see docs/serving.md") from error
