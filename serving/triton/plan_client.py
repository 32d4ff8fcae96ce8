"""`python -m serving.triton.plan_client`: an audio file streamed to a Triton server that has the repository of a plan.

The windows, the flush and its `valid` are runtime.stream's own: the server's step is a Backend and its decoder a Decoder.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.arguments import Arguments
from runtime.audio import load_audio
from runtime.backends import ALL_VALID, Backend, StepResult
from runtime.bundle import read_bundle
from runtime.decoders.greedy import first
from runtime.decoders.hotwords import HotwordChoice, Hotwords
from runtime.errors import InputError, exit_code
from runtime.events import Partial
from runtime.hearing import StreamOptions
from runtime.recognizer import Recognizer
from runtime.stream import Stream
from runtime.words import Word
from serving.triton.connection import END_S, REPLY_S, START_SHARE, Server
from serving.triton.plan_repository import decoder_model, step_model
from serving.triton.repository import IDLE_S


class ServerSequence:
    """One model's sequence on the server, one utterance at a time: START with its first request, END with its last.

    The correlation id is this client's own, for all its utterances: a START on it begins anew.
    """

    def __init__(self, server: "TritonBackend", model: str, outputs: tuple[str, ...]) -> None:
        self._server, self._model = server, model
        self._outputs = server.server.outputs(outputs)
        self._inputs: list[Any] = []
        self._begun = False  # START was answered: the next request has none
        self._owed = False  # the server may hold its slot for us until END

    def infer(self, end: bool = False, **inputs: npt.NDArray[Any]) -> Any:  # noqa: ANN401 -- tritonclient's
        """The reply to the utterance's next request; raises InputError where the slot is in use and for a server that fails."""
        start, self._owed = not self._begun, True
        self._inputs = [self._server.server.input(name, value) for name, value in inputs.items()]
        try:
            reply = self._send(start=start, end=end, wait_s=REPLY_S)
        except self._server.server.error as error:
            self._owed = not self._server.server.is_full(error)
            raise self._server.server.failed(self._model, error) from error
        self._begun = self._owed = not end
        return reply

    def end(self) -> None:
        """Give the slot back, where it is held: the last request again with END, its reply dropped."""
        if self._owed:
            self._begun = self._owed = False
            # The utterance is over either way, and the server forgets it when idle.
            with suppress(self._server.server.error):
                self._send(start=False, end=True, wait_s=END_S)

    def _send(self, *, start: bool, end: bool, wait_s: float) -> Any:  # noqa: ANN401 -- tritonclient's
        start_s = START_SHARE * IDLE_S if start else 0.0
        return self._server.server.client.infer(
            self._model,
            self._inputs,
            outputs=self._outputs,
            sequence_id=self._server.sequence_id,
            sequence_start=start,
            sequence_end=end,
            # The server's own limit: a call that only this side gave up would leave its id in the queue.
            timeout=round(1e6 * start_s) or None,
            client_timeout=start_s + wait_s,
        )


class TritonBackend(Backend):
    """The server: the connection, and on it the step's sequence, which keeps the state, and the decoder's. One stream at a time."""

    name = "triton"

    def __init__(self, bundle: Path, url: str) -> None:
        """Raises InputError where tritonclient is not installed."""
        self.server = Server(url)
        self.sequence_id = secrets.randbits(63) | 1  # not 0, which is none, and an int64 in the request
        self.steps = ServerSequence(self, step_model(bundle), ("tokens", "log_probs"))
        self.decoder = ServerSequence(self, decoder_model(bundle), ("text", "token_ids", "words"))

    def new_state(self) -> bool:
        """At an utterance's start, whatever the one before it came to: what it left open ends."""
        self.end()
        return True

    def step(self, window: npt.NDArray[np.float32], valid: int, state: bool) -> StepResult:
        """See Backend.step; the flush, whose end of the audio is known, ends the sequence.

        Raises InputError where another client holds the slot and for a server that fails.
        """
        reply = self.steps.infer(valid != ALL_VALID, audio=window[None], valid=np.array([valid], np.int32))
        nothing = np.zeros((0, 0), np.float32)  # encoded stays on the server
        results = {name: reply.as_numpy(name)[0] for name in ("tokens", "log_probs")}
        return StepResult(**results, encoded=nothing, state=state)

    def end(self) -> None:
        """End what is open: both slots are free."""
        self.steps.end()
        self.decoder.end()

    def close(self) -> None:
        """End what is open, as of a stream that was dropped, and close the connection; safe to call twice."""
        self.end()
        self.server.close()


class TritonDecoder:
    """The decoder on the server. A Decoder."""

    def __init__(self, server: TritonBackend, blank: int, start_s: float) -> None:
        self._server, self._blank, self._start_s = server, blank, start_s
        self.text = ""
        self.tokens: tuple[int, ...] = ()
        self.words: tuple[Word, ...] = ()
        self.stable = 0
        self.blank_frames = 0

    def push(self, result: StepResult, frames: int) -> bool:
        """Send the best tokens of new frames; return whether the text grew.

        Raises InputError where another client holds the slot and for a server that fails.
        """
        tokens = first(result.tokens, frames).astype(np.int32)
        reply = self._server.decoder.infer(tokens=tokens, best_log_probs=first(result.log_probs, frames).max(-1))
        before, self.tokens = self.tokens, tuple(map(int, reply.as_numpy("token_ids")))
        self.text = reply.as_numpy("text")[0].decode()
        self.words = tuple(Word(**word).moved(self._start_s) for word in json.loads(reply.as_numpy("words")[0]))
        self.stable = max(0, len(self.words) - 1)
        for token in tokens:
            self.blank_frames = self.blank_frames + 1 if token == self._blank else 0
        return self.tokens != before

    def copy(self) -> "TritonDecoder":
        """Never: there are no early tokens, see TritonBackend."""
        raise NotImplementedError

    def finish(self) -> None:
        """End the sequence."""
        self.stable = len(self.words)
        self._server.decoder.end()


class TritonStream(Stream):
    """A Stream whose utterance is on the server. `push` and `end_utterance` raise InputError also where another client holds the slot."""

    _recognizer: "TritonRecognizer"
    live = True
    """Until its sequences are ended by `close`."""

    def close(self) -> None:
        """See Stream.close; then end the utterance on the server."""
        super().close()
        with self._one_at_a_time:
            if self.live:  # later the sequences are another stream's
                self._recognizer.server.end()
                self.live = False


class TritonRecognizer(Recognizer):
    """A Recognizer whose step and greedy decoder run on the server at `url`, as host:port.

    One stream at a time, as the server has one slot: `stream` raises InputError also while another is open.
    """

    def __init__(self, bundle: Path, url: str) -> None:
        """Raises InputError for a broken bundle or one without a CTC head, and where tritonclient is not installed."""
        read_bundle(bundle).check_ctc("Triton's greedy decoder")
        self.server = TritonBackend(bundle, url)
        super().__init__(bundle, backend=self.server, lm=None)

    def _new_stream(self, options: StreamOptions) -> TritonStream:
        if any(isinstance(stream, TritonStream) and stream.live for stream in self._streams):
            raise InputError("expected one stream at a time, found one that is open; close it before the next")
        return TritonStream(self, options)

    def hotwords(self, choice: HotwordChoice) -> Hotwords:
        """None. Raises InputError for any: the server's decoder is greedy."""
        if found := super().hotwords(choice):
            raise InputError(
                f"expected no hotwords with Triton's greedy decoder, found {len(found.phrases)}; leave them out"
            )
        return found

    def new_decoder(
        self,
        start_s: float = 0.0,
        hotwords: Hotwords | None = None,  # noqa: ARG002 -- none, see hotwords
        *,
        language_model: bool = True,  # noqa: ARG002 -- none either
    ) -> TritonDecoder:
        """See Recognizer.new_decoder."""
        return TritonDecoder(self.server, self.bundle.blank, start_s)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the client."""
    parser = Arguments(prog="python -m serving.triton.plan_client", description="Stream a file to a Triton server.")
    parser.add_argument("audio", type=Path, help="an audio file")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that the repository was made of")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC (default: localhost:8001)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Print the text as it grows, then the final."""
    samples = load_audio(args.audio)
    with TritonRecognizer(args.bundle, args.url) as recognizer:
        size = recognizer.bundle.chunk_samples
        stream = recognizer.stream()
        for start in range(0, len(samples), size):
            for event in stream.push(samples[start : start + size]):
                if isinstance(event, Partial):
                    print(event.text, flush=True)
        print(stream.end_utterance().text)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
