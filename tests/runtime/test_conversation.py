"""Conversation: an interruption's transcript is a fresh stream's, nothing of before remains, echo and claps do not interrupt."""

import math
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import (
    BargeIn,
    BargeInRules,
    ClosedError,
    Conversation,
    EndpointRules,
    Event,
    Final,
    InputError,
    Partial,
    Recognizer,
    Stream,
)
from runtime.errors import CudaError
from runtime.hearing import StreamOptions

FRAME = 320


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=None) as opened:
        yield opened


@pytest.fixture(scope="module")
def speech(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Half a second of silence, then a clip."""
    return np.concatenate([np.zeros(8_000, np.float32), sample[1][1]])


@pytest.fixture(scope="module")
def agent(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    played: np.ndarray = np.concatenate([audio for _, audio in sample[2:6]])
    played *= 0.1 / np.sqrt(np.mean(played**2))
    return played


def echo_of(played: np.ndarray, delay: int = 1600) -> np.ndarray:
    rng = np.random.default_rng(0)
    response = 0.1 * rng.standard_normal(800) * np.exp(-np.arange(800) / 130) / np.sqrt(65)
    echo: np.ndarray = np.convolve(np.pad(played, (delay, 0)), response)[: len(played)].astype(np.float32)
    return echo


class Recorded(Stream):
    """Keeps what it was given since its last reset."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.pieces: list[np.ndarray] = []
        super().__init__(recognizer, StreamOptions(early="off"))

    def push(self, samples: np.ndarray) -> list[Event]:
        self.pieces.append(samples.copy())
        return super().push(samples)

    def reset(self, start_s: float = 0.0) -> None:
        self.pieces.clear()
        super().reset(start_s)


def talk(conversation: Conversation, audio: np.ndarray, frame: int = FRAME) -> list[Event | BargeIn]:
    return [event for start in range(0, len(audio), frame) for event in conversation.push(audio[start : start + frame])]


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("frame", [160, 320, 333, 16_000, 1_000_000])
def test_an_interruption_is_a_fresh_stream(recognizer: Recognizer, speech: np.ndarray, frame: int, token: bool) -> None:
    stream = Recorded(recognizer)
    conversation = Conversation(stream, BargeInRules(confirming_token=token))
    assert any(isinstance(each, Partial) for each in talk(conversation, speech[:30_000], frame))
    conversation.agent_speaks()  # what was recognised so far is of before
    events = talk(conversation, speech, frame)
    assert [place for place, each in enumerate(events) if isinstance(each, BargeIn)] == [0]
    final = conversation.end_utterance()
    fresh = recognizer.stream(early="off")
    expected = [event for piece in stream.pieces for event in fresh.push(piece)]
    clean = recognizer.stream(early="off")
    clean.push(speech)
    stream.pieces.clear()
    barge_in, *found = events
    # Its times are the microphone's: it starts with the half second before the decision, which a token makes later.
    assert barge_in.audio_s - 1.0 <= final.start_s <= barge_in.audio_s - 0.499
    assert [each.at(0.0) for each in (*found, final) if isinstance(each, Event)] == [*expected, fresh.end_utterance()]
    assert final.text.split()[0] == clean.end_utterance().text.split()[0]


@pytest.mark.parametrize("reference", [False, True])
def test_events_do_not_depend_on_how_audio_is_cut(
    recognizer: Recognizer, speech: np.ndarray, agent: np.ndarray, reference: bool
) -> None:
    quiet = np.concatenate([np.zeros(40_000, np.float32), speech])
    microphone = quiet + echo_of(agent)[: len(quiet)] if reference else quiet
    found = {}
    for frame in (160, 320, 333, 16_000, len(microphone)):
        conversation = Conversation(recognizer.stream(early="off"))
        conversation.agent_speaks(agent if reference else None)
        found[frame] = [*talk(conversation, microphone, frame), conversation.end_utterance()]
    assert isinstance(found[160][0], BargeIn)
    final = found[160][-1]
    assert isinstance(final, Final)
    assert len(final.text.split()) > 2
    assert {frame for frame, events in found.items() if events != found[160]} == set()


def test_finals_come_by_the_stream_s_rules(recognizer: Recognizer, speech: np.ndarray) -> None:
    conversation = Conversation(recognizer.stream(EndpointRules(), early="off"))
    conversation.agent_speaks()
    events = talk(conversation, np.concatenate([speech, np.zeros(48_000, np.float32)]))
    assert isinstance(events[0], BargeIn)
    assert [each.text for each in events if isinstance(each, Final) and each.text] == [
        [each for each in events if isinstance(each, Partial)][-1].text
    ]


def test_without_an_agent_it_is_the_stream(recognizer: Recognizer, speech: np.ndarray) -> None:
    conversation, stream = Conversation(recognizer.stream(early="off")), recognizer.stream(early="off")
    assert talk(conversation, speech) == stream.push(speech)
    assert conversation.end_utterance() == stream.end_utterance()


def test_silence_and_claps_do_not_interrupt_and_are_not_recognised(recognizer: Recognizer) -> None:
    conversation = Conversation(recognizer.stream(early="off"))
    conversation.agent_speaks()
    rng = np.random.default_rng(0)
    audio = (1e-4 * rng.standard_normal(80_000)).astype(np.float32)
    for start in range(8_000, 80_000, 16_000):
        audio[start : start + 480] += (0.3 * rng.standard_normal(480)).astype(np.float32)
    assert talk(conversation, audio) == []
    conversation.agent_stops()
    assert conversation.end_utterance().tokens == ()


def test_echo_interrupts_only_without_the_reference(recognizer: Recognizer, agent: np.ndarray) -> None:
    heard = echo_of(agent)
    conversation = Conversation(recognizer.stream(early="off"))
    conversation.agent_speaks(agent)
    assert talk(conversation, heard) == []
    conversation = Conversation(recognizer.stream(early="off"))
    conversation.agent_speaks()
    assert any(isinstance(each, BargeIn) for each in talk(conversation, heard))


@pytest.mark.parametrize("later", [0, 80, 320])
def test_a_device_that_plays_later_than_the_last_time_does_not_interrupt(
    recognizer: Recognizer, agent: np.ndarray, later: int
) -> None:
    conversation = Conversation(recognizer.stream(early="off"))
    for played, delay in ((agent[:48_000], 800), (agent[48_000:96_000], 800 + later)):
        conversation.agent_speaks(played)
        assert [event for event in talk(conversation, echo_of(played, delay)) if isinstance(event, BargeIn)] == []
        conversation.agent_stops()
        talk(conversation, np.zeros(8_000, np.float32))


def test_a_user_over_the_echo_is_heard(recognizer: Recognizer, agent: np.ndarray, speech: np.ndarray) -> None:
    heard = echo_of(agent)
    start = 6 * 16_000
    length = min(len(heard) - start, len(speech))
    heard[start : start + length] += 2 * speech[:length]
    conversation = Conversation(recognizer.stream(early="off"))
    conversation.agent_speaks(agent)
    events = talk(conversation, heard)
    assert isinstance(events[0], BargeIn)
    assert start / 16_000 + 0.5 < events[0].audio_s < start / 16_000 + 1.5  # half a second of silence comes first
    assert sum(isinstance(each, BargeIn) for each in events) == 1


@pytest.mark.parametrize("start", [8_000, 16_000, 32_000])
def test_no_word_is_lost_from_the_first_half_second_on(
    recognizer: Recognizer, sample: list[tuple[str, np.ndarray]], start: int
) -> None:
    played, user = sample[2][1], sample[1][1]
    alone = recognizer.stream(early="off")
    alone.push(user)
    expected = alone.end_utterance().text
    microphone = np.pad(user, (start, 0))
    conversation = Conversation(recognizer.stream(early="off"))
    conversation.agent_speaks(played)
    echo: np.ndarray = np.pad(0.2 * played, (1_600, len(microphone)))
    stopped = None
    for begin in range(0, len(microphone), FRAME):
        frame = microphone[begin : begin + FRAME]
        for event in conversation.push(frame + echo[begin : begin + len(frame)]):
            if isinstance(event, BargeIn):
                assert stopped is None
                stopped = begin + FRAME
                echo[stopped + 1_600 :] = 0.0
    assert stopped is not None
    onset = start + int(np.argmax(np.abs(user) > 0.05))
    print(f"found {(stopped - onset) / 16:.0f} ms after the onset")
    assert stopped - onset < 16 * 300
    assert conversation.end_utterance().text.split()[:4] == expected.split()[:4]


def test_it_belongs_to_its_process(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = Conversation(recognizer.stream(early="off"))
    conversation.agent_speaks()
    with pytest.raises(TypeError, match="found a Conversation; open a Recognizer in each process"):
        pickle.dumps(conversation)
    monkeypatch.setattr("runtime.processes._this", [-1])
    for use in (
        lambda: conversation.push(np.zeros(512, np.float32)),
        conversation.agent_speaks,
        conversation.agent_stops,
        conversation.end_utterance,
    ):
        with pytest.raises(ClosedError, match=r"expected a Conversation of this process, .*; open a Recognizer here$"):
            use()


def test_bad_input(recognizer: Recognizer) -> None:
    conversation = Conversation(recognizer.stream(early="off"))
    with pytest.raises(InputError, match="NaN or infinite"):
        conversation.agent_speaks(np.full(3, np.nan, np.float32))
    with pytest.raises(InputError, match="float32 or int16"):
        conversation.push(np.zeros(3, np.int32))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="minimum_voiced_ms"):
        BargeInRules(minimum_voiced_ms=900)
    with pytest.raises(InputError, match="preroll_ms, and that to 1888, in whole ms, found 96 and 2000"):
        BargeInRules(preroll_ms=2000)
    with pytest.raises(InputError, match=r"in whole ms, found 96 and 250\.5"):
        BargeInRules(preroll_ms=250.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected echo_margin_db as a number of dB, found nan"):
        BargeInRules(echo_margin_db=math.nan)
    starts: list[Any] = [-1.0, math.nan, math.inf, "1", None]
    for start_s in starts:
        with pytest.raises(InputError, match="expected a stream's start from 0 s on, found "):
            Conversation(recognizer.stream(), start_s=start_s)
    conversation.close()
    with pytest.raises(ClosedError):
        conversation.push(np.zeros(3, np.float32))


def test_an_interruption_that_nothing_confirmed_is_none(recognizer: Recognizer, speech: np.ndarray) -> None:
    conversation = Conversation(recognizer.stream(early="off"), BargeInRules(confirming_token=True))
    conversation.agent_speaks()
    for start in range(0, len(speech), FRAME):
        assert conversation.push(speech[start : start + FRAME]) == []
        if conversation._confirming:
            break
    assert conversation._confirming
    assert conversation.end_utterance(160).text == ""
    assert not conversation._confirming


@pytest.mark.parametrize("frame", [FRAME, 16_000])
@pytest.mark.parametrize("reference", [False, True])
def test_time_goes_on_where_recognition_fails(
    recognizer: Recognizer, speech: np.ndarray, agent: np.ndarray, frame: int, reference: bool
) -> None:
    stream = recognizer.stream(early="off")
    conversation = Conversation(stream)
    conversation.agent_speaks(agent if reference else None)
    microphone = np.concatenate([np.zeros(40_000, np.float32), speech, speech])
    microphone[: len(agent)] += echo_of(agent)[: len(microphone)] if reference else 0
    lost = 0
    for start in range(0, len(microphone), frame):
        with pytest.MonkeyPatch.context() as patched:
            if not lost and not conversation._agent_speaks:
                patched.setattr(stream, "push", fails)
            try:
                conversation.push(microphone[start : start + frame])
            except CudaError:
                lost += 1
    assert lost == 1
    assert conversation._received == len(microphone)
    final = conversation.end_utterance()
    assert final.start_s + final.audio_s == pytest.approx(len(microphone) / 16_000, abs=0.033)


def fails(*_: object) -> None:
    raise CudaError("it fell over")


@pytest.mark.parametrize("odd", [0, 100])
def test_an_utterance_that_is_ended_while_the_agent_speaks(
    recognizer: Recognizer, speech: np.ndarray, agent: np.ndarray, odd: int
) -> None:
    """It is empty, and times and echo go on as if it had not been ended."""
    found = []
    for ends in (False, True):
        conversation, before = Conversation(recognizer.stream(early="off")), 16_000 + odd
        conversation.agent_speaks(agent)
        microphone = np.pad(speech, (before, 0)) + echo_of(agent)[: before + len(speech)]
        talk(conversation, microphone[:before])
        if ends:
            empty = conversation.end_utterance()
            assert (empty.text, empty.audio_s, empty.start_s) == ("", 0.0, round(before / 16_000, 3))
        found.append([*talk(conversation, microphone[before:]), conversation.end_utterance()])
    assert any(isinstance(event, BargeIn) for event in found[0])
    assert found[0] == found[1]


def test_turns_from_another_thread(recognizer: Recognizer, speech: np.ndarray, agent: np.ndarray) -> None:
    stream = Recorded(recognizer)
    conversation = Conversation(stream)
    done = threading.Event()
    errors: list[BaseException] = []

    def turns() -> None:
        try:
            while not done.is_set():
                conversation.agent_speaks(agent[:4_000])
                conversation.agent_stops()
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            errors.append(error)

    thread = threading.Thread(target=turns, daemon=True)
    thread.start()
    talk(conversation, speech[:40_000])
    done.set()
    thread.join(30)
    assert not thread.is_alive()
    assert errors == []
    talk(conversation, speech)  # to the user alone
    final = conversation.end_utterance()
    fresh = recognizer.stream(early="off")
    for piece in stream.pieces:
        fresh.push(piece)
    assert final.at(0.0) == fresh.end_utterance()
    assert final.text
