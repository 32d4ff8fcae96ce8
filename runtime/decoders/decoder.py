"""What every decoder offers: a step's frames in, the utterance's text, tokens and words out, state carried across steps."""

from dataclasses import replace
from typing import NamedTuple, Protocol

from ..backends.base import StepResult
from ..words import Word


class Decoder(Protocol):
    """Decodes one utterance; a new one is made for the next."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the utterance so far."""

    @property
    def text(self) -> str:
        """Text of the utterance so far."""

    @property
    def words(self) -> tuple[Word, ...]:
        """The text's words."""

    @property
    def stable(self) -> int:
        """How many of the words, from the first on, are as they will be in the final."""

    @property
    def blank_frames(self) -> int:
        """Frames since the last one that bore a token; all of them where none did."""

    def push(self, result: StepResult, frames: int) -> bool:
        """Take a step's first `frames` frames; return whether the text changed."""

    def finish(self) -> None:
        """The utterance is over: settle what was open. Nothing is pushed after it."""

    def copy(self) -> "Decoder":
        """One that decodes on apart from this."""


class Search(NamedTuple):
    """What a decoder is to take."""

    decoder: Decoder
    result: StepResult | None = None
    """None: the utterance is over."""
    frames: int = 0

    def run(self) -> bool:
        """Let the decoder take it; return whether the text changed."""
        if self.result is not None:
            return self.decoder.push(self.result, self.frames)
        before = self.decoder.text
        self.decoder.finish()
        return self.decoder.text != before

    def kept(self) -> "Search":
        """The same, of log-probabilities that the next step leaves as they are."""
        if self.result is None or self.result.log_probs is None:
            return self
        return self._replace(result=replace(self.result, log_probs=self.result.log_probs[: self.frames].copy()))
