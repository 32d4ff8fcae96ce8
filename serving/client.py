"""`python -m serving.client`: an audio file streamed to a Triton server that has the repository of `make triton`.

The windows, the flush and its `valid` are runtime.recognizer's own: the server's step is a Backend and its decoder a Decoder.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.audio import load_audio
from runtime.backends.base import StepResult
from runtime.bundle import read_bundle
from runtime.errors import InputError, exit_code
from runtime.events import Partial
from runtime.recognizer import ALL_VALID, Recognizer
from serving.repository import decoder_model, step_model


class TritonStep:
    """The step on the server, which keeps the state; here it is only whether the sequence has begun. One stream at a time."""

    name = "triton"

    def __init__(self, client: Any, grpc: Any, model: str, sequence: int) -> None:  # noqa: ANN401 -- tritonclient's
        self._client, self._grpc, self._model, self._sequence = client, grpc, model, sequence

    def new_state(self) -> bool:
        """Not begun."""
        return False

    def step(self, window: npt.NDArray[np.float32], valid: int, state: bool) -> StepResult:
        """See Backend.step; the flush, whose end of the audio is known, ends the sequence."""
        inputs = [
            tensor(self._grpc, "audio", window[None], "FP32"),
            tensor(self._grpc, "valid", np.array([valid], np.int32), "INT32"),
        ]
        reply = self._client.infer(
            self._model,
            inputs,
            outputs=[self._grpc.InferRequestedOutput(each) for each in ("tokens", "log_probs")],
            sequence_id=self._sequence,
            sequence_start=not state,
            sequence_end=valid != ALL_VALID,
        )
        nothing = np.zeros((0, 0), np.float32)  # encoded stays on the server
        results = {name: reply.as_numpy(name)[0] for name in ("tokens", "log_probs")}
        return StepResult(**results, encoded=nothing, state=True)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class TritonDecoder:
    """The decoder on the server. A Decoder."""

    fed = "tokens"

    def __init__(self, client: Any, grpc: Any, model: str, sequence: int, blank: int) -> None:  # noqa: ANN401 -- tritonclient's
        self._client, self._grpc, self._model, self._sequence, self._blank = client, grpc, model, sequence, blank
        self._begun = False
        self.text = ""
        self.tokens: tuple[int, ...] = ()
        self.blank_frames = 0

    def push(self, frames: npt.NDArray[Any]) -> bool:
        """Send the best tokens of new frames [n]; return whether the text grew."""
        return self._send(frames, end=False)

    def finish(self) -> None:
        """End the sequence; the blank that goes with it writes nothing."""
        if self._begun:
            self._send(np.array([self._blank]), end=True)

    def _send(self, frames: npt.NDArray[Any], *, end: bool) -> bool:
        reply = self._client.infer(
            self._model,
            [tensor(self._grpc, "tokens", frames.astype(np.int32), "INT32")],
            sequence_id=self._sequence,
            sequence_start=not self._begun,
            sequence_end=end,
        )
        self._begun = True
        before, self.tokens = self.tokens, tuple(map(int, reply.as_numpy("token_ids")))
        self.text = reply.as_numpy("text")[0].decode()
        for token in frames:
            self.blank_frames = self.blank_frames + 1 if token == self._blank else 0
        return self.tokens != before


class TritonRecognizer(Recognizer):
    """A Recognizer whose step and greedy decoder run on the server at `url`, as host:port. One stream at a time."""

    def __init__(self, bundle: Path, url: str) -> None:
        """Raises InputError for a broken bundle or one without a CTC head, and where tritonclient is not installed."""
        try:
            from tritonclient import grpc
        except ImportError as error:
            raise InputError(
                "expected tritonclient, found none; install it with `pip install --no-deps -r requirements/triton.txt`"
            ) from error
        read = read_bundle(bundle)
        read.check_ctc("Triton's greedy decoder")
        client = grpc.InferenceServerClient(url)
        # A correlation id of this client's own, for all its utterances: a START on it begins anew, so one that was left open holds no slot.
        sequence = secrets.randbits(63) | 1
        self._remote = (client, grpc, decoder_model(bundle), sequence, read.blank)
        super().__init__(bundle, backend=TritonStep(client, grpc, step_model(bundle), sequence), lm=None)

    def new_decoder(self) -> TritonDecoder:
        """A decoder at an utterance's start."""
        return TritonDecoder(*self._remote)


def tensor(grpc: Any, name: str, value: npt.NDArray[Any], kind: str) -> Any:  # noqa: ANN401 -- tritonclient's
    """An input tensor of tritonclient."""
    made = grpc.InferInput(name, list(value.shape), kind)
    made.set_data_from_numpy(value)
    return made


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the client."""
    parser = argparse.ArgumentParser(prog="python -m serving.client", description="Stream a file to a Triton server.")
    parser.add_argument("audio", type=Path, help="a WAV or MP3 file")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that the repository was made of")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC (default: localhost:8001)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Print the text as it grows, then the final."""
    samples = load_audio(args.audio)
    with TritonRecognizer(args.bundle, args.url) as recognizer:
        from tritonclient.utils import InferenceServerException

        size = recognizer.bundle.chunk_samples
        try:
            stream = recognizer.stream()
            for start in range(0, len(samples), size):
                for event in stream.push(samples[start : start + size]):
                    if isinstance(event, Partial):
                        print(event.text, flush=True)
            print(stream.end_utterance().text)
        except InferenceServerException as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"expected a Triton server with this bundle at {args.url}, found: {reason}; start it on `make triton`'s folder"
            ) from error


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
