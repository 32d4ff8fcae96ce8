"""Endpoints: the rules on given windows, then the stream on clips put end to end: nothing lost, nothing left of the utterance before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from runtime import EndpointRules, Event, Final, InputError, Partial, Recognizer
from runtime.__main__ import parse_args, run
from runtime.endpoint import Endpointer
from runtime.vad import WINDOW_SAMPLES

RULES = EndpointRules(
    min_silence_ms=320, min_tokenless_ms=160, alone_ms=960, max_utterance_ms=3200, max_leading_silence_ms=1600
)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [  # runs of windows of 32 ms: how many, voiced (v), with a token in each (t), neither (-)
        ("20v 30-", ("silence", 30)),
        ("20b 9- 5b 30-", ("silence", 44)),  # a pause shorter than the rule
        (
            "20b 6t 30-",
            ("silence", 31),
        ),  # the decoder follows late: 5 tokenless windows, 10 silent ones, whichever is later
        ("20b 10t 30-", ("silence", 35)),  # the detector missed the last words; the decoder did not
        ("20b 60t", ("silence", 50)),  # tokens in noise do not go on for ever
        ("20b 60v", ("silence", 50)),  # nor do voices without words
        ("49-", None),
        ("60-", ("no speech", 50)),
        ("2v 60-", ("no speech", 50)),  # a click
        ("40- 20v 30-", ("silence", 70)),
        ("40- 30v 5t 30-", ("silence", 80)),
        ("120b", ("length", 100)),
        ("5- 120v", ("length", 100)),  # no token ever: the words may come
    ],
)
def test_rules(windows: str, expected: tuple[str, int] | None) -> None:
    endpointer = Endpointer(RULES)
    kinds = [kind for run in windows.split() for kind in run[-1] * int(run[:-1])]
    last_token, found = 0, None
    for count, kind in enumerate(kinds, 1):
        last_token = count if kind in "bt" else last_token
        tokenless = (count - last_token) * WINDOW_SAMPLES
        if ended_by := endpointer.push(0.9 if kind in "bv" else 0.1, tokenless, last_token > 0):
            found = (ended_by, count)
            break
    assert found == expected


@pytest.mark.parametrize("wrong", [0, -1, 0.5, True, "a", None])
def test_a_rule_that_is_none_is_refused(wrong: int) -> None:
    with pytest.raises(InputError) as raised:
        EndpointRules(min_silence_ms=wrong)
    assert str(raised.value) == f"expected min_silence_ms in whole ms above 0, found {wrong!r}; the default is 500"


@pytest.mark.parametrize("wrong", [["kitchen"], "steady", 500, {"min_silence_ms": 500}])
def test_what_is_not_rules_is_refused(recognizers: dict[int, Recognizer], wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError) as raised:
        next(iter(recognizers.values())).stream(wrong)
    assert str(raised.value) == f"expected EndpointRules for endpoints, or None, found {wrong!r}"


@pytest.fixture(scope="module")
def talk(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    noise = np.random.default_rng(7).normal(0, 1e-3, 16_000).astype(np.float32)
    return np.concatenate([piece for _, clip in sample[:4] for piece in (noise[:4_000], clip, noise)])


@pytest.fixture(scope="module")
def recognizers(bundle_at: Callable[[int], Path]) -> dict[int, Recognizer]:
    folders = {ms: bundle_at(ms) for ms in (0, 80, 480, 1040)}
    return {ms: Recognizer(folder, precision="fp32", backend="onnxruntime-cpu") for ms, folder in folders.items()}


def events(recognizer: Recognizer, audio: np.ndarray, frame: int, rules: EndpointRules | None = None) -> list[Event]:
    stream = recognizer.stream(rules or EndpointRules(), early="off")
    pushed = [each for start in range(0, len(audio), frame) for each in stream.push(audio[start : start + frame])]
    return [*pushed, stream.end_utterance()]


def finals(found: list[Event]) -> list[Final]:
    return [each for each in found if isinstance(each, Final)]


@pytest.fixture(scope="module")
def expected(recognizers: dict[int, Recognizer], talk: np.ndarray) -> list[Event]:
    return events(recognizers[80], talk, 320)


def test_frames_of_any_length(recognizers: dict[int, Recognizer], talk: np.ndarray, expected: list[Event]) -> None:
    for frame in (496, 640, 1, 10**7):
        audio = talk[:40_000] if frame == 1 else talk
        found = events(recognizers[80], audio, frame)
        assert found == (events(recognizers[80], audio, 320) if frame == 1 else expected)


def test_clips_end_to_end(recognizers: dict[int, Recognizer], talk: np.ndarray, expected: list[Event]) -> None:
    found = finals(expected)
    assert sum(each.audio_s for each in found) == pytest.approx(len(talk) / 16_000)  # nothing lost at a cut
    assert {each.ended_by for each in found[:-1]} == {"silence"}
    assert len([each for each in found if each.text]) == 4
    start = 0
    for each in found:  # each final is that of its own audio alone
        end = start + round(each.audio_s * 16_000)
        stream = recognizers[80].stream(early="off")
        stream.push(talk[start:end])
        alone = stream.end_utterance()
        assert (each.text, each.tokens, each.audio_s) == (alone.text, alone.tokens, alone.audio_s)
        start = end


def test_a_voice_is_told_before_a_word(
    recognizers: dict[int, Recognizer], talk: np.ndarray, expected: list[Event]
) -> None:
    found = events(recognizers[80], talk, 320, EndpointRules(tell_voice=True))
    told = [place for place, event in enumerate(found) if isinstance(event, Partial) and not event.text]
    assert [event for place, event in enumerate(found) if place not in told] == expected
    spoken = {final.start_s: final for final in finals(expected) if final.text}
    starts = [found[place].start_s for place in told]
    assert len(starts) > 1
    # Once an utterance, unless its first word is there sooner.
    assert starts == [start for start in spoken if start in starts]
    for place, start_s in zip(told, starts, strict=True):
        final = spoken[start_s]
        first = next(event for event in found[place:] if event.text)
        late_s = final.start_s + found[place].audio_s - final.words[0].start_s
        print(
            f"told {late_s:+.2f} s from the first word's start, its text at {first.audio_s - found[place].audio_s:.2f} s"
        )
        assert -0.3 < late_s < first.audio_s + final.start_s - final.words[0].start_s


def test_after_an_endpoint_the_stream_is_a_new_one(recognizers: dict[int, Recognizer], talk: np.ndarray) -> None:
    recognizer = recognizers[80]
    stream = recognizer.stream(EndpointRules(), early="off")
    for start in range(
        0, len(talk), WINDOW_SAMPLES
    ):  # an endpoint lies on a window's end: nothing of the frame is after it
        if finals(stream.push(talk[start : start + WINDOW_SAMPLES])):
            break
    fresh = recognizer.stream(EndpointRules(), early="off")
    rest = talk[start + WINDOW_SAMPLES :]
    assert len(rest) > 32_000
    for used, new in zip(stream._hearing._state.values(), fresh._hearing._state.values(), strict=True):
        np.testing.assert_array_equal(used, new)
    np.testing.assert_array_equal(stream._hearing._audio, fresh._hearing._audio)
    # Its time alone goes on.
    at_s, theirs = (start + WINDOW_SAMPLES) / 16_000, [*fresh.push(rest), fresh.end_utterance()]
    assert [*stream.push(rest), stream.end_utterance()] == [each.at(round(at_s + each.start_s, 3)) for each in theirs]


def test_command_line(bundle: Path, talk: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "talk.wav", talk, 16_000, subtype="FLOAT")
    command = [str(tmp_path / "talk.wav"), "--bundle", str(bundle), "--backend", "onnxruntime-cpu", "--endpoints"]
    run(parse_args(command))
    lines = capsys.readouterr().out.splitlines()
    assert sum("final: " in line for line in lines) == 4, "and none of the silence that is left"
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times), "of the stream"
    assert 0.9 * len(talk) < 16_000 * times[-1] <= len(talk)


def test_silence_is_an_empty_final(recognizers: dict[int, Recognizer]) -> None:
    found = finals(events(recognizers[80], np.zeros(6 * 16_000, np.float32), 320))
    assert [(each.text, each.ended_by) for each in found] == [("", "no speech"), ("", "caller")]
    assert found[0].audio_s == pytest.approx(5.0, abs=0.032)


def test_the_longest_utterance(recognizers: dict[int, Recognizer], sample: list[tuple[str, np.ndarray]]) -> None:
    found = finals(events(recognizers[80], sample[1][1], 320, EndpointRules(max_utterance_ms=960)))
    assert (found[0].ended_by, found[0].audio_s) == ("length", 0.96)


@pytest.mark.parametrize("lookahead_ms", [0, 80, 480, 1040])
def test_the_last_word_is_there_where_speech_ends_at_the_last_sample(
    lookahead_ms: int, recognizers: dict[int, Recognizer], sample: list[tuple[str, np.ndarray]]
) -> None:
    """Cut within the last word's sound, where the plain flush loses words: computed silence gives what real silence gives."""

    def last_word(audio: np.ndarray, silence_ms: int = 0) -> str:
        stream = recognizers[lookahead_ms].stream(early="off")
        stream.push(audio)
        return stream.end_utterance(silence_ms).text.split()[-1]

    found, plain, expected = [], [], []
    for clip in (sample[index][1] for index in (4, 11, 17, 21)):
        cut = clip[: np.flatnonzero(np.abs(clip) > 0.2 * np.abs(clip).max())[-1] + 1]
        found.append(last_word(cut, 160))
        plain.append(last_word(cut))
        expected.append(last_word(np.concatenate([cut, np.zeros(16_000, np.float32)])))
    print(f"look-ahead {lookahead_ms} ms: real silence {expected}, computed {found}, none {plain}")
    assert found == expected
    assert plain != expected


def test_silence_in_the_flush_is_not_counted(
    recognizers: dict[int, Recognizer], sample: list[tuple[str, np.ndarray]]
) -> None:
    stream = recognizers[80].stream(early="off")
    stream.push(sample[0][1])
    assert stream.end_utterance(160).audio_s == len(sample[0][1]) / 16_000
    assert stream.end_utterance(160) == Final("", (), 0.0, start_s=round(len(sample[0][1]) / 16_000, 3))
    with pytest.raises(InputError, match=r"silence_ms from 0 to 10000, found -1"):
        stream.end_utterance(-1)
