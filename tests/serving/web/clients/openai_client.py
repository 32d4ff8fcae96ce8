"""A program of the openai package, which knows nothing of this project: audio by its realtime client, each event as a line of JSON.

Each line that it reads is a `Conversation` in JSON, whose last line is null. Run by the interpreter of build/venv-*-clients.
"""

import asyncio
import base64
import json
import sys
import typing
import wave
from dataclasses import dataclass, field
from pathlib import Path

import pydantic
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent

CLASSES = {
    typing.get_args(each.model_fields["type"].annotation): each
    for each in typing.get_args(typing.get_args(RealtimeServerEvent)[0])
}
"""The package's class of each type of event."""
PIECE_S = 0.1


@dataclass
class Conversation:
    """What is said to whom."""

    url: str
    """Such as http://127.0.0.1:8300/v1."""
    token: str
    file: str
    """A WAV of 16 bits, mono, or the bytes of G.711."""
    until: list[str]
    """How the types end of the events to wait for, one after the other."""
    kind: str = "audio/pcm"
    """Or audio/pcmu or audio/pcma."""
    input: dict[str, typing.Any] = field(default_factory=dict)
    """What else is set of the audio's input."""
    early: int = 0
    """Tenths of a second of audio that go before it is set."""
    commit: bool = False
    """After the audio."""


def wrong(raw: bytes, event: object) -> str | None:
    """Why an event is not what the package says that its type is, in the words of its own class; None: it is."""
    expected = CLASSES[(json.loads(raw)["type"],)]
    if type(event) is not expected:
        return f"expected {expected.__name__}, found {type(event).__name__}"
    try:
        expected.model_validate_json(raw, strict=True)
    except pydantic.ValidationError as error:
        return str(error)
    return None


async def talk(connection: AsyncRealtimeConnection, said: Conversation) -> None:
    audio_format, data, a_second = {"type": said.kind}, Path(said.file).read_bytes(), 8_000
    if said.kind == "audio/pcm":
        with wave.open(said.file) as file:
            audio_format["rate"], data = file.getframerate(), file.readframes(file.getnframes())
        a_second = 2 * audio_format["rate"]
    audio_input = {"format": audio_format, **said.input}
    piece = int(PIECE_S * a_second)
    for number, at in enumerate(range(0, len(data), piece)):
        if number == said.early:
            await connection.session.update(
                session={"type": "transcription", "audio": {"input": audio_input}}, event_id="mine"
            )
        await connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + piece]).decode())
    if said.commit:
        await connection.input_audio_buffer.commit()


async def main(said: Conversation) -> None:
    client = AsyncOpenAI(api_key=said.token, base_url=said.url)
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        talking = asyncio.create_task(talk(connection, said))
        ends = said.until
        while ends:
            raw = await connection.recv_bytes()
            event = connection.parse_event(raw)
            if event.type.endswith(ends[0]):
                ends = ends[1:]
            print(
                json.dumps({"class": type(event).__name__, "wrong": wrong(raw, event), **json.loads(raw)}), flush=True
            )
        await talking


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            asyncio.run(main(Conversation(**json.loads(line))))
        except Exception as error:  # noqa: BLE001 -- what the package raises is what is asked for
            print(json.dumps({"raised": f"{type(error).__module__}.{type(error).__name__}", "message": str(error)}))
        print("null", flush=True)
