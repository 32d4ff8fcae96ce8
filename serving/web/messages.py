"""What a client may send, and how its session is set: the transcription part of OpenAI's Realtime protocol, as it is in November 2026.

Beyond it: audio at 16 kHz, `keywords` with weights, `include` of partials, and `agent_audio`, by which a client says that its agent speaks.
"""

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from runtime.early import Early
from runtime.vad import THRESHOLD
from serving.options import Hotwords, Options, Rules, meant
from serving.web.sound import SoundFormat

EARLY: dict[str, Early] = {"minimal": "eager", "low": "steady", "medium": "off", "high": "off", "xhigh": "off"}
"""What a delay asks for."""
PARTIALS = "item.input_audio_transcription.partial"
LOGPROBS = "item.input_audio_transcription.logprobs"


SAID = {
    "extra_forbidden": "expected nothing that this server has not",
    "missing": "expected it to be there",
    "model_type": "expected an object",
    "union_tag_not_found": "expected an object with its type",
}
"""Of these kinds of error pydantic's words say less."""
WHOLE = ("format", "turn_detection", "keywords")
"""Settings of which a client changes no part."""


class RequestError(Exception):
    """A client's message is not what is expected, in one line; the session goes on."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(" ".join(message.split()))  # what a client sent may hold line breaks
        self.code, self.param = code, param


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _or(default: object) -> BeforeValidator:
    """What null stands for."""
    return BeforeValidator(lambda value: default if value is None else value)


class TurnDetection(_Strict):
    """The server ends utterances."""

    type: Literal["server_vad"]
    silence_duration_ms: Annotated[int, Field(gt=0, le=10_000), _or(500)] = 500
    threshold: Annotated[float, Field(ge=THRESHOLD, le=THRESHOLD)] = THRESHOLD
    """The detector's; it knows no other."""
    prefix_padding_ms: int | None = None
    """Nothing: no audio is cut off before speech."""
    create_response: bool | None = None
    """Nothing, as the next: there are no responses."""
    interrupt_response: bool | None = None
    idle_timeout_ms: None = None


class Transcription(_Strict):
    """How it is recognised."""

    model: str | None = None
    """Any: the server has one."""
    language: str | None = None
    keywords: Hotwords = []
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    """Whether words are shown before their look-ahead came: all, those that are likely to stay, or none; None is the server's choice."""
    prompt: Literal[""] | None = None
    language_model: bool = True


class Input(_Strict):
    """The client's audio."""

    format: SoundFormat = SoundFormat()
    transcription: Annotated[Transcription, _or(Transcription())] = Transcription()
    noise_reduction: Annotated[None, BeforeValidator(lambda _: None)] = None
    """None, whatever is asked for: the session says so."""
    turn_detection: TurnDetection | None = TurnDetection(type="server_vad")


class Audio(_Strict):
    """What there is of audio."""

    input: Input = Input()


class Settings(_Strict):
    """A session's, whole."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()
    include: Annotated[
        list[Literal["item.input_audio_transcription.partial", "item.input_audio_transcription.logprobs"]], _or([])
    ] = []

    @property
    def options(self) -> Options:
        """How the stream hears."""
        turns, transcription = self.audio.input.turn_detection, self.audio.input.transcription
        return Options(
            endpoints=Rules(min_silence_ms=turns.silence_duration_ms, tell_voice=True) if turns else False,
            hotwords=transcription.keywords,
            early=EARLY[transcription.delay] if transcription.delay else None,
            language=transcription.language,
            language_model=transcription.language_model,
        )

    def updated(self, change: dict[str, Any]) -> "Settings":
        """Return these with what a client changes. Raises RequestError for what cannot be."""
        try:
            return Settings.model_validate(_merged(self.model_dump(), change))
        except ValidationError as error:
            raise _request_error(error, "session.") from error


class SessionUpdate(_Strict):
    """Change what is named."""

    type: Literal["session.update"]
    session: dict[str, Any]
    event_id: str | None = None


class Append(_Strict):
    """Audio."""

    type: Literal["input_audio_buffer.append"]
    audio: str
    event_id: str | None = None


class Commit(_Strict):
    """End the utterance."""

    type: Literal["input_audio_buffer.commit"]
    event_id: str | None = None


class Clear(_Strict):
    """Forget the utterance."""

    type: Literal["input_audio_buffer.clear"]
    event_id: str | None = None


class AgentAppend(_Strict):
    """The client's agent speaks, or goes on: `audio`, in the format of the input, is what it plays next, the echo's reference."""

    type: Literal["agent_audio.append"]
    audio: str = ""
    event_id: str | None = None


class AgentStop(_Strict):
    """The agent was heard to the end, or was stopped."""

    type: Literal["agent_audio.stop"]
    event_id: str | None = None


Message = SessionUpdate | Append | Commit | Clear | AgentAppend | AgentStop
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def read_message(text: str) -> Message:
    """Return a client's message. Raises RequestError for what is none."""
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as error:
        raise _request_error(error, "") from error


def event_id_of(text: str) -> str | None:
    """Return the id that a client gave to a message, of one that is no message too, where it can be read."""
    try:
        found = from_json(text)  # other than json's it finds no half of a surrogate pair, which could not be sent back
    except ValueError:
        return None
    event_id = found.get("event_id") if isinstance(found, dict) else None
    return event_id if isinstance(event_id, str) else None


def audio_bytes(audio: str) -> bytes:
    """Return what is written in base64. Raises RequestError for what is not."""
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError as error:
        raise RequestError(f"expected audio in base64, found what is not: {error}", param="audio") from error


def _merged(settings: Any, change: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """The settings with the values that are named; a format, turns or keywords are named as a whole."""
    merged = dict(settings)
    for name, value in change.items():
        before = settings.get(name)
        whole = not (isinstance(before, dict) and isinstance(value, dict)) or name in WHOLE
        merged[name] = value if whole else _merged(before, value)
    return merged


def _request_error(error: ValidationError, prefix: str) -> RequestError:
    found = meant(error)
    kinds = [kind for kind in found["loc"] if "." not in str(kind) or "item." in str(kind)]
    place = (prefix + ".".join(str(part) for part in kinds))[:100]
    if found["type"] == "union_tag_invalid":
        return RequestError(
            f"expected type out of {found['ctx']['expected_tags']}, found {found['ctx']['tag']!r:.80}", param="type"
        )
    said = SAID.get(found["type"], found["msg"].removeprefix("Value error, ").replace("Input should be", "expected"))
    if found["type"] != "missing" and "found" not in said:
        said = f"{said}, found {found['input']!r:.80}"
    code = "missing_required_parameter" if found["type"] == "missing" else "invalid_value"
    code = "unknown_parameter" if found["type"] in ("extra_forbidden", "unexpected_keyword_argument") else code
    return RequestError(f"{place or 'message'}: {said}"[:300], code, place or None)
