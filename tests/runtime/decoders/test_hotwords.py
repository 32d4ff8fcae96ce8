"""Hotwords: what is refused, what a text gains, and streams with them, whose words change between utterances."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import InputError, Recognizer
from runtime.bundle import read_bundle
from runtime.decoders.beam import BeamCtc
from runtime.decoders.greedy import GreedyCtc
from runtime.decoders.hotwords import LONG, LONGEST, MOST, WEIGHT, Hotwords
from tests.runtime.decoders.plain import PLAIN

PIECES = ["<unk>", "▁", "▁n", "e", "w", "t", "▁y", "or", "k", "qu", "é", "r"]
UNTOLD: list[tuple[Any, str]] = [
    ("new", "found the text 'new'"),
    (b"new", "found b'new'"),
    (None, "found None"),
    (3, "found 3"),
    (True, "found True"),
    ([""], "hotword of letters, found ''"),
    ([" \t"], r"hotword of letters, found ' \\t'"),
    ([None], "hotword of letters, found None"),
    ([b"new"], "hotword of letters, found b'new'"),
    ([["new"]], r"hotword of letters, found \['new'\]"),
    ({None: 1.0}, "hotword of letters, found None"),
    (["new", "newer x"], "found 'newer x', where none goes on with 'x'"),
    (["ten"], "found 'ten', where none goes on with 'n'"),
    (["queen"], "found 'queen', where none goes on with 'n'"),
    (["neq"], "found 'neq', where none goes on with 'q'"),
    (["⁇"], "where none goes on with '⁇'"),
    (["\ud800"], "where none goes on with"),
    (["e" * (LONGEST + 1)], f"at most {LONGEST} characters, found {LONGEST + 1}"),
    (["e"] * (MOST + 1), f"at most {MOST:,} hotwords"),
    *[
        ({"new": weight}, "expected a weight above 0")
        for weight in (0, -1.0, float("nan"), float("inf"), True, "6", None)
    ],
]


@pytest.mark.parametrize(
    ("choice", "said"), UNTOLD, ids=lambda each: str(each)[:30].encode("ascii", "replace").decode()
)
def test_what_is_no_hotword_is_one_line(choice: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        Hotwords(choice, PIECES)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_an_endless_list_is_refused() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "new"

    with pytest.raises(InputError, match="at most"):
        Hotwords(endless(), PIECES)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ([], {}),
        ({}, {}),
        (["new"], {"new": WEIGHT * 3 / LONG}),
        (("New  York",), {"new york": WEIGHT * 8 / LONG}),
        (iter(["NEW", "new"]), {"new": WEIGHT * 3 / LONG}),
        ({"new"}, {"new": WEIGHT * 3 / LONG}),
        ({"new": 2}, {"new": 2}),
        ({"new": 2.5, "New": 3.5}, {"new": 3.5}),
        ({"new york": 20.0, "yorker": 0.5}, {"new york": 20.0, "yorker": 0.5}),
        (["new york new york"], {"new york new york": WEIGHT}),
        (["e\u0301t"], {"ét": WEIGHT * 2 / LONG}),  # composed, as the pieces are
    ],
)
def test_phrases_and_their_weights(choice: Any, expected: dict[str, float]) -> None:  # noqa: ANN401
    found = Hotwords(choice, PIECES)
    assert found.phrases == pytest.approx(expected)
    assert bool(found) == bool(expected)
    assert found.most == pytest.approx(2 * max(expected.values(), default=0.0)), "one that ends, and one that begins"


def test_the_most_that_a_piece_adds_counts_phrases_within_phrases() -> None:
    assert Hotwords({"new": 1.0, "new new": 2.0, "york": 4.0}, PIECES).most == 4.0 + 4.0
    assert Hotwords({"new": 1.0, "new new": 2.0, "york": 0.5}, PIECES).most == 3.0 + 2.0


def test_capitals_stay_where_the_pieces_have_them() -> None:
    assert set(Hotwords(["New", "NEW"], [*PIECES, "▁N"]).phrases) == {"New", "new"}


TEXTS = [
    ("new york", {"new": 1.0, "new york": 2.0}, [1.0, 3.0]),
    ("new new york", {"new": 1.0, "new york": 2.0}, [1.0, 2.0, 4.0]),
    ("new new york", {"new new": 1.0, "new new york": 3.0, "new york": 2.0}, [0.0, 1.0, 6.0]),
    ("newt york", {"new": 1.0, "new york": 2.0, "york": 4.0}, [0.0, 4.0]),
    ("york new", {"new york": 2.0}, [0.0, 0.0]),
]


@pytest.mark.parametrize(("text", "weights", "expected"), TEXTS)
def test_what_words_add_for_good(text: str, weights: dict[str, float], expected: list[float]) -> None:
    hotwords, total = Hotwords(weights, PIECES), 0.0
    before: tuple[str, ...] = ()
    totals = []
    for word in text.split():
        gained, before = hotwords.ended(before, word)
        total += gained
        totals.append(total)
    assert totals == expected


@pytest.mark.parametrize(
    ("before", "word", "expected"),
    [
        ((), "", None),
        ((), "n", 1.0),
        ((), "new", 3.0),
        ((), "newt", None),
        ((), "york", None),
        (("new ",), "", 4.0),
        (("new ",), "yo", 6.0),
        (("new ",), "york", 8.0),
        (("new ",), "yorks", None),
        (("new ",), "n", 1.0),  # another beginning, after the one that broke off
    ],
)
def test_the_share_of_a_beginning(before: tuple[str, ...], word: str, expected: float | None) -> None:
    assert Hotwords({"new york": 8.0, "new": 3.0}, PIECES).begun(before, word) == expected


def spoken(pieces: list[str], *frames: dict[str, float]) -> np.ndarray:
    """Log-probabilities [n, V+1] of frames with these probabilities; each is followed by one of silence."""
    probabilities = np.full((2 * len(frames), len(pieces) + 1), 1e-6)
    probabilities[1::2, -1] = 1.0
    for number, frame in enumerate(frames):
        for piece, probability in frame.items():
            probabilities[2 * number, pieces.index(piece) if piece else -1] = probability
    return np.asarray(np.log(probabilities / probabilities.sum(1, keepdims=True)), np.float32)


NEWT = [{"▁n": 0.9, "▁y": 0.1}, {"e": 1.0}, {"w": 1.0}, {"t": 0.9, "▁": 0.05, "": 0.05}]


@pytest.mark.parametrize(
    ("hotwords", "frames", "expected"),
    [
        ({}, NEWT, "newt"),
        ({"new": 2.0}, NEWT, "newt"),  # the word goes on: for 0.1 of 0.9 it is worth more than 2.0
        ({"new": 6.0}, NEWT, "new"),
        ({"ne": 20.0}, NEWT, "newt"),  # no place where the word may end
        ({"yew": 20.0}, NEWT, "yew"),
        ({"yewt": 20.0}, NEWT, "yewt"),
        ({"new york": 20.0}, NEWT, "newt"),
    ],
)
def test_words_are_not_broken_apart_for_little(
    hotwords: dict[str, float], frames: list[dict[str, float]], expected: str
) -> None:
    decoder = BeamCtc(PIECES, len(PIECES), PLAIN, hotwords=Hotwords(hotwords, PIECES))
    decoder.push_log_probs(spoken(PIECES, *frames))
    decoder.finish()
    assert decoder.text == expected


@pytest.fixture(scope="module", params=["default", "none"])
def recognizer(request: pytest.FixtureRequest, bundle: Path) -> Recognizer:
    return Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=request.param)


@pytest.fixture(scope="module")
def clips(sample: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    return [samples for _, samples in sample[:4]]


def final(recognizer: Recognizer, samples: np.ndarray, hotwords: Any = ()) -> str:  # noqa: ANN401
    stream = recognizer.stream(hotwords=hotwords, early="off")
    stream.push(samples)
    return stream.end_utterance().text


def test_an_empty_list_is_the_decoder_without(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    empties: list[Any] = [[], {}, (), iter([])]
    for empty in empties:
        assert final(recognizer, clips[0], empty) == final(recognizer, clips[0])
    kind = BeamCtc if recognizer.ngram else GreedyCtc
    assert isinstance(recognizer.new_decoder(hotwords=recognizer.hotwords([])), kind)
    assert isinstance(recognizer.new_decoder(hotwords=recognizer.hotwords(["new"])), BeamCtc)


def test_hotwords_change_between_utterances(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    samples, greeting = clips[0], ["Hi there"]
    plain, changed = final(recognizer, samples), final(recognizer, samples, greeting)
    assert changed == "hi there can you hear me"
    assert plain != changed
    stream = recognizer.stream(early="off")
    finals = []
    for choice in (greeting, [], greeting):
        stream.push(samples[:8000])
        stream.set_hotwords(choice)  # for the next one: this one keeps its own
        stream.push(samples[8000:])
        finals.append(stream.end_utterance().text)
    assert finals == [plain, changed, plain]
    stream.push(samples)
    assert stream.end_utterance().text == changed
    stream.set_hotwords([])  # before the first sample: from now on
    stream.push(samples)
    assert stream.end_utterance().text == plain
    with pytest.raises(InputError, match="list of hotwords"):
        stream.set_hotwords("new")
    stream.push(samples)
    assert stream.end_utterance().text == plain  # what was refused changed nothing


def test_streams_with_a_thousand_hotwords_at_once(
    recognizer: Recognizer, bundle: Path, clips: list[np.ndarray]
) -> None:
    words = (bundle / "lm_words.txt").read_text(encoding="utf-8").split()
    letters = set("".join(read_bundle(bundle).vocabulary))
    listed = [word for word in words if letters.issuperset(word)]
    choices = [listed[first::61][:1000] for first in range(len(clips))]
    assert {len(choice) for choice in choices} == {len(listed[::61][:1000])}
    expected = [final(recognizer, samples, choice) for samples, choice in zip(clips, choices, strict=True)]
    with ThreadPoolExecutor(len(clips)) as pool:
        assert list(pool.map(lambda pair: final(recognizer, *pair), zip(clips, choices, strict=True))) == expected


GERMAN = [
    "<unk>",
    "▁",
    "▁Stra",
    "ße",
    "▁gr",
    "ö",
    "ü",
    "ß",
    "e",
    "n",
    "A",
    "▁",
    "s",
    "t",
    "r",
    "a",
    "g",
    "u",
    "<de-DE>",
    "▁<en-US>",
]


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("Straße", "Straße"),
        ("größe", "größe"),
        ("gro\u0308ße", "größe"),
        ("GRÜẞE", "grüße"),
        ("gru\u0308ße", "grüße"),
        ("Ärger", None),
    ],
)
def test_german(given: str, spelled: str | None) -> None:
    """Umlauts in either form of Unicode, a capital sharp s; a tag of the language spells nothing."""
    if spelled is None:
        with pytest.raises(InputError, match="none goes on with 'ä'"):
            Hotwords([given], GERMAN)
    else:
        assert Hotwords([given], GERMAN).phrases.keys() == {spelled}


def test_rnnt_has_no_hotwords(bundle_of: Callable[[str, int], Path]) -> None:
    recognizer = Recognizer(bundle_of("large-random", 80), backend="onnxruntime-cpu", decoder="rnnt")
    with pytest.raises(InputError, match=r"decoder ctc with hotwords.*found rnnt"):
        recognizer.stream(hotwords=["1"])
    recognizer.stream(hotwords=[]).close()
