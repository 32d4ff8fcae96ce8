"""Early tokens: what a chunk says before its look-ahead has arrived, and how much of that is shown."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .backends.base import StepResult
from .bundle import Bundle
from .errors import InputError

Early = Literal["off", "steady", "eager"]
"""Show no early tokens, those that are likely to stay, or all."""


@dataclass(frozen=True)
class EarlyRules:
    """When a token that a step found early is shown. Chosen on calibration speech (docs/streaming.md)."""

    log_prob: float
    """It has at least this log-probability,"""
    times: int
    """in so many early steps one after another."""
    every_ms: int = 40
    """Audio from one early step to the next, at least."""


RULES: dict[Early, EarlyRules] = {
    "steady": EarlyRules(log_prob=math.log(0.8), times=2),
    "eager": EarlyRules(log_prob=-math.inf, times=1),
}
DEFAULT: Early = "off"
BUSY = 0.9
"""A caller that gives the next audio before this share of the last one's length has passed has more of it waiting."""


class EarlyTokens:
    """The early steps of a stream's chunks."""

    def __init__(self, rules: EarlyRules, bundle: Bundle) -> None:
        self._rules, self._blank = rules, bundle.blank
        self._every = rules.every_ms * bundle.sample_rate // 1000
        self.begin_chunk(0)

    def begin_chunk(self, received: int) -> None:
        """A step was taken, or an utterance begins: `received` samples of it are there."""
        self._last = received
        self._seen: list[tuple[tuple[int, ...], int]] = []  # by frame: its tokens, and in how many steps in a row

    def is_due(self, received: int) -> bool:
        """Whether enough audio came for another early step, which is then taken for granted."""
        if received - self._last < self._every:
            return False
        self._last = received
        return True

    def shown(self, result: StepResult, frames: int) -> int:
        """Take an early step's first `frames` frames; return how many of them are shown.

        These are all up to the last one that has a token, where every token among them keeps the rules.
        """
        before, self._seen, shown, steady = self._seen, [], 0, True
        for frame in range(frames):
            tokens, log_prob = self._best(result, frame)
            times = 0
            if log_prob >= self._rules.log_prob:
                times = 1 + (before[frame][1] if before[frame : frame + 1] and before[frame][0] == tokens else 0)
            self._seen.append((tokens, times))
            steady = steady and (not tokens or times >= self._rules.times)
            if steady and tokens:
                shown = frame + 1
        return shown

    def _best(self, result: StepResult, frame: int) -> tuple[tuple[int, ...], float]:
        """The frame's tokens without blanks, and the lowest of their log-probabilities."""
        if result.symbols is not None and result.symbol_log_probs is not None:
            tokens = result.symbols[frame]
            log_probs = result.symbol_log_probs[frame][tokens != self._blank]
        elif result.log_probs is not None:
            tokens = result.log_probs[frame].argmax(keepdims=True)
            log_probs = result.log_probs[frame][tokens]
        else:
            raise ValueError("expected a backend that was opened for a decoder, found a step without tokens")
        log_prob = np.min(log_probs, initial=0.0)
        return tuple(token for token in tokens.tolist() if token != self._blank), float(log_prob)


def early_tokens(early: str, bundle: Bundle) -> EarlyTokens | None:
    """What a stream of the bundle keeps of a choice; None for off. Raises InputError for no such choice."""
    if early not in get_args(Early):
        raise InputError(f"expected early tokens {', '.join(get_args(Early))}, found {early!r}; steady is usual")
    return next((EarlyTokens(rules, bundle) for name, rules in RULES.items() if name == early), None)
