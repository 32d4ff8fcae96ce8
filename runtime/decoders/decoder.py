"""What every decoder offers: the frames of a step's output in, the utterance's tokens and text out, state carried across steps."""

from typing import Any, Protocol

import numpy.typing as npt


class Decoder(Protocol):
    """Decodes one utterance; a new one is made for the next."""

    fed: str
    """The field of StepResult that `push` takes."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the utterance so far."""

    @property
    def text(self) -> str:
        """Text of the utterance so far."""

    @property
    def blank_frames(self) -> int:
        """Frames since the last one that bore a token; all of them where none did."""

    def push(self, frames: npt.NDArray[Any]) -> bool:
        """Take new frames [n, ...] of the field `fed`; return whether the text changed."""

    def finish(self) -> None:
        """The utterance is over: settle what was open. Nothing is pushed after it."""
