"""Words of pieces: text, times, confidence, by hand; incremental as from scratch; and words.json as it is read."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from runtime import Final, InputError, Partial, Recognizer, Word
from runtime.bundle import read_bundle
from runtime.decoders.greedy import GreedyCtc
from runtime.decoders.transcript import Transcript, text_of
from runtime.word_models import FILE, WordModel, WordModels, known_words, word_model
from runtime.words import Found, Piece, Spelled, WordMaker
from tests.calibration.conftest import toy_model, write_toy
from tests.runtime.decoders.plain import PLAIN

VOCABULARY = ["<unk>", "▁the", "▁", "c", "at", "s"]
BLANK = len(VOCABULARY)
DELAYED = WordMaker(WordModel(start_delay_s=0.2, end_delay_s=0.1), 0.08, 3.0)


def transcript(pieces: list[tuple[int, int]], make: WordMaker) -> Transcript:
    """Of tokens and frames, each piece of probability 0.9."""
    made = Transcript(text_of(VOCABULARY), make.word)
    for token, frame in pieces:
        made.add(Piece(token, frame, math.log(0.9)))
    return made


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [  # text, start, end, confidence: 0.9 for each piece
        ([], []),
        ([(1, 5)], [("the", 0.4, 0.4, 0.9)]),
        ([(1, 5), (2, 7), (3, 8), (4, 9), (5, 11)], [("the", 0.4, 0.4, 0.9), ("cats", 0.64, 0.88, 0.729)]),
        ([(3, 0), (4, 2)], [("cat", 0.0, 0.16, 0.81)]),  # no space at the start
        ([(1, 1), (0, 2), (1, 3)], [("the", 0.08, 0.08, 0.9), ("⁇", 0.16, 0.16, 0.9), ("the", 0.24, 0.24, 0.9)]),
        ([(2, 1), (2, 2), (3, 3)], [("c", 0.24, 0.24, 0.9)]),  # spaces alone are no word
        ([(1, 4), (1, 4)], [("the", 0.32, 0.32, 0.9), ("the", 0.32, 0.32, 0.9)]),  # RNN-T: both at one frame
    ],
)
def test_by_hand(pieces: list[tuple[int, int]], expected: list[tuple[str, float, float, float]]) -> None:
    made = transcript(pieces, PLAIN)
    assert [tuple(asdict(word).values()) for word in made.words] == expected
    assert " ".join(word.text for word in made.words) == made.text
    assert made.ended == max(0, len(expected) - 1)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [  # 0.2 s before the decision, ended 0.1 s before it, in a stream in which the utterance begins at 3 s
        ([(1, 5)], [(3.2, 3.3)]),
        ([(1, 1)], [(3.0, 3.0)]),  # not before the utterance
        ([(3, 5), (4, 20), (1, 21)], [(3.2, 4.48), (4.48, 4.58)]),  # ends where the next one begins
    ],
)
def test_delays(pieces: list[tuple[int, int]], expected: list[tuple[float, float]]) -> None:
    assert [(word.start_s, word.end_s) for word in transcript(pieces, DELAYED).words] == expected


def test_one_piece_at_a_time_as_all_at_once() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        frames = np.sort(random.integers(0, 200, 40)).tolist()
        pieces = list(zip(random.integers(0, BLANK, 40).tolist(), frames, strict=True))
        growing, copies = transcript([], DELAYED), []
        for token, frame in pieces:
            copies.append(growing.copy())
            growing.add(Piece(token, frame, math.log(0.9)))
        assert growing.words == transcript(pieces, DELAYED).words
        for place, copy in enumerate(copies):
            assert copy.words == transcript(pieces[:place], DELAYED).words
            assert [word.text for word in growing.words[: copy.ended]] == [
                word.text for word in copy.words[: copy.ended]
            ]
        times = [seconds for word in growing.words for seconds in (word.start_s, word.end_s)]
        assert times == sorted(times)


@pytest.mark.parametrize(
    ("weights", "log_prob", "found", "text", "expected"),
    [
        ({}, math.log(0.7), Found(), "cat", 0.7),
        ({"pieces": 0.0, "offset": 1.0}, math.log(0.7), Found(), "cat", 1 / (1 + math.exp(-1))),
        ({"pieces": 0.0, "rivals": 1.0}, 0.0, Found(rivals=3.0), "cat", 0.25),
        ({"pieces": 0.0, "language": 0.5}, 0.0, Found(language=-4.0), "cat", 1 / (1 + math.exp(2))),
        ({"pieces": 0.0, "known": 2.0}, 0.0, Found(), "cat", 1 / (1 + math.exp(-2))),
        ({"pieces": 0.0, "known": 2.0}, 0.0, Found(), "cta", 0.5),
        ({"pieces": 0.0, "length": 2.0}, 0.0, Found(), "cat", 0.9),  # odds of 3 * 3
        ({"pieces": 0.0, "length": 2.0}, 0.0, Found(), "a", 0.5),
        ({}, -1e9, Found(), "cat", 0.0001),  # bounded, never a math error
        ({}, 0.0, Found(rivals=math.inf), "cat", 0.9999),
        ({"pieces": 100.0}, -1e9, Found(), "cat", 0.0),
        ({"offset": -1000.0}, 0.0, Found(), "cat", 0.0),
        ({"offset": 1000.0}, -1e9, Found(), "cat", 1.0),
    ],
)
def test_confidence(weights: dict[str, float], log_prob: float, found: Found, text: str, expected: float) -> None:
    make = WordMaker(WordModel(**weights), 0.08, known={"cat"})
    assert make.confidence(make.evidence(Spelled(text, 0, 0, log_prob), found)) == pytest.approx(expected, abs=1e-9)


def test_greedy_words_by_chunk(bundle: Path) -> None:
    """Words and what is stable are the same however frames come."""
    random, manifest = np.random.default_rng(1), read_bundle(bundle)
    for _ in range(50):
        tokens = random.integers(0, manifest.blank + 1, 60).astype(np.int32)
        log_probs = np.log(random.uniform(0.1, 1, 60)).astype(np.float32)
        whole = GreedyCtc(manifest.vocabulary, manifest.blank, PLAIN)
        whole.push_best(tokens, log_probs)
        parts = GreedyCtc(manifest.vocabulary, manifest.blank, PLAIN)
        for chunk in np.array_split(np.arange(60), 17):
            parts.push_best(tokens[chunk], log_probs[chunk])
            assert [word.text for word in whole.words[: parts.stable]] == [
                word.text for word in parts.words[: parts.stable]
            ]
        assert (parts.words, parts.stable) == (whole.words, whole.stable)


def test_an_event_at_another_place() -> None:
    final = Final("a", (1,), 1.0, 2.0, (Word("a", 2.5, 2.75, 0.5),))
    assert final.at(0.0) == Final("a", (1,), 1.0, 0.0, (Word("a", 0.5, 0.75, 0.5),))
    assert final.at(0.0).at(2.0) == final
    assert final.json() | {"lag_ms": 0.0} == {"event": "final", **asdict(final)}
    assert "lag_ms" not in final.json()
    assert json.loads(json.dumps(Partial("a", (1,), 1.0, early="a").json()))["early"] == "a"


def models(folder: Path, **changes: object) -> WordModels:
    manifest = read_bundle(folder)
    content = {
        "checkpoint_sha256": manifest.checkpoint.sha256,
        "lookahead_ms": manifest.lookahead_ms,
        "clips": 3,
        "made_from": "0" * 64,
        "searches": {"ctc": {"start_delay_s": 0.2, "end_delay_s": 0.1, "pieces": 0.5, "offset": -1.0}},
    }
    return WordModels.model_validate(content | changes)


def test_words_json(folder: Path) -> None:
    manifest = read_bundle(folder)
    frame_s = manifest.encoder_frame_ms / 1000
    unmeasured = WordModel(end_delay_s=-frame_s)
    assert word_model(folder, manifest, "ctc") == unmeasured
    word = WordMaker(unmeasured, frame_s).word(Spelled("a", first=3, last=3, log_prob=0.0))
    assert (word.start_s, word.end_s) == pytest.approx((3 * frame_s, 4 * frame_s)), (
        "a word of one piece lasts for its frame"
    )
    models(folder).write(folder / FILE)
    assert word_model(folder, manifest, "ctc") == WordModel(start_delay_s=0.2, end_delay_s=0.1, pieces=0.5, offset=-1.0)
    assert word_model(folder, manifest, "rnnt") == unmeasured
    assert known_words(folder, manifest) == frozenset()
    searches = {
        search: {"start_delay_s": 0.2, "known": 5.0, "offset": -6.0} for search in ("ctc", "ctc with language model")
    }
    models(folder, searches=searches).write(folder / FILE)
    kept = WordModel(start_delay_s=0.2)
    assert word_model(folder, manifest, "ctc") == kept, "without the list nothing is known of words"
    other = models(folder, lookahead_ms=480)
    other.write(folder / FILE)
    with pytest.raises(
        InputError, match=r"found it of another checkpoint or look-ahead; make it again with `make words`"
    ):
        word_model(folder, manifest, "ctc")
    (folder / FILE).write_text('{"searches": {"ctc": {"weight": 1}}}')
    with pytest.raises(InputError, match="expected a valid"):
        word_model(folder, manifest, "ctc")


def test_a_recogniser_reads_its_bundle_s_and_refuses_another_s(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", toy_model())
    models(toy).write(toy / FILE)
    with Recognizer(toy, precision="fp32", backend="onnxruntime-cpu") as recognizer:
        assert recognizer._decoders.maker.word_model.start_delay_s == 0.2
    for other in ({"lookahead_ms": 480}, {"checkpoint_sha256": "2" * 64}):
        models(toy, **other).write(toy / FILE)
        with pytest.raises(
            InputError, match=r"^expected .* at 80 ms, found it of another .*make it again with `make wor"
        ):
            Recognizer(toy, precision="fp32", backend="onnxruntime-cpu")
