"""words.json: what it holds for given words, who is refused, that it is whole, repeatable and read; and the embedded checkpoint's own."""

import ast
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import calibration.evidence
from calibration.evidence import Ear, Heard, Weighed, WeighedMaker, with_noise
from calibration.speech import Selection
from calibration.words import FROM_SILERO_S, LEAST_CLIPS, LEAST_WORDS, SOURCES, parse_args, run, word_model
from data.manifest import read_manifest
from data.voiced import Speech
from export.companions import silero_file
from runtime.audio import load_audio
from runtime.bundle import read_bundle, write_manifest
from runtime.entries import FileEntry
from runtime.errors import InputError
from runtime.files import sha256
from runtime.recognizer import Recognizer
from runtime.word_models import WordModel, WordModels
from runtime.word_models import word_model as read_model
from runtime.words import NOTHING, Evidence, Spelled
from tests.forks import command

FRAME_S = 0.08
CHECKPOINT = Path("data/checkpoint/streaming_fastconformer_ctc_en_small.nemo")
MakeSet = Callable[..., Path]


def weighed(evidence: Sequence[float], first: int = 0, last: int = 0) -> Weighed:
    return Weighed("a", 0.0, 0.0, 0.5, Spelled("a", first, last, 0.0), Evidence(*evidence))


def heard(rng: np.random.Generator, *, words: int = 4, varying: Sequence[bool] = (True,) * 5) -> Heard:
    """A clip whose words are right more often the more speaks for them; the first is begun at frame 5, the last ends at 20."""
    found = []
    for number in range(words):
        evidence = np.where(varying, rng.normal(0, 2, 5), 1.5)
        right = bool(rng.random() < 1 / (1 + np.exp(-evidence.sum())))
        found.append((weighed(evidence.tolist(), 5 + 5 * number, 5 + 5 * number), right))
    made, right_ones = zip(*found, strict=True)
    return Heard(made, right_ones, Speech(0.3 + rng.choice([-0.1, 0.0, 0.1]), 1.5))


@pytest.mark.parametrize("varying", [(True,) * 5, (True, False, False, True, True)])
def test_delays_are_medians_and_weights_scikit_learn_s(varying: Sequence[bool]) -> None:
    rng = np.random.default_rng(3)
    clips = [heard(rng, varying=varying) for _ in range(101)]
    found = word_model("ctc", clips, FRAME_S)
    onsets = [clip.speech.onset_s for clip in clips if clip.speech]
    assert found.start_delay_s == pytest.approx(5 * FRAME_S - np.median(onsets) + FROM_SILERO_S, abs=1e-3)
    assert found.end_delay_s == pytest.approx(20 * FRAME_S - 1.5 + FROM_SILERO_S, abs=1e-3)
    evidence = np.array([word.evidence for clip in clips for word in clip.words])[:, varying]
    fitted = LogisticRegression(C=1).fit(evidence, [right for clip in clips for right in clip.right])
    weights = np.array([found.pieces, found.rivals, found.language, found.known, found.length])
    print(found, fitted.coef_, fitted.intercept_)
    np.testing.assert_allclose(weights[list(varying)], fitted.coef_[0], atol=2e-3)
    np.testing.assert_array_equal(weights[[not each for each in varying]], 0)
    assert found.offset == pytest.approx(fitted.intercept_[0], abs=2e-3)


def test_a_word_without_letters_and_a_clip_with_noise_count_for_nothing() -> None:
    rng = np.random.default_rng(3)
    clips = [heard(rng) for _ in range(50)]
    silent = Heard((weighed([9.0] * 5),), (None,), None)
    assert word_model("ctc", [*clips, silent], FRAME_S) == word_model("ctc", clips, FRAME_S)


@pytest.mark.parametrize(
    ("clips", "right", "wrong"),
    [(LEAST_CLIPS - 1, 100, 100), (LEAST_CLIPS, LEAST_WORDS - 1, 100), (LEAST_CLIPS, 100, LEAST_WORDS - 1), (0, 0, 0)],
)
def test_too_little_speech_is_one_line(clips: int, right: int, wrong: int) -> None:
    words = tuple(weighed([number] * 5) for number in range(right + wrong))
    all_words = Heard(words, (True,) * right + (False,) * wrong, None)
    empty = [Heard((weighed([0.0] * 5),), (None,), Speech(0.0, 1.0))] * clips
    said = f"^expected calibration speech in which rnnt .*found {clips} clips, {right} right and {wrong} wrong; add clips, or"
    with pytest.raises(InputError, match=said):
        word_model("rnnt", [all_words, *empty], FRAME_S)


def test_it_is_measured_again_where_the_search_changed() -> None:
    """What the search is made of, but hotwords, without which it is measured."""
    beam = ast.parse(Path("runtime/decoders/beam.py").read_text(encoding="utf-8"))
    beside = {node.module for node in ast.walk(beam) if isinstance(node, ast.ImportFrom) and node.level == 1}
    assert {f"runtime/decoders/{name}.py" for name in beside - {"hotwords"}} <= set(SOURCES)


def test_noise() -> None:
    samples = np.sin(np.arange(160_000, dtype=np.float32))
    noisy = with_noise(samples, 7)
    noise = noisy.astype(np.float64) - samples
    assert noisy.dtype == np.float32
    assert 10 * np.log10(np.mean(noise**2) / np.mean(samples.astype(np.float64) ** 2)) == pytest.approx(-10, abs=0.01)
    np.testing.assert_array_equal(noisy, with_noise(samples, 7))
    assert not np.array_equal(noisy, with_noise(samples, 8))
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[1 << octave : 2 << octave].sum() for octave in range(8, 16)]
    print("power by octave", np.round(octaves / np.mean(octaves), 2))
    np.testing.assert_allclose(octaves / np.mean(octaves), 1, atol=0.25)  # pink: as much in each


@pytest.fixture
def spoken(toy: Path, tmp_path: Path, make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Calibration speech of noise, of which every second clip says what the toy bundle, each of whose pieces is a word, makes of it."""
    (toy / "silero.onnx").write_bytes(silero_file().read_bytes())
    detector = FileEntry(file="silero.onnx", sha256=sha256(toy / "silero.onnx"))
    words = {"vocabulary": ["▁a", "▁b", "▁c"], "voice_activity": detector}
    write_manifest(toy, read_bundle(toy).model_copy(update=words))
    monkeypatch.setattr(calibration.evidence, "find_speech", lambda *_: Speech(0.5, 1.5))
    place = make_set(tmp_path / "asr_calib", [{"seconds": 6} for _ in range(LEAST_CLIPS + 2)])
    manifest = place / "noise" / "manifest_en.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    with Recognizer(toy, backend="onnxruntime-cpu", precision="fp32") as recognizer:
        stream = recognizer.stream()
        for number, clip in enumerate(read_manifest(manifest)):
            stream.push(load_audio(clip.audio))
            said = stream.end_utterance().text
            name = f"clip {chr(ord('d') + number)}"
            lines[number]["text"] = f"{name} {said}" if number % 2 else name
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return place


def test_writes_once_what_the_runtime_reads(toy: Path, spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toy / "words.json"
    evaluation = spoken.parent / "asr_eval"
    evaluation.mkdir()
    arguments = ["--bundle", str(toy), "--data", str(spoken), "--eval", str(evaluation)]
    run(parse_args(arguments))
    said = capsys.readouterr().out
    assert "words: ctc: decided " in said
    assert f"words: wrote {path} from {LEAST_CLIPS + 2} clips" in said
    written = path.read_bytes()
    models = WordModels.model_validate_json(written)
    bundle = read_bundle(toy)
    assert list(models.searches) == ["ctc"]
    assert read_model(toy, bundle, "ctc") == models.searches["ctc"]
    assert models.searches["ctc"].pieces != 0
    assert (models.searches["ctc"].rivals, models.searches["ctc"].language) == (0, 0), "greedy decoding knows neither"
    assert read_model(toy, bundle, "rnnt") == WordModel(end_delay_s=-0.08), "not measured"

    run(parse_args(arguments))
    assert capsys.readouterr().out == f"words: {path} is up to date\n"
    path.write_bytes(written[:-9])
    run(parse_args(arguments))
    assert "words: wrote" in capsys.readouterr().out
    assert path.read_bytes() == written, "the same each time"
    run(parse_args([*arguments, "--minutes", "2.05"]))
    assert "from 21 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected voice activity in the bundle"),
        (["--lang", "tlh"], "--lang: expected one of en, de"),
        (["--minutes", "1"], "expected at least 2 minutes of calibration speech"),
        (["--digits"], "expected transcripts without digits, found 2 with them; write numbers as words"),
    ],
)
def test_refused_in_one_line(toy: Path, tmp_path: Path, make_set: MakeSet, arguments: list[str], says: str) -> None:
    place = make_set(tmp_path / "asr_calib", [{"seconds": 61}, {"seconds": 61}])
    if "--digits" not in arguments:
        manifest = place / "noise" / "manifest_en.jsonl"
        manifest.write_text(manifest.read_text().replace("number 0", "one").replace("number 1", "two"))
    options = [each for each in arguments if each != "--digits"]
    done = command("calibration.words", "--bundle", toy, "--data", place, *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr
    assert not (toy / "words.json").exists()


@pytest.mark.parametrize("lookahead_ms", [0, 80, 480, 1040])
def test_the_embedded_checkpoint_has_its_own(lookahead_ms: int) -> None:
    found = WordModels.read(CHECKPOINT.with_suffix(f".words-{lookahead_ms}ms.json"), "word models", "`make words`")
    assert (found.checkpoint_sha256, found.lookahead_ms) == (sha256(CHECKPOINT), lookahead_ms)
    assert found.searches.keys() == {"ctc", "ctc with language model"}
    for search, model in found.searches.items():
        print(search, model)
        assert 0.05 < model.start_delay_s < 0.5
        assert 0 < model.end_delay_s < model.start_delay_s


def test_every_search_hears_what_the_runtime_recognises(bundle: Path, sample: list[tuple[str, np.ndarray]]) -> None:
    """On the sample: words, times and, under the plain model, confidence are those of a recogniser's final."""
    clips = read_manifest(Path("data/sample/manifest_en.jsonl"))[:2]
    ear = Ear(bundle, read_bundle(bundle), "en")
    found = list(ear.clips(Selection(Path(), tuple(clips), [])))[::2]
    ear.close()
    for search, lm in {"ctc": "none", "ctc with language model": "default"}.items():
        with Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=lm) as recognizer:
            recognizer._decoders.maker.word_model = WordModel()
            stream = recognizer.stream()
            for (_, samples), clip in zip(sample, found, strict=False):
                stream.push(samples)
                expected = stream.end_utterance().at(0.0).words
                heard_words: Any = clip[search]  # type: ignore[index]
                words = [(each.text, each.start_s, each.end_s, each.confidence) for each in heard_words.words]
                assert words == [(each.text, each.start_s, each.end_s, each.confidence) for each in expected]
                assert heard_words.speech is not None


def test_maker_keeps_what_it_weighs() -> None:
    maker = WeighedMaker(WordModel(), FRAME_S, known=["a"])
    spelled = Spelled("a", 2, 3, -0.5)
    made = maker.word(spelled)
    assert made.spelled == spelled
    assert made.evidence == maker.evidence(spelled, NOTHING)
    moved = made.moved(1.0)
    assert isinstance(moved, Weighed)
    assert moved.evidence == made.evidence
