"""Sessions of a real server, by WebSocket, against the recogniser itself."""

import base64
import logging

import numpy as np
import pytest

from runtime import EndpointRules, Final, Recognizer
from runtime.stream import Stream
from serving.web.messages import LOGPROBS, PARTIALS
from tests.serving.web.served import MANUAL, SILENCE, Client, Message, session


@pytest.fixture(scope="module")
def talk(clips: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part for clip in clips for part in (SILENCE[:4000], clip, SILENCE)])


@pytest.fixture(scope="module")
def finals(recognizer: Recognizer, talk: np.ndarray) -> list[Final]:
    stream = recognizer.stream(EndpointRules(), early="off")
    return [event for event in [*stream.push(talk), stream.end_utterance()] if isinstance(event, Final) and event.text]


def kinds(messages: list[Message]) -> list[str]:
    return [message["type"].rpartition(".")[2] for message in messages]


@pytest.mark.parametrize("pieces", [(320,), (1, 700, 16_000), (5_000,)])
def test_utterances_that_the_server_ends(
    port: int, talk: np.ndarray, finals: list[Final], pieces: tuple[int, ...]
) -> None:
    with session(port) as client:
        client.speak(talk, pieces)
        utterances = [client.until("completed") for _ in finals]
    previous = None
    for messages, final in zip(utterances, finals, strict=True):
        *_, done = messages
        item = done["item_id"]
        assert done["transcript"] == final.text == "".join(said["delta"] for said in messages if "delta" in said)
        assert [word["text"] for word in done["words"]] == final.text.split()
        assert done["words"][0]["start_s"] == pytest.approx(final.words[0].start_s)
        assert done["usage"] == {"type": "duration", "seconds": final.audio_s}
        assert done["ended_by"] == "silence"
        told = [kind for kind in kinds(messages) if kind != "delta"]
        assert told == ["speech_started", "speech_stopped", "committed", "added", "done", "completed"]
        by_kind = {message["type"].rpartition(".")[2]: message for message in messages}
        assert {message.get("item_id", item) for message in messages} == {item}
        assert by_kind["speech_stopped"]["audio_end_ms"] == round(1e3 * (final.start_s + final.audio_s))
        assert abs(by_kind["speech_started"]["audio_start_ms"] - 1e3 * final.words[0].start_s) < 400
        assert by_kind["committed"]["previous_item_id"] == by_kind["added"]["previous_item_id"] == previous
        assert by_kind["added"]["item"]["id"] == item
        previous = item
    event_ids = [message["event_id"] for message in client.heard]
    assert len(set(event_ids)) == len(event_ids)


def test_utterances_that_the_client_ends(port: int, recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    with session(port, MANUAL) as client:
        for clip in clips:
            client.ask("input_audio_buffer.append", audio=base64.b64encode(clip.tobytes()).decode())
            client.ask("input_audio_buffer.commit")
        utterances = [client.until("completed") for _ in clips]
    for messages, clip in zip(utterances, clips, strict=True):
        stream = recognizer.stream(early="off")
        stream.push(clip)
        text = stream.end_utterance().text
        assert messages[-1]["transcript"] == text == "".join(said["delta"] for said in messages if "delta" in said)
        assert "speech_started" not in kinds(messages)
    committed = [message["item_id"] for message in client.heard if message["type"].endswith("committed")]
    assert committed == [messages[-1]["item_id"] for messages in utterances]


def test_what_is_cleared_is_forgotten(port: int, recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    with session(port, MANUAL) as client:
        client.speak(clips[0])
        client.ask("input_audio_buffer.commit")
        client.speak(clips[1])
        client.ask("input_audio_buffer.clear")
        client.ask("input_audio_buffer.commit")
        client.speak(clips[2])
        client.ask("input_audio_buffer.commit")
        first, error, last = client.until("completed"), client.until("error"), client.until("completed")
    start_s = (len(clips[0]) + len(clips[1])) / 16_000
    stream = recognizer.stream(early="off")
    stream.push(clips[0])
    assert first[-1]["transcript"] == stream.end_utterance().text
    assert error[-1]["error"]["code"] == "input_audio_buffer_commit_empty"
    stream.push(clips[2])
    assert last[-1]["transcript"] == stream.end_utterance().text
    assert last[-1]["start_s"] == pytest.approx(start_s, abs=1e-3)


def test_partials_and_log_probabilities(port: int, clips: list[np.ndarray]) -> None:
    with session(port, {**MANUAL, "transcription": {"delay": "minimal"}}) as client:
        assert client.set({}, include=[PARTIALS, LOGPROBS])["session"]["include"] == [PARTIALS, LOGPROBS]
        client.speak(clips[0])
        client.ask("input_audio_buffer.commit")
        *messages, done = client.until("completed")
    partials = [message["partial"] for message in messages if message.get("partial")]
    assert {"text", "early", "stable", "words", "audio_s", "lag_ms"} <= set(partials[0])
    assert any(partial["stable"] < len(partial["words"]) for partial in partials)
    assert len(partials) > sum(bool(message.get("delta")) for message in messages) - 1
    log_probs = [found for message in messages for found in message.get("logprobs", [])]
    assert log_probs == done["logprobs"]
    assert [found["token"] for found in log_probs] == done["transcript"].split()
    assert np.exp([found["logprob"] for found in log_probs]) == pytest.approx(
        [word["confidence"] for word in done["words"]], abs=1e-6
    )


@pytest.mark.parametrize(
    ("ask", "code", "says"),
    [
        ("{", "invalid_value", "Invalid JSON"),
        ('{"type": "response.create", "event_id": "mine"}', "invalid_value", "expected type out of 'session.update', "),
        ('{"type": "session.update"}', "missing_required_parameter", "session: expected it to be there"),
        ("{}", "invalid_value", "message: expected an object with its type, found {}"),
        (
            '{"type": "session.update", "session": {"voice": "x"}}',
            "unknown_parameter",
            "session.voice: expected nothing that this server has not, found 'x'",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"transcription": {"prompt": "x"}}}}}',
            "invalid_value",
            "transcription.prompt: expected '', found 'x'",
        ),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value", "session.type: "),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_value", "expected audio in base64"),
        (
            '{"type": "input_audio_buffer.append", "audio": "AA=="}',
            "invalid_value",
            "expected whole samples of 2 bytes",
        ),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty", "expected audio before a commit"),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"transcription": {"keywords": ["日本"]}}}}}',
            "invalid_value",
            "expected hotwords",
        ),
        (b"\0", "invalid_value", "expected whole samples of 2 bytes"),
        ("[" * 100_000, "invalid_value", "Invalid JSON"),
        ('{"type": "x", "event_id": "\\ud800"}', "invalid_value", "Invalid JSON"),
        ('{"type": "session.update", "session": {"a\\nb": 1}}', "unknown_parameter", "session.a b: "),
        ('{"type": "session.update", "session": {"%s": 1}}' % ("a" * 9_000), "unknown_parameter", "session.aaa"),
    ],
)
def test_what_is_refused(port: int, clips: list[np.ndarray], ask: str | bytes, code: str, says: str) -> None:
    with session(port, MANUAL) as client:
        client.socket.send(ask)
        error = client.next()
        assert error["type"] == "error"
        assert error["error"]["code"] == code
        assert says in error["error"]["message"]
        assert "\n" not in error["error"]["message"]
        assert error["error"]["event_id"] == ("mine" if "mine" in str(ask) else None)
        client.speak(clips[0])  # the session goes on
        client.ask("input_audio_buffer.commit")
        assert client.until("completed")[-1]["transcript"]


def test_what_is_set_before_audio_stays(port: int, clips: list[np.ndarray]) -> None:
    with session(port) as client:
        client.socket.send(clips[0][:320].tobytes())
        error = client.set(MANUAL)
        assert "expected turns, delay, format and language model to be set" in error["error"]["message"]
        assert client.set({"transcription": {"keywords": ["table"]}})["type"] == "session.updated"


def test_what_null_stands_for(port: int) -> None:
    with session(port) as client:
        nothing = {"transcription": None, "noise_reduction": {"type": "near_field"}}
        said = client.set(
            {**nothing, "turn_detection": {"type": "server_vad", "silence_duration_ms": None}}, include=None
        )
    audio_input = said["session"]["audio"]["input"]
    assert audio_input["noise_reduction"] is None
    assert audio_input["turn_detection"]["silence_duration_ms"] == 500
    assert said["session"]["include"] == []


def test_keywords_are_set_anew(port: int) -> None:
    with session(port) as client:
        for words in ({"table": 2.0}, {"chair": 3.0}, ["river"], {"chair": 3.0}, {}):
            said = client.set({"transcription": {"keywords": words}})
            assert said["session"]["audio"]["input"]["transcription"]["keywords"] == words


def test_hotwords(port: int, recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    words = {"aardvark": 2.0, "table": 9.0}
    with session(port, {**MANUAL, "transcription": {"keywords": words}}) as client:
        client.speak(clips[2])
        client.ask("input_audio_buffer.commit")
        said = client.until("completed")[-1]["transcript"]
    stream = recognizer.stream(hotwords=words, early="off")
    stream.push(clips[2])
    assert said == stream.end_utterance().text


def test_a_change_that_is_refused_changes_nothing(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    languages: list[str | None] = []
    monkeypatch.setattr(Stream, "set_language", lambda _, language: languages.append(language))
    with session(port) as client:
        error = client.set({"transcription": {"language": "en", "keywords": ["日本"]}})
        assert "expected hotwords" in error["error"]["message"]
        assert languages[-2:] == ["en", None]
        assert client.set({})["session"]["audio"]["input"]["transcription"]["language"] is None


def test_texts_are_not_logged(port: int, clips: list[np.ndarray], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), session(port, MANUAL) as client:
        client.speak(clips[0])
        client.ask("input_audio_buffer.commit")
        assert client.until("completed")[-1]["transcript"]
    assert "serving.text" not in {record.name for record in caplog.records}


def test_a_user_who_interrupts(port: int, clips: list[np.ndarray]) -> None:
    random = np.random.default_rng(5)
    agent = (3000 * random.standard_normal(48_000)).astype(np.int16)

    def append(client: Client, samples: np.ndarray) -> None:
        client.ask("agent_audio.append", audio=base64.b64encode(samples.tobytes()).decode())

    with session(port) as client:
        client.speak(np.concatenate([SILENCE[:2000], clips[1]]))  # before the agent begins; ended by that
        append(client, agent)
        before = client.until("completed")
        assert before[-1]["transcript"]
        heard = agent // 8  # its echo
        client.speak(heard[:32_000])
        user = heard[32_000:].astype(np.int32)
        user = user + clips[2][: len(user)]
        client.speak(np.concatenate([user, clips[2][len(user) :], SILENCE]))
        messages = client.until("completed")
    (started,) = [message for message in messages if message["type"].endswith("speech_started")]
    assert started["barge_in"] is True
    begins_ms = 1e3 * (2000 + len(clips[1]) + 32_000) / 16_000
    print(f"told to begin {started['audio_start_ms'] - begins_ms:+.0f} ms from the clip's")
    assert -100 < started["audio_start_ms"] - begins_ms < 700
    assert len(set(messages[-1]["transcript"].split()) & {"like", "table", "four", "people", "river"}) >= 3
