"""`python -m serving.triton.client FILE`: an audio file streamed to a Triton server that has the repository of `make triton`.

A conversation is one gRPC stream, so behind a proxy it stays with one server, and one sequence on it.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import json
import queue
import secrets
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console
from typing_extensions import Self

from runtime.arguments import Arguments
from runtime.audio import Pcm, Samples, checked
from runtime.early import Early
from runtime.errors import InputError, exit_code
from runtime.events import Event, Final, Partial
from runtime.hotword_list import read_hotwords
from runtime.inputs import Framing, file_frames
from runtime.show import display, print_json
from runtime.words import Word
from serving.options import Options, read_options
from serving.triton.connection import END_S, REPLY_S, START_SHARE, Server

NO_AUDIO = np.zeros(0, np.float32)
BROKEN_S = 0.2
"""Seconds that a client waits to be told why its stream broke, which tritonclient tells at once, and only once."""


class Conversation:
    """A stream on the server: `push` audio, then `end`. A context manager: leaving it gives the place back, however it is left."""

    def __init__(self, url: str, model: str, options: Options | None = None) -> None:
        """`url`: host:port of the gRPC. Raises InputError for a server, or a model on it, that does not answer."""
        self._server, self._model = Server(url), model
        self._options = (options or Options()).model_dump_json(exclude_defaults=True).encode()
        self.sequence_id = secrets.randbits(63) | 1  # 0 is none, and it is an int64 in the request
        try:
            parameters = self._server.parameters(model, ("sample_rate", "idle_s"))
        except InputError:
            self._server.close()
            raise
        self.sample_rate = int(parameters["sample_rate"])
        """Of the audio, in Hz."""
        self._start_s = START_SHARE * float(parameters["idle_s"])
        self._replies: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._server.client.start_stream(lambda result, error: self._replies.put((result, error)))
        self._waiting = 0  # replies that will come
        self._begun = False  # START was answered
        self._owed = False  # the server may hold a place for us until END

    def push(self, samples: Samples | Pcm) -> list[Event]:
        """Send mono samples [n], at most 10 s, FP32 in -1..1 or INT16; return what became known.

        Raises InputError for samples that a stream would refuse, after which the conversation goes on, where all places stay in use, and
        for what the server says: of too much audio, of a sequence that it has forgotten, and of a server that ended.
        """
        checked(samples)
        return self._request(samples)

    def end(self) -> list[Event]:
        """End the utterance and the sequence; return what became known, the final last. Raises InputError as `push` does."""
        return self._request(NO_AUDIO, end=True)

    def close(self) -> None:
        """Give the place on the server back, and close the connection; safe to call twice. Does not raise."""
        if self._owed:
            self._owed = False
            with suppress(self._server.error, queue.Empty):  # the server forgets an idle sequence by itself
                self._send(NO_AUDIO, end=True)
                while self._waiting:
                    self._reply(END_S)
        # A stream that is cut off may keep Triton's model loaded after a stop; only a server that is silent is not waited for.
        stop = threading.Thread(target=self._server.client.stop_stream, daemon=True)
        stop.start()
        stop.join(END_S)
        if stop.is_alive():
            self._server.client.stop_stream(cancel_requests=True)
        self._server.close()

    def _request(self, samples: Samples | Pcm, *, end: bool = False) -> list[Event]:
        wait_s = REPLY_S + (0 if self._begun else self._start_s)
        self._owed = True
        try:
            self._send(samples, end=end)
        except self._server.error as error:
            self._owed = False  # the stream is broken, and nothing can be given back
            why: Exception | None = None
            with suppress(queue.Empty):
                why = self._replies.get(timeout=BROKEN_S)[1]
            raise self._server.failed(self._model, why or error) from error
        try:
            result, failure = self._reply(wait_s)
        except queue.Empty:
            raise InputError(
                f"expected a reply of {self._model} at {self._server.url} within {wait_s:g} s, found none; see docs/triton.md"
            ) from None
        if failure is not None:
            self._owed = not (end or self._server.is_full(failure))
            raise self._server.failed(self._model, failure)
        self._begun, self._owed = True, not end
        return [read_event(said) for said in json.loads(result.as_numpy("events").item())]

    def _reply(self, wait_s: float) -> tuple[Any, Any]:
        """The next reply: a result or an error. Raises queue.Empty where none comes."""
        reply = self._replies.get(timeout=wait_s)
        self._waiting -= 1
        return reply

    def _send(self, samples: Samples | Pcm, *, end: bool) -> None:
        server = self._server
        inputs = [server.input("pcm" if samples.dtype == np.int16 else "audio", samples[None])]
        if not self._begun:
            inputs.append(server.input("options", np.array([[self._options]], np.object_)))
        server.client.async_stream_infer(
            self._model,
            inputs,
            sequence_id=self.sequence_id,
            sequence_start=not self._begun,
            sequence_end=end,
            timeout=None if self._begun else round(1e6 * self._start_s),
        )
        self._waiting += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_event(said: dict[str, Any]) -> Event:
    """The event of a line of JSON, see `Said.json`."""
    rest = {name: value for name, value in said.items() if name != "event"}
    rest |= {"tokens": tuple(said["tokens"]), "words": tuple(Word(**word) for word in said["words"])}
    return Partial(**rest) if said["event"] == "partial" else Final(**rest)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the client."""
    parser = Arguments(prog="python -m serving.triton.client", description="Stream a file to a Triton server.")
    parser.add_argument("audio", help="an audio file")
    parser.add_argument("--model", required=True, help="the model's name: that of the bundle's folder")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC (default: localhost:8001)")
    parser.add_argument("--frame-ms", type=int, default=80, help="audio of a request in ms (default: 80)")
    parser.add_argument("--realtime", action="store_true", help="at the pace of speech, as a microphone gives it")
    parser.add_argument("--endpoints", action="store_true", help="let the server end utterances")
    parser.add_argument(
        "--hotwords", type=Path, metavar="FILE", help="phrases to favour, one a line; a tab and a weight may follow"
    )
    parser.add_argument("--early", choices=get_args(Early), help="text shown before its look-ahead has arrived")
    parser.add_argument("--json", action="store_true", help="a JSON object per event and line")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Print the events as they come."""
    if not 1 <= args.frame_ms <= 1000:
        raise InputError(f"expected --frame-ms in 1..1000, found {args.frame_ms}; 80 is usual")
    hotwords = read_hotwords(args.hotwords) if args.hotwords else {}
    options = read_options({"endpoints": args.endpoints, "hotwords": hotwords, "early": args.early})
    with (
        Conversation(args.url, args.model, options) as conversation,
        nullcontext(print_json) if args.json else display(Console()) as show,
    ):
        framing = Framing(conversation.sample_rate, args.frame_ms, args.realtime)
        for samples in file_frames(args.audio, framing, lambda line: print(line, file=sys.stderr)):
            for event in conversation.push(samples):
                show(args.audio, event)
        for event in conversation.end():
            show(args.audio, event)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
