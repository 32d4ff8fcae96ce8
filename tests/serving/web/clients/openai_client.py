"""A program of the openai package, which knows nothing of this project: audio by its realtime client, each event as a line of JSON.

Run by the interpreter of build/venv-*-clients.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import typing
import wave
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


async def talk(connection: AsyncRealtimeConnection, args: argparse.Namespace) -> None:
    audio_format, data, a_second = {"type": args.format}, Path(args.file).read_bytes(), 8_000
    if args.format == "audio/pcm":
        with wave.open(args.file) as file:
            audio_format["rate"], data = file.getframerate(), file.readframes(file.getnframes())
        a_second = 2 * audio_format["rate"]
    audio_input = {"format": audio_format, **json.loads(args.input)}
    piece = int(PIECE_S * a_second)
    for number, at in enumerate(range(0, len(data), piece)):
        if number == args.early:
            await connection.session.update(
                session={"type": "transcription", "audio": {"input": audio_input}}, event_id="mine"
            )
        await connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + piece]).decode())
    if args.commit:
        await connection.input_audio_buffer.commit()


async def main(args: argparse.Namespace) -> None:
    client = AsyncOpenAI(api_key=os.environ["OPENAI_API_KEY"], base_url=args.url)
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        talking = asyncio.create_task(talk(connection, args))
        ends = args.until
        while ends:
            raw = await connection.recv_bytes()
            event = connection.parse_event(raw)
            if event.type.endswith(ends[0]):
                ends = ends[1:]
            print(
                json.dumps({"class": type(event).__name__, "wrong": wrong(raw, event), **json.loads(raw)}), flush=True
            )
        await talking


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="such as http://127.0.0.1:8300/v1; its token is in OPENAI_API_KEY")
    parser.add_argument("file", help="a WAV of 16 bits, mono, or the bytes of G.711")
    parser.add_argument("until", nargs="+", help="how the types end of the events to wait for, one after the other")
    parser.add_argument("--format", default="audio/pcm", help="audio/pcm, audio/pcmu or audio/pcma")
    parser.add_argument("--input", default="{}", help="what else is set of the audio's input, in JSON")
    parser.add_argument("--early", type=int, default=0, help="tenths of a second of audio that go before it is set")
    parser.add_argument("--commit", action="store_true", help="after the audio")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        asyncio.run(main(parse_args()))
    except Exception as error:  # noqa: BLE001 -- what the package raises is what is asked for
        print(json.dumps({"raised": f"{type(error).__module__}.{type(error).__name__}", "message": str(error)}))
        sys.exit(1)
