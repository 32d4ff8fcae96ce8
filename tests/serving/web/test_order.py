"""Messages at moments that a client cannot choose well: each utterance keeps its text, and none is lost."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest

from runtime import CudaError, Recognizer
from runtime.backends import Step
from runtime.backends.slots import Rows
from runtime.bundle import read_bundle
from serving.web.items import Message
from serving.web.metrics import Metrics
from serving.web.session import Host, Session
from tests.runtime.cheap import Cheap
from tests.serving.web.served import MANUAL, SILENCE, TIMEOUT_S, Client, served, session


def said(recognizer: Recognizer, samples: np.ndarray) -> str:
    stream = recognizer.stream(early="off")
    stream.push(samples)
    return stream.end_utterance().text


def agent_speaks(client: Client, audio: bytes = b"") -> None:
    client.ask("agent_audio.append", audio=base64.b64encode(audio).decode())


def to_the_last(client: Client) -> list[Message]:
    """What comes up to the answer to a message that is none."""
    client.ask("last")
    return client.until("error")[:-1]


def transcripts(messages: list[Message]) -> list[str]:
    """Texts in the order in which the client was told of their utterances, each of which is told to be done once."""
    committed = [message["item_id"] for message in messages if message["type"].endswith("committed")]
    done = [message for message in messages if message["type"].endswith(("completed", "failed"))]
    texts = {message["item_id"]: message.get("transcript", "failed") for message in done}
    assert sorted(committed) == sorted(message["item_id"] for message in done)
    return [texts[item] for item in committed]


def test_ends_of_both_at_once(port: int, recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    first, second = np.concatenate([SILENCE[:4000], clips[0], SILENCE[:9000]]), clips[1]
    with session(port) as client:
        for samples in (first, second):  # the server ends the first before the client's commit is heard
            client.speak(samples, (len(samples),))
            client.ask("input_audio_buffer.commit")
        messages = [*client.until("completed"), *client.until("completed"), *to_the_last(client)]
    texts = transcripts(messages)
    assert texts[1] == said(recognizer, second)
    assert set(texts[0].split()) & set(said(recognizer, clips[0]).split())
    assert len(texts) == 2


@pytest.mark.parametrize("audio_input", [{}, MANUAL])
def test_said_just_before_the_agent_speaks(
    port: int, recognizer: Recognizer, clips: list[np.ndarray], audio_input: Message
) -> None:
    with session(port, audio_input) as client:
        client.speak(clips[0][:20_000])
        agent_speaks(client)
        assert client.until("completed")[-1]["transcript"] == said(recognizer, clips[0][:20_000])
        client.ask("agent_audio.stop")
        client.speak(SILENCE)
        agent_speaks(client)  # where nobody said a word there is nothing to tell
        assert [message for message in to_the_last(client) if "item_id" in message] == []


def test_the_agent_speaks_first(port: int, recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    with session(port, MANUAL) as client:
        agent_speaks(client, SILENCE.tobytes())
        changed = client.set({"turn_detection": {"type": "server_vad"}})
        assert (
            "expected turns, delay, format and language model to be set before the first audio"
            in changed["error"]["message"]
        )
        agent_speaks(client, b"\0")
        assert "expected whole samples" in client.next()["error"]["message"]
        client.ask("agent_audio.stop")
        client.speak(np.concatenate([SILENCE, clips[2]]))
        client.ask("input_audio_buffer.commit")
        assert set(client.until("completed")[-1]["transcript"].split()) & set(said(recognizer, clips[2]).split())


def test_the_agents_audio_that_was_on_its_way(port: int, clips: list[np.ndarray]) -> None:
    with session(port) as client:
        agent_speaks(client)
        client.speak(np.concatenate([SILENCE, clips[2][:16_000]]))
        assert client.until("speech_started")[-1]["barge_in"] is True
        agent_speaks(client, SILENCE.tobytes())
        client.speak(np.concatenate([clips[2][16_000:], SILENCE]))
        text = client.until("completed")[-1]["transcript"]
    assert len(set(text.split()) & {"like", "table", "four", "people", "river"}) >= 4


def test_more_of_the_agents_audio_than_is_ever_heard(port: int) -> None:
    with session(port, {"format": {"type": "audio/pcmu"}}) as client:
        for _ in range(5):
            agent_speaks(client, bytes(70 * 8_000))
        assert "expected at most 300 s of an agent's audio" in client.next()["error"]["message"]
        assert to_the_last(client) == []


class Failing(Cheap):
    """Fails in its second run, once the others wait."""

    runs = 0

    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, np.ndarray]:
        self.runs += 1
        if self.runs == 2:
            time.sleep(0.3)
            raise CudaError("cudaGraphLaunch: cudaErrorUnknown, unknown error")
        return super().run_rows(steps, rows)


@pytest.mark.parametrize("length", [8_000, 2_400])
def test_an_utterance_that_fails_among_others(bundle: Path, clips: list[np.ndarray], length: int) -> None:
    pieces = [clips[0][number * length : (number + 1) * length] for number in range(4)]
    with Recognizer(bundle, backend=Failing(read_bundle(bundle), 2), lm=None) as recognizer:
        with served(recognizer) as port, session(port, MANUAL) as client:
            for piece in pieces:
                client.speak(piece, (length,))
                client.ask("input_audio_buffer.commit")
            found = [client.until("completed", "failed")[-1] for _ in pieces]
            messages = client.heard + to_the_last(client)
        texts = [said(recognizer, piece) for piece in pieces]
    failed = [number for number, message in enumerate(found) if message["type"].endswith("failed")]
    assert failed in ([0], [1])
    told = transcripts(messages)
    assert [text for number, text in enumerate(told[:4]) if number not in failed] == [
        text for number, text in enumerate(texts) if number not in failed
    ]


def test_a_clear_while_a_final_is_sent(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    kinds: list[str] = []

    async def talk() -> None:
        stopped, may_go_on = asyncio.Event(), asyncio.Event()

        async def send(message: Message) -> None:
            kinds.append(message["type"].rpartition(".")[2])
            if kinds[-1] == "speech_stopped":
                stopped.set()
                await may_go_on.wait()  # the client reads slowly

        with ThreadPoolExecutor() as threads:
            client = Session(Host(recognizer, threads, Metrics(lambda: 0, 1, lambda: 0.0, None), WeakSet()), send)
            await client.begin()
            telling = asyncio.create_task(client.tell())
            await client.take(json.dumps({"type": "session.update", "session": {}}))
            for piece in np.array_split(np.concatenate([clips[0], SILENCE]).repeat(3)[::2], 20):
                await client.take(piece.tobytes())
            await asyncio.wait_for(stopped.wait(), TIMEOUT_S)
            clearing = asyncio.create_task(client.take(json.dumps({"type": "input_audio_buffer.clear"})))
            await asyncio.sleep(0.2)
            may_go_on.set()
            await asyncio.wait_for(clearing, TIMEOUT_S)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            assert telling.cancelled()
            await client.close()

    asyncio.run(talk())
    after = [kind for kind in kinds[kinds.index("speech_stopped") :] if kind != "delta"]
    assert after == ["speech_stopped", "committed", "added", "done", "completed", "cleared"]
