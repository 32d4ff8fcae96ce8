"""`python -m serving.triton.health`: whether a Triton server recognises. Its own readiness goes on where a model's process has died."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from runtime.arguments import Arguments
from runtime.errors import InputError, exit_code
from runtime.events import Final
from serving.options import Options
from serving.triton.client import Conversation
from serving.triton.connection import Server

SILENCE_S = 0.1
"""Of silence, at whose end one step is computed."""


def check(url: str, model: str) -> str:
    """Recognise a moment of silence; return what was found, in a line. Where all places are in use, those who use them must be answered.

    Raises InputError where it is not.
    """
    before = answered(url, model)
    try:
        with Conversation(url, model, Options(early="off")) as conversation:
            conversation.push(np.zeros(round(SILENCE_S * conversation.sample_rate), np.float32))
            *_, last = conversation.end()
    except InputError:
        if answered(url, model) == before:
            raise
        return "full: all places are in use, and those who use them are answered"
    if not isinstance(last, Final):
        raise InputError(f"expected a final of {model} at {url}, found {last}; see docs/triton.md")
    return "it recognises"


def answered(url: str, model: str) -> int:
    """Requests that the model has answered without an error. Raises InputError for a server that does not say."""
    with Server(url) as server:
        try:
            (found,) = server.client.get_inference_statistics(model).model_stats
        except server.error as error:
            raise server.failed(model, error) from error
    return int(found.inference_stats.success.count)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the check."""
    parser = Arguments(prog="python -m serving.triton.health", description="Exit with 0 where the server recognises.")
    parser.add_argument("--model", required=True, help="the model's name: that of the bundle's folder")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC (default: localhost:8001)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Print what was found."""
    print(f"{args.model} at {args.url}: {check(args.url, args.model)}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
