"""Early tokens change no final and no endpoint, wait for no one, and stable words stay."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import EndpointRules, Event, Final, InputError, Partial, Recognizer, Stream
from runtime.backends import StepResult
from runtime.bundle import read_bundle
from runtime.early import RULES, Early, EarlyTokens
from tests.runtime.rig import Host, Rig, add_transducer, windows

CHOICES: tuple[Early, ...] = ("off", "steady", "eager")
FRAME = 320


@pytest.fixture(scope="module", params=["default", "none"])
def recognizer(bundle: Path, request: pytest.FixtureRequest) -> Recognizer:
    return Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=request.param)


@pytest.fixture(scope="module")
def clips(sample: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    return [samples for _, samples in sample[:3]]


def live(stream: Stream, audio: np.ndarray, *, busy: bool = False, frame: int = FRAME) -> list[Event]:
    """The events of a caller who waits for each frame, or, `busy`, has the next one already."""
    seconds = itertools.count()
    stream.now = (lambda: 0.0) if busy else (lambda: float(next(seconds)))
    pushed = (stream.push(audio[start : start + frame]) for start in range(0, len(audio), frame))
    return [*itertools.chain.from_iterable(pushed), stream.end_utterance()]


def test_finals_are_the_same_and_first_texts_sooner(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    first: dict[Early, list[float]] = {}
    for audio in clips:
        said = {early: live(recognizer.stream(early=early), audio) for early in CHOICES}
        assert said["off"][-1] == said["steady"][-1] == said["eager"][-1]
        for early, events in said.items():
            first.setdefault(early, []).append(next(event.audio_s for event in events if event.text))
    print(
        f"\nfirst text from the clip's start: { ({early: np.mean(seconds).round(3) for early, seconds in first.items()}) }"
    )
    assert all(steady <= off for steady, off in zip(first["steady"], first["off"], strict=True))
    assert np.mean(first["eager"]) < np.mean(first["off"])


@pytest.mark.parametrize("early", CHOICES)
def test_stable_words_stay(recognizer: Recognizer, clips: list[np.ndarray], early: Early) -> None:
    stable = words = shown_early = 0
    for audio in clips:
        *partials, final = live(recognizer.stream(early=early), audio)
        assert isinstance(final, Final)
        assert final.stable == len(final.words)
        for partial in partials:
            assert isinstance(partial, Partial)
            assert " ".join(word.text for word in partial.words) == partial.text
            kept = partial.words[: partial.stable]
            assert [word.text for word in kept] == [word.text for word in final.words[: partial.stable]]
            assert partial.text.endswith(partial.early)
            stable, words = stable + len(kept), words + len(partial.words)
            shown_early += bool(partial.early)
    print(f"\n{early}: {stable} of {words} words of partials were stable")
    assert stable > words / 4
    assert bool(shown_early) == (early != "off")


def test_endpoints_are_the_same(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    talk = np.concatenate([np.append(audio, np.zeros(20_000, np.float32)) for audio in clips[:2]])
    found = [
        [event for event in live(recognizer.stream(EndpointRules(), early=early), talk) if isinstance(event, Final)]
        for early in ("off", "eager")
    ]
    assert found[0] == found[1]
    assert len(found[0]) >= 2


def test_words_lie_in_the_stream(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    stream, at = recognizer.stream(), 0.0
    for audio in clips:
        final = live(stream, audio)[-1]
        assert final.start_s == pytest.approx(at, abs=0.001)
        at += len(audio) / 16_000
        times = [seconds for word in final.words for seconds in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert final.start_s <= times[0] <= times[-1] <= at
        assert all(0 <= word.confidence <= 1 for word in final.words)
        assert final.at(0.0) == recognised(recognizer, audio)


def recognised(recognizer: Recognizer, audio: np.ndarray) -> Event:
    stream = recognizer.stream(early="off")
    stream.push(audio)
    return stream.end_utterance()


@pytest.mark.parametrize(
    ("early", "busy"), [("off", False), ("steady", True), ("eager", True), ("steady", False), ("eager", False)]
)
def test_steps_are_taken_while_the_caller_waits(
    bundle: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, early: Early, busy: bool
) -> None:
    recognizer = Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=None)
    seen: list[int] = []
    real = recognizer.backend.peek

    def peek(window: np.ndarray, valid: int, state: object) -> StepResult:
        seen.append(valid)
        return real(window, valid, state)

    monkeypatch.setattr(recognizer.backend, "peek", peek)
    live(recognizer.stream(early=early), clips[0], busy=busy)
    frames = len(clips[0]) / 320
    if early == "off" or busy:
        assert seen == []
    elif early == "steady":
        assert 3 <= len(seen) < frames / 3, "none once there is a text"
    else:
        assert frames / 4 < len(seen) < frames / 2  # one in 40 ms, but where a step comes first


def test_the_rnnt_of_a_gpu(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = RULES["eager"]
    assert eager is not None
    monkeypatch.setitem(RULES, "eager", replace(eager, every_ms=5))  # the toy's chunk is of 20 ms
    add_transducer(rig.folder, b"an evaluation")
    audio = np.concatenate([window for window, _ in windows(12)])
    with Recognizer(rig.folder, precision="fp32", backend="tensorrt", decoder="rnnt") as recognizer:
        said = [live(recognizer.stream(early=early), audio, frame=5) for early in CHOICES]
    assert said[0][-1] == said[1][-1] == said[2][-1]
    assert said[0][-1].text
    assert len(said[2]) > len(said[0])


def test_a_choice_that_there_is_not(rig: Rig, bundle: Path) -> None:
    with pytest.raises(InputError, match=r"expected early tokens off, steady, eager, found 'soon'; steady is usual"):
        Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu").stream(early="soon")  # type: ignore[arg-type]
    recognizer = Recognizer(rig.folder, backend=Host())
    assert live(recognizer.stream(), np.zeros(16_000, np.float32))[-1].text is not None
    with pytest.raises(InputError, match="expected early tokens off with a server that keeps the state, found steady"):
        recognizer.stream(early="steady")


B = 3  # blank


@pytest.mark.parametrize(
    ("tokens", "probabilities", "steady", "eager"),
    [
        ([B, B], [0.99, 0.4], 0, 0),
        ([1, B], [0.9, 0.4], 1, 1),
        ([B, 1], [0.4, 0.9], 2, 2),
        ([1, B], [0.8, 0.9], 0, 1),
        ([1, 2], [0.9, 0.8], 1, 2),
        ([1, 2], [0.8, 0.9], 0, 2),  # what is not shown hides what follows
        ([1, 2], [0.9, 0.9], 2, 2),
    ],
)
def test_which_frames_are_shown(
    bundle: Path, tokens: list[int], probabilities: list[float], steady: int, eager: int
) -> None:
    log_probs = np.full((2, B + 1), -20.0, np.float32)
    log_probs[range(2), tokens] = np.log(probabilities)
    step = StepResult(
        tokens=np.array(tokens, np.int32), log_probs=log_probs, encoded=np.zeros((2, 1), np.float32), state=None
    )
    symbols = np.array([[token, B] for token in tokens], np.int32)
    scores = np.array([[math.log(probability), 0.0] for probability in probabilities], np.float32)
    rnnt = StepResult(symbols=symbols, symbol_log_probs=scores, encoded=step.encoded, state=None)
    manifest = read_bundle(bundle).model_copy(update={"blank": B})
    for choice, expected in (("steady", steady), ("eager", eager)):
        rules = RULES[choice]
        assert rules is not None
        for result in (step, rnnt):
            assert EarlyTokens(rules, manifest).shown(result, 2) == expected
            assert EarlyTokens(rules, manifest).shown(result, 1) == min(expected, 1 if tokens[0] != B else 0)


def test_what_is_confirmed_is_no_longer_early(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    events = [event for event in live(recognizer.stream(early="eager"), clips[0]) if isinstance(event, Partial)]
    pairs = list(itertools.pairwise(events))
    assert all((one.text, one.early) != (other.text, other.early) for one, other in pairs)
    assert any(one.text == other.text and len(other.early) < len(one.early) for one, other in pairs)
