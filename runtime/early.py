"""Early tokens: what a chunk says before its look-ahead has arrived, and which of that is shown."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .backends.base import StepResult
from .bundle import Bundle
from .errors import InputError

Early = Literal["off", "steady", "eager"]
"""Show no early tokens; those of an utterance's first text that are likely to stay; or all, which flicker."""
DEFAULT: Early = "steady"


@dataclass(frozen=True)
class EarlyRules:
    """When early tokens are shown. Chosen on calibration speech, see docs/streaming.md."""

    log_prob: float
    """Of each of them, at least."""
    first_only: bool
    """Only while the utterance has no text: later ones save as much time, and are taken back more often than anyone likes to see."""
    every_ms: int
    """Audio from one early step to the next, at least."""


RULES: dict[str, EarlyRules | None] = {
    "off": None,
    "steady": EarlyRules(log_prob=math.log(0.85), first_only=True, every_ms=60),
    "eager": EarlyRules(log_prob=-math.inf, first_only=False, every_ms=40),
}
BUSY = 0.9
"""A caller whose pushes take more than this share of the audio's time has more of it waiting."""


class EarlyTokens:
    """The early steps of a stream."""

    def __init__(self, rules: EarlyRules, bundle: Bundle) -> None:
        self._rules, self._blank = rules, bundle.blank
        self._every = rules.every_ms * bundle.sample_rate // 1000
        self.begin_chunk(0)

    def begin_chunk(self, received: int) -> None:
        """A step was taken, or an utterance begins: `received` samples of it are there."""
        self._last = received

    def needed(self, received: int, text: str) -> float:
        """Return how many samples must come before `is_due` may say yes."""
        return math.inf if text and self._rules.first_only else self._every - (received - self._last)

    def is_due(self, received: int, text: str) -> bool:
        """Whether an early step is worth its time, and is then taken: `received` samples of the utterance, its text so far."""
        if self.needed(received, text) > 0:
            return False
        self._last = received
        return True

    def shown(self, result: StepResult, frames: int) -> int:
        """Return how many of an early step's first `frames` frames are shown: up to the last one with a token, where all keep the rules."""
        shown = 0
        for frame in range(frames):
            tokens, log_prob = self._best(result, frame)
            if tokens and log_prob < self._rules.log_prob:
                break
            shown = frame + 1 if tokens else shown
        return shown

    def _best(self, result: StepResult, frame: int) -> tuple[list[int], float]:
        """The frame's tokens without blanks, and the lowest of their log-probabilities."""
        if result.symbols is not None and result.symbol_log_probs is not None:
            tokens, log_probs = result.symbols[frame], result.symbol_log_probs[frame]
        elif result.log_probs is not None:
            tokens = result.log_probs[frame].argmax(keepdims=True)
            log_probs = result.log_probs[frame][tokens]
        else:
            raise ValueError("expected a backend that was opened for a decoder, found a step without tokens")
        are_tokens = tokens != self._blank
        return tokens[are_tokens].tolist(), float(np.min(log_probs[are_tokens], initial=0.0))


def early_tokens(early: Early | None, bundle: Bundle, *, can_peek: bool) -> EarlyTokens | None:
    """Return what a stream of the bundle keeps of a choice, None being the default where the backend can; None for off.

    Raises InputError for no such choice, and where the backend cannot.
    """
    chosen = early if early is not None else DEFAULT if can_peek else "off"
    if chosen not in get_args(Early):
        raise InputError(f"expected early tokens {', '.join(get_args(Early))}, found {early!r}; steady is usual")
    rules = RULES[chosen]
    if rules and not can_peek:
        raise InputError(f"expected early tokens off with a server that keeps the state, found {early}; leave them off")
    return EarlyTokens(rules, bundle) if rules else None
