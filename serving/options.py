"""What a client may ask of its stream, as JSON: the same keys on every server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, with_config
from pydantic_core import ErrorDetails

from runtime.early import Early
from runtime.endpoint import EndpointRules
from runtime.errors import InputError
from runtime.recognizer import Recognizer
from runtime.stream import Stream

MOST_HOTWORDS = Field(max_length=1_000)
"""What decoding is measured with."""
Hotword = Annotated[str, Field(max_length=200)]
Hotwords = Annotated[list[Hotword], MOST_HOTWORDS] | Annotated[dict[Hotword, float], MOST_HOTWORDS]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Rules(EndpointRules):
    """Those that are named; the others as they are by default."""


class Options(BaseModel):
    """How a stream hears. Refused: keys that are not here, and values that cannot be."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    endpoints: bool | Rules = False
    """Whether the server ends utterances, and by which rules; else the client does."""
    hotwords: Hotwords = []
    """See Recognizer.stream."""
    early: Early | None = None
    """See Recognizer.stream."""
    language: Annotated[str, Field(max_length=35)] | None = None
    """See Recognizer.stream."""
    language_model: bool = True
    """See Recognizer.stream."""

    @property
    def rules(self) -> EndpointRules | None:
        """The rules by which the server ends utterances, if it does."""
        return (EndpointRules() if self.endpoints else None) if isinstance(self.endpoints, bool) else self.endpoints

    def open(self, recognizer: Recognizer) -> Stream:
        """Return a new stream that hears so. Raises as Recognizer.stream does."""
        return recognizer.stream(
            self.rules,
            hotwords=self.hotwords,
            early=self.early,
            language=self.language,
            language_model=self.language_model,
        )


def read_options(value: Mapping[str, Any]) -> Options:
    """Return the options that a client sent. Raises InputError, in one line, for what they cannot be."""
    try:
        return Options.model_validate(value)
    except ValidationError as error:
        found = meant(error)
        place = ".".join(str(part) for part in found["loc"])
        raise InputError(
            f"expected a stream's options, found at {place}: {found['msg']}; see docs/serving.md"
        ) from error


def meant(error: ValidationError) -> ErrorDetails:
    """Return what is wrong with the one of a union's kinds that was meant: the furthest that any came, and not its type alone."""
    return max(error.errors(), key=lambda found: (len(found["loc"]), not found["type"].endswith("_type")))
