"""`python -m bench`: bad input is one line, exit code 2 and no file; the real thing on the committed sample."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from bench.__main__ import parse_args, run
from bench.results import read_result
from bench.rows import EndpointRow, SpeechRow
from bench.speech import clips, endpoint, recognise
from bench.speech.offline import load_recognizer
from data import places
from data.manifest import Utterance, read_manifest, write_manifest
from runtime import Recognizer
from runtime.audio import load_audio
from runtime.errors import InputError, exit_code

SAMPLE = Path("data/sample")
EMBEDDED = "data/checkpoint/streaming_fastconformer_ctc_en_small.nemo"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_damaged_audio_among_the_clips(
    bundle: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = read_manifest(SAMPLE / "manifest_en.jsonl")[0]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "bad.wav").write_bytes(b"no audio")
    bad = Utterance(tmp_path / "set" / "bad.wav", "words", 1.0)
    write_manifest(tmp_path / "set" / "manifest_en.jsonl", [good, bad])
    argv = ["--bundle", str(bundle), "--eval", str(tmp_path), "--backend", "onnxruntime-cpu", "--out", str(out)]
    assert exit_code(lambda: run(argv)) == 2
    error = capsys.readouterr().err
    assert "bad.wav" in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("command", ["endpoint", "bargein"])
def test_no_speech_in_a_data_set(
    command: str, bundle: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = tmp_path / "silent" / "a.wav"
    silent.parent.mkdir()
    soundfile.write(silent, np.zeros(32_000, np.float32), 16_000)
    write_manifest(silent.parent / "manifest_en.jsonl", [Utterance(silent, "words", 2.0)])
    argv = [
        command,
        "--bundle",
        str(bundle),
        "--eval",
        str(tmp_path),
        "--backend",
        "onnxruntime-cpu",
        "--out",
        str(out),
    ]
    assert exit_code(lambda: run(argv)) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: silent_en: 1 recordings may be spoilt, such as a.wav: it is silent")
    assert error.startswith("error: silent_en: expected speech, found none in its 1 clips")
    assert not out.exists()


def test_without_a_command_it_runs() -> None:
    asked = recognise.Options(bundle=Path("b"))
    assert parse_args(["--bundle", "b"]) == parse_args(["run", "--bundle", "b"]) == ("run", asked)
    name, options = parse_args(["results", "--check"])
    assert (name, options.check) == ("results", True)


def test_the_sample_stands_in_for_a_missing_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(places, "PLACES", (tmp_path / "data", tmp_path / "shared"))
    assert clips.eval_folder(None, lines.append) == SAMPLE
    assert len(lines) == 1
    assert "data/sample, synthesised speech" in lines[0]
    assert clips.eval_folder(SAMPLE.resolve(), lines.append) == SAMPLE.resolve()
    assert len(lines) == 2
    assert clips.eval_folder(tmp_path, lines.append) == tmp_path
    for place in ("shared", "data"):  # the repository's own goes first
        (tmp_path / place / "asr_eval").mkdir(parents=True)
        assert clips.eval_folder(None, lines.append) == tmp_path / place / "asr_eval"
    assert len(lines) == 2


def test_references_with_digits_are_left_out_and_counted(tmp_path: Path) -> None:
    audio = [each.audio.resolve() for each in read_manifest(SAMPLE / "manifest_en.jsonl")]
    texts = ["one two", "in 1984", "...", "three", "4"]
    utterances = [Utterance(each, text, 1.5) for each, text in zip(audio, texts, strict=False)]
    write_manifest(tmp_path / "set" / "manifest_en.jsonl", utterances)
    (found,) = clips.data_sets(tmp_path, "en", None)
    assert (found.name, [each.text for each in found.utterances], found.left_out) == ("set_en", ["one two", "three"], 3)
    (found,) = clips.data_sets(tmp_path, "en", 2)
    assert ([each.text for each in found.utterances], found.left_out) == (["one two"], 1)
    write_manifest(tmp_path / "set" / "manifest_en.jsonl", [Utterance(audio[0], "1984", 1.5)])
    with pytest.raises(InputError, match="nothing can be scored"):
        clips.data_sets(tmp_path, "en", None)


def test_parts_of_one_recording_have_the_errors_of_separate_files(bundle: Path, out: Path, tmp_path: Path) -> None:
    """As NeMo writes long recordings, and with a line that is broken: the row counts it, its clips are named by their offsets."""
    utterances = read_manifest(SAMPLE / "manifest_en.jsonl")[:3]
    samples = [load_audio(each.audio) for each in utterances]
    lines, begin = [], 0.0
    for each, heard in zip(utterances, samples, strict=True):
        lines.append(
            {"audio_filepath": "long.wav", "text": each.text, "offset": begin, "duration": len(heard) / 16_000}
        )
        soundfile.write(tmp_path / each.audio.with_suffix(".wav").name, heard, 16_000, subtype="FLOAT")
        begin += len(heard) / 16_000
    separate = [
        {"audio_filepath": each.audio.with_suffix(".wav").name, "text": each.text, "duration": each.duration}
        for each in utterances
    ]
    soundfile.write(tmp_path / "long.wav", np.concatenate(samples), 16_000, subtype="FLOAT")
    rows = []
    manifests: dict[str, list[Any]] = {"parts": [*lines, {"audio_filepath": "no.wav"}], "separate": separate}
    for name, made in manifests.items():
        (tmp_path / "manifest_en.jsonl").write_text("\n".join(json.dumps(line) for line in made))
        argv = ["--bundle", str(bundle), "--eval", str(tmp_path), "--backend", "onnxruntime-cpu", "--mode", "utterance"]
        run([*argv, "--allow", "25", "--out", str(out), "--name", name])
        result = read_result(out / f"{name}.json")
        rows.append(result.rows_of(SpeechRow)[0])
    assert (rows[0].wer, rows[0].clips, rows[0].left_out) == (rows[1].wer, 3, 1)
    parts = read_result(out / "parts.json").utterances
    assert [each.audio for each in parts] == [f"long.wav@{line['offset']:g}s" for line in lines]
    assert [each.hypothesis for each in parts] == [each.hypothesis for each in result.utterances]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["set/clips/a.wav", "{root}/set/clips/b.wav"], ["clips/a.wav", "clips/b.wav"]),
        (["{root}/audio/a.wav", "{root}/audio/b.wav"], ["a.wav", "b.wav"]),
        (["{root}/audio/1/a.wav", "{root}/audio/2/a.wav", "{root}/audio/b.wav"], ["1/a.wav", "2/a.wav", "audio/b.wav"]),
        (["set/a.wav", "{root}/audio/a.wav"], ["a.wav", "audio/a.wav"]),
        (["set/../audio/a.wav", "{root}/audio/a.wav", "{root}/set/../set/b.wav"], ["a.wav", "a.wav", "b.wav"]),
        (["{root}/link/a.wav", "set/out/b.wav"], ["a.wav", "out/b.wav"]),
    ],
)
def test_clips_names_hold_no_folder_of_the_machine(
    paths: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "out").symlink_to(tmp_path / "audio")
    monkeypatch.chdir(tmp_path)
    utterances = tuple(Utterance(Path(each.format(root=tmp_path)), "a", 1.0) for each in paths)
    data_set = clips.DataSet("set_en", "en", Path("set/manifest_en.jsonl"), utterances, 0)
    assert [data_set.names[each.audio] for each in utterances] == names


def test_a_manifest_of_absolute_paths(bundle: Path, out: Path, tmp_path: Path) -> None:
    first = read_manifest(SAMPLE / "manifest_en.jsonl")[0]
    audio = first.audio.resolve()
    line = {"audio_filepath": str(audio), "text": "one two", "duration": first.duration}
    (tmp_path / "manifest_en.jsonl").write_text(json.dumps(line))
    argv = ["--bundle", str(bundle), "--eval", str(tmp_path), "--backend", "onnxruntime-cpu", "--mode", "utterance"]
    argv += ["--out", str(out), "--name", "x"]
    run(argv)
    assert [each.audio for each in read_result(out / "x.json").utterances] == [audio.name]


@pytest.mark.parametrize("mode", ["utterance", "continuous"])
def test_the_sample_end_to_end(bundle: Path, out: Path, mode: str) -> None:
    argv = ["--bundle", str(bundle), "--eval", str(SAMPLE), "--backend", "onnxruntime-cpu", "--limit", "2"]
    run([*argv, "--mode", mode, "--out", str(out), "--name", "x"])
    result = read_result(out / "x.json")
    (row,) = result.rows_of(SpeechRow)
    assert (row.lang, {record.lang for record in result.utterances}) == ("en", {"en"})
    assert (row.mode, row.limit, row.clips, row.pace, row.functional_check) == (mode, 2, 2, "fast", True)
    assert (row.backend, row.weights, row.lookahead_ms, row.data) == ("onnxruntime-cpu", "trained", 80, "sample_en")
    assert row.precision == "fp32"
    assert row.wer is not None
    assert row.steps is not None
    assert row.rtf_p50
    assert row.step_ms_p50
    assert row.peak_gpu_memory_mb is None
    assert (row.lm, row.churn is None) == ("lm_en_4gram", False)
    assert row.decode_ms_p50
    assert (row.final_ms_p50 is None) is (mode == "continuous")
    assert len(result.utterances) == (2 if mode == "utterance" else 1)
    assert all(each.reference and each.onset_s is not None for each in result.utterances) is (mode == "utterance")
    if mode == "utterance":
        for each in result.utterances:
            assert each.partials
            assert each.partials[0].seconds == pytest.approx((each.first_partial_ms or 0.0) / 1e3, abs=0.006)
            assert [shown.seconds for shown in each.partials] == sorted(shown.seconds for shown in each.partials)
            assert each.hypothesis.startswith(each.partials[-1].text.split()[0])
            stable = [shown.stable or 0 for shown in each.partials]
            assert stable == sorted(stable)
            assert each.words
            assert " ".join(word.text for word in each.words) == each.hypothesis
            assert 0 <= each.words[0].start_s <= each.words[-1].end_s <= each.audio_s  # of the clip, not of the stream
    else:
        assert (result.utterances[0].partials, result.utterances[0].words) == (None, None)
    assert {"wer", "rtf", "step_ms", "speech", "partials", "words"} <= result.definitions.keys()
    assert ("final_ms" in result.definitions) is (mode == "utterance")  # what its rows hold
    assert result.provenance.data[0].clips == 2


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are opened as if their weights were random."""
    opened = Recognizer.__init__

    def as_random(self: Recognizer, *arguments: Any, **choices: Any) -> None:
        opened(self, *arguments, **choices)
        checkpoint = self.bundle.checkpoint.model_copy(update={"weights": "random"})
        self.bundle = self.bundle.model_copy(update={"checkpoint": checkpoint})

    monkeypatch.setattr(Recognizer, "__init__", as_random)


@pytest.mark.usefixtures("random_weights")
def test_random_weights_have_no_error_rate_and_no_first_partial(bundle: Path, out: Path) -> None:
    options = recognise.Options(
        bundle=bundle, eval=SAMPLE, backend="onnxruntime-cpu", mode="utterance", limit=1, out=out
    )
    written = json.loads(recognise.run(options, [], Console(file=io.StringIO())).path.read_text())
    (row,) = written["rows"]
    assert row["weights"] == "random"
    assert {row[key] for key in ("wer", "cer", "first_partial_ms_p50", "first_partial_onset_ms_p95")} == {None}
    assert row["final_ms_p50"] > 0


@pytest.mark.usefixtures("random_weights")
def test_nor_in_the_stream_of_endpoints(bundle: Path, out: Path) -> None:
    options = endpoint.Options(bundle=bundle, eval=SAMPLE, backend="onnxruntime-cpu", limit=2, out=out)
    written = endpoint.run(options, [], Console(file=io.StringIO()))
    (row,) = read_result(written.path).rows_of(EndpointRow)
    said = row.model_dump()
    texts = {key for key in said if key.startswith(("wer", "cer", "first_", "waterfall"))}
    assert {"wer_clips", "first_partial_ms_p95", "first_correct", "first_correct_onset_ms_p50", "waterfalls"} < texts
    assert {said[key] for key in texts} == {None}
    assert (row.found, row.clips, row.weights) == (2, 2, "random")
    assert row.final_ms_p50
    assert row.end_decision_ms_p50


@pytest.mark.nemo
def test_streaming_says_what_nemo_says_offline(
    bundle_at: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import checkpoint

    monkeypatch.setattr(checkpoint, "load_checkpoint", cache(checkpoint.load_checkpoint))
    for lookahead_ms in (0, 80):
        reference = load_recognizer(EMBEDDED, lookahead_ms, "en")
        with Recognizer(bundle_at(lookahead_ms), backend="onnxruntime-cpu", lm=None) as recognizer:
            for utterance in read_manifest(SAMPLE / "manifest_en.jsonl")[:3]:
                samples = load_audio(utterance.audio)
                stream = recognizer.stream()
                stream.push(samples)
                assert stream.end_utterance().text.split() == reference.transcribe(samples).split()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["run", "--bundle", "b", "--limt", "3"],
            "expected options of bench run, found --limt; see python -m bench run --help",
        ),
        (["run", "--limt", "3"], "expected options of bench run, found --limt; see python -m bench run --help"),
        ([], "expected --bundle, found none; see python -m bench run --help"),
        (["compare", "a.json"], "expected PATH, found none; see python -m bench compare --help"),
        (
            ["run", "--bundle", "b", "--limit", "x"],
            "expected INT for --limit, found 'x'; see python -m bench run --help",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line(argv: list[str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        run(argv)
    assert str(caught.value) == said
