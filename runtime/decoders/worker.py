"""What a process of searches does: it holds beam searches, and pushes what it is sent. Imports neither onnxruntime nor torch."""

import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..prefix import common_prefix
from ..words import Word
from .beam import BeamCtc
from .hotwords import Hotwords
from .maker import DecoderMaker

LOOK_S = 1.0
"""How often a process that waits for the other one looks whether that is still there: a fork may hold a connection open."""


class Beginning(NamedTuple):
    """Where an utterance begins."""

    start_s: float
    """Of its stream."""
    hotwords: int | None
    """Their number in the process; None: there are none."""


class Asked(NamedTuple):
    """What one search is to take."""

    number: int
    """The search's in the process."""
    new: Beginning | int | None
    """A search that is not there yet: at an utterance's beginning, or a copy of the search with that number."""
    frames: int | None
    """How many of the request's come next; None: the utterance is over."""


class Request(NamedTuple):
    """What a process is sent."""

    dropped: list[int]
    """Numbers that will not be asked for again."""
    hotwords: dict[int, Hotwords]
    """Those that are not there yet."""
    asked: list[Asked]
    log_probs: npt.NDArray[np.float32]
    """Of all frames [frames, V+1]."""


class Shown(NamedTuple):
    """What a decoder shows."""

    text: str = ""
    tokens: tuple[int, ...] = ()
    words: tuple[Word, ...] = ()
    stable: int = 0
    blank_frames: int = 0


class Answer(NamedTuple):
    """What a search shows now. Of the sequences: how much is as in its answer before, and the rest."""

    text: tuple[int, str]
    tokens: tuple[int, tuple[int, ...]]
    words: tuple[int, tuple[Word, ...]]
    stable: int
    blank_frames: int

    def after(self, before: Shown) -> Shown:
        """What is shown, where that was shown before."""
        (text, more_text), (tokens, more_tokens), (words, more_words), *rest = self
        return Shown(
            before.text[:text] + more_text,
            before.tokens[:tokens] + more_tokens,
            before.words[:words] + more_words,
            *rest,
        )


class Searches:
    """The searches of one process, and the hotwords that they favour, by number."""

    def __init__(self, maker: DecoderMaker) -> None:
        self._maker = maker
        self._hotwords: dict[int, Hotwords] = {}
        self._beams: dict[int, tuple[BeamCtc, Shown]] = {}

    def answers(self, request: Request) -> list[Answer | Exception]:
        """Do what is asked for; where that fails the answer is why."""
        for number in request.dropped:
            self._hotwords.pop(number, None)
            self._beams.pop(number, None)
        self._hotwords.update(request.hotwords)
        found: list[Answer | Exception] = []
        at = 0
        for asked in request.asked:
            before, at = at, at + (asked.frames or 0)
            try:
                found.append(self._answer(asked, request.log_probs[before:at]))
            except Exception as error:  # noqa: BLE001 -- whoever asked raises it
                found.append(error)
        return found

    def _answer(self, asked: Asked, log_probs: npt.NDArray[np.float32]) -> Answer:
        beam, before = self._beams[asked.number] if asked.new is None else self._new(asked.new)
        if asked.frames is None:
            beam.finish()
        else:
            beam.push_log_probs(log_probs)
        now = Shown(beam.text, beam.tokens, beam.words, beam.stable, beam.blank_frames)
        self._beams[asked.number] = beam, now
        text, tokens, words = (_change(*pair) for pair in zip(before[:3], now[:3], strict=True))
        return Answer(text, tokens, words, now.stable, now.blank_frames)

    def _new(self, new: Beginning | int) -> tuple[BeamCtc, Shown]:
        if isinstance(new, int):
            beam, shown = self._beams[new]
            return beam.copy(), shown
        hotwords = None if new.hotwords is None else self._hotwords[new.hotwords]
        return self._maker.new_beam(new.start_s, hotwords), Shown()


def main(descriptor: int, parent: int) -> None:
    """Answer requests from a connection until it is closed, or the parent process has ended.

    Standard input has the pickled DecoderMaker. The first message out is None, or the InputError of what cannot be opened.
    """
    with Connection(descriptor) as connection, suppress(EOFError, OSError):
        try:
            searches = Searches(pickle.load(sys.stdin.buffer))  # noqa: S301 -- the parent's
        except InputError as error:
            send(connection, error)
            return
        send(connection, None)
        while True:
            send(connection, searches.answers(received(connection, lambda: os.getppid() == parent)))


def send(connection: Connection, message: object) -> None:
    """Send a message. Raises OSError where nobody takes it."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def received(connection: Connection, is_there: Callable[[], bool], within_s: float = math.inf) -> Any:  # noqa: ANN401 -- the sender's
    """Wait for a message and return it.

    Raises EOFError or OSError where none comes any more, as who sends them is not there: TimeoutError where it is, but sends none in time.
    """
    end_s = time.monotonic() + within_s
    while not connection.poll(LOOK_S):
        if not is_there():
            raise EOFError
        if time.monotonic() > end_s:
            raise TimeoutError
    return pickle.loads(connection.recv_bytes())  # noqa: S301 -- a process's of our own


def _change(before: Sequence[Any], now: Sequence[Any]) -> tuple[int, Any]:
    """How much two sequences begin with, and the rest of the second."""
    kept = len(before) if now[: len(before)] == before else common_prefix(before, now)
    return kept, now[kept:]
