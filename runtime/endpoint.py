"""Endpoints: when an utterance is over, from voice activity and from the decoder's silence together."""

from dataclasses import dataclass, fields
from numbers import Integral
from typing import Literal

from .errors import InputError
from .vad import THRESHOLD, WINDOW_MS, WINDOW_SAMPLES

EndedBy = Literal["caller", "silence", "length", "no speech"]
"""The caller (push-to-talk), silence after speech, the longest utterance allowed, or silence where speech was awaited."""

ONSET_WINDOWS = 3  # voiced in a row, so that a click is no speech


@dataclass(frozen=True)
class EndpointRules:
    """When an utterance ends. Decisions fall on windows of 32 ms. Raises InputError for a rule that is not positive.

    The defaults are measured (`python -m bench endpoint`): on the evaluation speech no shorter silence that tokens confirm cuts as
    few speakers short as 500 ms do, since greedy CTC is as silent in a pause as at an end.
    """

    min_silence_ms: int = 500
    """Without a voiced window after speech, where the decoder has been silent as well."""
    min_tokenless_ms: int = 240
    """Since the decoder's last token, audio not decoded yet included: a speaker that the detector misses is not cut short."""
    alone_ms: int = 1200
    """The same silence, of voices or of tokens, where the other goes on: a noise, or a detector or decoder that is fooled by one."""
    max_utterance_ms: int = 20_000
    """From the utterance's start; then it ends within speech."""
    max_leading_silence_ms: int = 5_000
    """From the utterance's start, without speech; then it ends with an empty final, so that state never grows old."""
    tell_voice: bool = False
    """Whether a partial without text comes where a voice is heard before a word is known, so that an agent can fall silent at once."""

    def __post_init__(self) -> None:
        for rule in fields(self):
            value = getattr(self, rule.name)
            if rule.name.endswith("_ms") and (isinstance(value, bool) or not isinstance(value, Integral) or value <= 0):
                raise InputError(
                    f"expected {rule.name} in whole ms above 0, found {value!r}; the default is {rule.default}"
                )


class Endpointer:
    """The rules applied to one utterance, window by window."""

    def __init__(self, rules: EndpointRules) -> None:
        self._rules = rules
        self.reset()

    def reset(self) -> None:
        """The next utterance begins."""
        self._windows = 0
        self._voiced = 0  # windows in a row, up to now
        self._unvoiced = 0
        self._heard = False
        self.tells_voice = False
        """Whether the last window is the one by which a voice became known, and that is to be told."""

    def push(self, probability: float, tokenless_samples: int, has_tokens: bool) -> EndedBy | None:
        """Take a window's speech probability and what the decoder knows at its end; return by what the utterance ends here.

        `tokenless_samples`: since the end of the last frame that bore a token, or since the utterance's start.
        """
        rules = self._rules
        voiced = probability >= THRESHOLD
        self._windows += 1
        self._voiced, self._unvoiced = (self._voiced + 1, 0) if voiced else (0, self._unvoiced + 1)
        voice = self._voiced >= ONSET_WINDOWS
        self.tells_voice = voice and not self._heard and rules.tell_voice
        self._heard = self._heard or has_tokens or voice
        silence_ms, tokenless_ms = self._unvoiced * WINDOW_MS, tokenless_samples / WINDOW_SAMPLES * WINDOW_MS
        agreed = silence_ms >= rules.min_silence_ms and tokenless_ms >= rules.min_tokenless_ms
        alone = silence_ms >= rules.alone_ms or (has_tokens and tokenless_ms >= rules.alone_ms)
        if self._heard and (agreed or alone):
            return "silence"
        if not self._heard and self._windows * WINDOW_MS >= rules.max_leading_silence_ms:
            return "no speech"
        return "length" if self._windows * WINDOW_MS >= rules.max_utterance_ms else None
