"""A program of pipecat, which knows nothing of this project: a WAV by its speech service, what comes of it as lines of JSON.

Each line that it reads is a `Conversation` in JSON, whose last line is null. The WAV is what a microphone hears: after it silence, and it
again for each empty line read. Run by the interpreter of build/venv-*-clients.
"""

import asyncio
import json
import os
import sys
import wave
from dataclasses import dataclass

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.workers.runner import WorkerRunner

PIECE_S = 0.02
TOLD = (
    InterimTranscriptionFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)


@dataclass
class Conversation:
    """What is said to whom."""

    url: str
    """Such as ws://127.0.0.1:8300/v1/realtime; its token is in OPENAI_API_KEY."""
    wav: str
    """16 bits, mono."""
    turns: str
    """Who hears where they end: `server` or `local`."""
    transcriptions: int
    """To wait for."""
    speed: float
    """Audio's time over time."""


def tell(kind: str, text: str | None = None) -> None:
    print(json.dumps({"kind": kind, "text": text}), flush=True)


class Teller(FrameProcessor):
    """Tells the frames that come by."""

    def __init__(self, transcriptions: int) -> None:
        super().__init__()
        self._left = transcriptions
        self.has_heard_all = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TOLD):
            tell(type(frame).__name__, getattr(frame, "text", None))
        if isinstance(frame, TranscriptionFrame):
            self._left -= 1
            if not self._left:
                self.has_heard_all.set()
        await self.push_frame(frame, direction)


async def play(worker: PipelineWorker, rate: int, pcm: bytes, speed: float) -> None:
    """Play the WAV as a microphone would, for ever."""
    again, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: again.set() if sys.stdin.readline() else loop.remove_reader(sys.stdin))
    piece, left = 2 * int(PIECE_S * rate), pcm
    while True:
        if again.is_set():
            again.clear()
            left = pcm
        audio, left = left[:piece].ljust(piece, b"\0"), left[piece:]
        await worker.queue_frame(InputAudioRawFrame(audio=audio, sample_rate=rate, num_channels=1))
        await asyncio.sleep(PIECE_S / speed)


async def main(said: Conversation) -> None:
    with wave.open(said.wav) as file:
        rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    is_local = said.turns == "local"
    service = OpenAIRealtimeSTTService(
        api_key=os.environ["OPENAI_API_KEY"],
        base_url=said.url,
        turn_detection=False if is_local else {"type": "server_vad"},
    )
    service.add_event_handler("on_connected", lambda _: tell("connected"))
    teller = Teller(said.transcriptions)
    detectors = [VADProcessor(vad_analyzer=SileroVADAnalyzer())] if is_local else []
    worker = PipelineWorker(
        Pipeline([*detectors, service, teller]), params=PipelineParams(audio_in_sample_rate=rate), enable_rtvi=False
    )
    worker.set_reached_upstream_filter((ErrorFrame,))
    worker.add_event_handler("on_frame_reached_upstream", lambda _, frame: tell("ErrorFrame", frame.error))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    playing = asyncio.create_task(play(worker, rate, pcm, said.speed))
    await teller.has_heard_all.wait()
    playing.cancel()
    await worker.cancel()
    await running


if __name__ == "__main__":
    logger.remove()
    while line := sys.stdin.readline():
        asyncio.run(main(Conversation(**json.loads(line))))
        print("null", flush=True)
