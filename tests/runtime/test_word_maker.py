"""A word's times and confidence by a model, and words.json as a recogniser reads it."""

import math
from pathlib import Path

import pytest

from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.recognizer import Recognizer
from runtime.word_models import WordModel, WordModels, word_model
from runtime.words import Found, Spelled, WordMaker
from tests.calibration.conftest import toy_model, write_toy

DELAYED = WordModel(start_delay_s=0.3, end_delay_s=0.1)


@pytest.mark.parametrize(
    ("first", "last", "following", "start_s", "end_s"),
    [
        (10, 12, None, 1.5, 1.86),
        (10, 12, 12, 1.5, 1.66),  # no word ends after the next one begins
        (2, 2, None, 1.0, 1.06),  # nor begins before its utterance
        (10, 10, 10, 1.5, 1.5),
    ],
)
def test_times(first: int, last: int, following: int | None, start_s: float, end_s: float) -> None:
    word = WordMaker(DELAYED, 0.08, start_s=1.0).word(Spelled("a", first, last, -0.1), following=following)
    assert (word.start_s, word.end_s) == (start_s, end_s)


@pytest.mark.parametrize("text", ["a", "b"])
def test_confidence_is_a_logistic_regression(text: str) -> None:
    model = WordModel(pieces=0.5, rivals=0.25, language=0.125, known=2.0, offset=-1.0)
    word = WordMaker(model, 0.08, known=["a"]).word(Spelled(text, 1, 2, math.log(0.8)), Found(3.0, -4.0))
    log_odds = 0.5 * math.log(0.8 / 0.2) + 0.25 * math.log(0.25 / 0.75) + 0.125 * -4 + 2 * (text == "a") - 1
    assert word.confidence == pytest.approx(1 / (1 + math.exp(-log_odds)), abs=5e-4)


@pytest.mark.parametrize(("offset", "confidence"), [(-1000.0, 0.0), (1000.0, 1.0)])
def test_the_most_that_a_model_may_say_is_still_computed(offset: float, confidence: float) -> None:
    assert WordMaker(WordModel(offset=offset), 0.08).word(Spelled("a", 1, 2, -0.1)).confidence == confidence


def test_a_recogniser_reads_its_bundle_s_and_refuses_another_s(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", toy_model())
    bundle = read_bundle(toy)
    assert word_model(toy, bundle, "ctc") == WordModel(), "without a file"
    models = WordModels(
        checkpoint_sha256=bundle.checkpoint.sha256,
        lookahead_ms=bundle.lookahead_ms,
        clips=9,
        made_from="0" * 64,
        searches={"ctc": DELAYED},
    )
    models.write(toy / "words.json")
    with Recognizer(toy, precision="fp32", backend="onnxruntime-cpu") as recognizer:
        assert recognizer._word_model == DELAYED
    for other in ({"lookahead_ms": 480}, {"checkpoint_sha256": "2" * 64}):
        models.model_copy(update=other).write(toy / "words.json")
        with pytest.raises(
            InputError, match=r"^expected .* at 80 ms, found it of another .*make it again with `make wor"
        ):
            Recognizer(toy, precision="fp32", backend="onnxruntime-cpu")
