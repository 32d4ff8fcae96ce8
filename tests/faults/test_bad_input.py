"""Bad input of every kind, a line each: one line on standard error, exit code 2, no traceback, no hang, nothing written."""

import io
import json
import shlex
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import soundfile

from data.manifest import Utterance, write_manifest
from runtime.errors import exit_code
from tests.bench.toys import calibrated_toy

LIMIT_S = 20
NEMO = "data/checkpoint/streaming_fastconformer_ctc_en_small.nemo"
RESULT = min(Path("bench/results").glob("*.json"), key=lambda path: path.stat().st_size)
NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

R = "runtime --backend onnxruntime-cpu --bundle {toy}"
B = "bench run --backend onnxruntime-cpu --out {out} --bundle {toy} --eval data/sample"
S = "bench streams --backend onnxruntime-cpu --out {out} --bundle {toy} --eval data/sample"
C = "calibration --bundle {toy} --data data/sample"
X = "export --out {out} --model"
BAD: list[tuple[str, str]] = [
    # Audio.
    (f"{R} {{bad}}/none.wav", "none.wav: no such audio file"),
    (f"{R} {{bad}}", "bad: expected an audio file, found a folder; name the files in it"),
    (f"{R} {'x' * 300}.wav", "xxx.wav: no such audio file"),
    (f"{R} {{bad}}/empty.wav", "empty.wav: expected audio, found an empty file; record it again"),
    (f"{R} {{bad}}/text.wav", "text.wav: not audio that libsndfile or FFmpeg reads"),
    (f"{R} {{bad}}/playlist.m3u", "playlist.m3u: not audio that libsndfile or FFmpeg reads"),
    (f"{R} {{bad}}/header.wav", "header.wav: audio of zero length; drop the file"),
    (f"{R} {{bad}}/nan.wav", "nan.wav: 16000 samples are NaN or infinite; re-record or drop it"),
    (f"{R} {{bad}}/integers.wav", "expected samples in -1..1, found up to"),
    (f"{R} {{bad}}/slow.wav", "slow.wav: expected a rate of 8000 to 192000 Hz, found 4000 Hz; resample it"),
    (f"{R} {{bad}}/lie.flac", "more than its"),
    (f"{R} {{bad}}/days.wav", "days.wav: "),
    (f"{R} {{bad}}/escape\\\x1b[31m.wav", "no such audio file"),
    # Standard input: an odd number of bytes.
    (f"{R} -", "expected 16-bit samples on standard input, found an odd number of bytes"),
    (f"{R} - --rate 0", "expected --rate in 8000..192000, found 0"),
    (f"{R} - --rate 16000x", "argument --rate: invalid int value: '16000x'; see"),
    (f"{R} {{bad}}/text.wav --rate 8000", "expected - among the files with --rate"),
    # What a recogniser is asked for.
    (R, "expected files or --mic, found neither"),
    (f"{R} --mic -", "expected files or --mic, found both"),
    (f"{R} - --frame-ms 0", "expected --frame-ms in 1..1000, found 0"),
    (f"{R} - --frame-ms ten", "argument --frame-ms: invalid int value: 'ten'"),
    (f"{R} - --frame-ms", "argument --frame-ms: expected one argument"),
    (f"{R} - --endpoint-ms 3", "unrecognized arguments: --endpoint-ms 3"),
    (f"{R} - --backend tpu", "expected a backend out of tensorrt, onnxruntime-cpu, onnxruntime-cuda, found tpu"),
    (f"{R} - --backend onnxruntime-cuda", "expected onnxruntime with CUDAExecutionProvider"),
    (f"{R} - --backend tensorrt", "expected a plan"),
    (f"{R} - --precision fp8", "expected a precision of the bundle (fp32, fp16), found fp8"),
    (f"{R} - --decoder rnnt", "expected a decoder of the bundle (ctc), found rnnt"),
    (f"{R} - --endpoints", "expected voice activity in the bundle"),
    (f"{R} - --lm none.kenlm", "expected a KenLM file, found no file none.kenlm"),
    (f"{R} - --lm {{bad}}/alone.kenlm", "expected the word list of"),
    (f"{R} - --lm {{bad}}/broken.kenlm", "broken.kenlm that KenLM cannot read"),
    (f"{R} - --lm {{bad}}/latin.kenlm", "latin_words.txt unreadable; write it anew"),
    (f"{R} - --lm {{bad}}/blank.kenlm", "blank_words.txt empty; write it anew"),
    (f"{R} - --early later", "argument --early: invalid choice: 'later'"),
    (f"{R} - --hotwords", "argument --hotwords: expected one argument"),
    (f"{R} - --hotwords {{bad}}/none.txt", "none.txt': No such file or directory; give a file"),
    (f"{R} - --hotwords {{bad}}", "bad': Is a directory; give a file"),
    (f"{R} - --hotwords {{bad}}/latin_words.txt", "expected a list of hotwords in UTF-8"),
    (f"{R} - --hotwords {{bad}}/hotwords/heavy.txt", "heavy.txt':2: expected a number after the tab"),
    (f"{R} - --hotwords {{bad}}/hotwords/twice.txt", "twice.txt':3: expected a hotword once, found 'a word' again"),
    (f"{R} - --hotwords {{bad}}/hotwords/too_heavy.txt", "expected a weight above 0 and up to 20 for the hotword 'a'"),
    (f"{R} - --hotwords {{bad}}/hotwords/nothing.txt", "expected a hotword of letters, found ''"),
    (f"{R} - --hotwords {{bad}}/hotwords/greek.txt", "expected hotwords that the recogniser's pieces can spell"),
    # Bundles; of each kind of damage more in tests/runtime/test_bundle.py.
    ("runtime --bundle {bad}/none -", "expected a bundle at"),
    (
        "runtime --bundle {toy} --language de -",
        "expected en, the one language of toy, found de; choose a checkpoint for it",
    ),
    ("runtime --bundle {bad}/text.wav -", "expected a bundle at"),
    ("runtime --bundle {bad}/bundles/empty -", "found at the file: Invalid JSON"),
    ("runtime --bundle {bad}/bundles/list -", "found at the file: "),
    ("runtime --bundle {bad}/bundles/newer -", "is a bundle of schema 99, this version reads"),
    ("runtime --bundle {bad}/bundles/latin -", "Invalid JSON"),
    ("runtime --bundle {bad}/bundles/deep -", "recursion limit exceeded"),
    ("runtime --bundle {bad}/bundles/folder -", "expected a bundle at"),
    ("runtime --bundle {bad}/bundles/cut --backend onnxruntime-cpu -", "expected step.fp32.onnx in the bundle"),
    ("runtime --bundle {bad}/bundles/another --backend onnxruntime-cpu -", "with sha256"),
    # Manifests and data sets; of lines more in tests/data/test_manifest.py.
    (f"{B} --eval {{bad}}/none", "none: no such folder of data sets"),
    (f"{B} --lang de", "manifest_de.jsonl"),
    (f"{B} --lang xx", "--lang: expected one of en, de, found 'xx'"),
    (f"{B} --eval {{bad}}/sets/json", "manifest_en.jsonl:1:"),
    (f"{B} --eval {{bad}}/sets/nothing", "manifest_en.jsonl"),
    (f"{B} --eval {{bad}}/sets/latin", "manifest_en.jsonl"),
    (f"{B} --eval {{bad}}/sets/clip", "clip.wav"),
    (f"{B} --eval {{bad}}/sets/long", "manifest_en.jsonl:1:"),
    ("data --common-voice no/such/folder --out {out}", "no/such/folder"),
    ("data --common-voice {bad} --out {out}", "expected"),
    ("data --common-voice {bad}/release --out {out}", "client_id"),
    ("data --out {bad}/sets --allow=-1", "expected --allow from 0 to 100 percent, found -1; 1 is usual"),
    ("data --out {bad}/sets --allow x", "argument --allow: invalid float value: 'x'"),
    ("data --out {bad}/manifests", "manifest_en.jsonl:1:"),
    # The bench.
    ("bench bnech", "expected a command out of run, endpoint,"),
    (f"{B} --frame-ms 10", "--frame-ms: expected 20 to 40 ms, found 10; take 20"),
    (f"{B} --frame-ms 50", "--frame-ms: expected 20 to 40 ms, found 50; take 20"),
    (f"{B} --limit 0", "--limit: expected at least 1 clip, found 0"),
    (f"{B} --limit few", "expected INT for --limit, found 'few'; see python -m bench run --help"),
    (f"{B} --pace slow", "invalid choice 'slow' for argument '--pace'"),
    (f"{B} --bundel x", "expected options of bench run, found --bundel; see python -m bench run --help"),
    (f"{B} --precision int3", "found int3"),
    (f"{B} --backend nonsense", "found nonsense"),
    (f"{B} --lm no-such.kenlm", "no-such.kenlm"),
    (f"{B} --name ../elsewhere", "--name: expected a file name without a folder, found '../elsewhere'"),
    (f"{B} --name {250 * 'x'}", "File name too long"),
    (f"{B} --out /proc/results", "expected to write /proc/results/"),
    (f"{B} --out {{bad}}/text.wav", "Not a directory"),
    (f"{B} --slo speed=3", "--slo: expected KEY=LIMIT"),
    ("bench run --bundle no-such-bundle --eval data/sample --out {out}", "no-such-bundle"),
    ("bench offline --model no-such.nemo --eval data/sample --out {out}", "no-such.nemo"),
    (f"bench offline --model {NEMO} --lookahead 160 --eval data/sample --out {{out}}", "found 160"),
    (
        f"{S} --streams ''",
        "--streams: expected ascending numbers from 1 to 4096 with commas between, as 1,2,4, found ''",
    ),
    (f"{S} --streams 2,1", "found '2,1'"),
    (f"{S} --streams 1,1", "found '1,1'"),
    (f"{S} --streams 0,1", "found '0,1'"),
    (f"{S} --streams 1,,2", "found '1,,2'"),
    (f"{S} --streams 1,x", "found '1,x'"),
    (f"{S} --streams=-1", "found '-1'"),
    (f"{S} --streams 5000", "found '5000'"),
    (f"{S} --streams 1 --seed=-1", "--seed: expected a number from 0 on, found -1; 0 is usual"),
    (f"{S} --streams {'9' * 5000}", f"found '{'9' * 5000}"),
    (f"{S} --seconds 0.5", "--seconds: expected 1 to 3600 s of audio a stream, found 0.5"),
    (f"{S} --seconds nan", "found nan"),
    (f"{S} --seconds inf", "found inf"),
    (f"{S} --slo-ms 0", "--slo-ms: expected a bound above 0 ms, found 0"),
    (f"{S} --slo-ms nan", "found nan"),
    (f"{S} --frame-ms 50", "20 to 40 ms, found 50"),
    # Result files.
    ("bench compare {result} {bad}/none.json", "cannot read the result file"),
    ("bench compare {result} {bad}/broken.json", "no result file of schema 1"),
    ("bench report {bad}/none.json --out {out}", "No such file"),
    ("bench report {bad}/broken.json --out {out}", "no result file of schema 1"),
    ("bench report {result} --eval {bad}/none --out {out}", "--eval: expected a folder of data sets, found no folder"),
    ("bench publish {bad}/none.json --results {out}", "cannot read the result file"),
    ("bench publish {bad}/broken.json --results {out}", "no result file of schema 1"),
    ("bench publish {bad}/object.json --results {out}", "no result file of schema 1"),
    ("bench results --results {bad}/none --page {out}", "none: no such folder of result files"),
    ("bench results --results {bad}/results --page {out}", "no result file of schema 1"),
    ("bench project --gpu t5 --bundle {toy} --measured {result} --out {out}", "t5"),
    # Calibration, engines, serving.
    (f"{C} --bundle no/such/bundle", "expected a bundle"),
    (f"{C} --data no/such/folder", "no such folder"),
    (f"{C} --lang de", "expected manifest_de.jsonl"),
    (C, "no speech of the evaluation set"),
    (f"{C} --method best", "argument --method: invalid choice: 'best'"),
    (f"{C} --minutes all", "argument --minutes: invalid float value: 'all'"),
    ("engines --bundle {toy} --precision fp61", "argument --precision: invalid choice: 'fp61'"),
    ("engines --bundle {toy} --level 9", "argument --level: invalid choice: 9"),
    ("engines --bundle {bad}/none", "expected "),
    ("engines.inspect --bundle {bad}/none", "expected a bundle at"),
    ("serving.triton --bundle {toy} --plan --precision fp32 --out {out}", "expected a plan"),
    ("serving.triton --bundle {toy} --out {out}", "expected the step over many streams in"),
    ("serving.triton --bundle {bad}/none --out {out}", "expected a bundle at"),
    ("serving.triton --bundle {toy} --streams 0 --out {out}", "expected max_streams as a whole number"),
    ("serving.triton --bundle {toy} --idle-s 0 --out {out}", "expected an idle time from 1 to 3600 s, found 0"),
    ("serving.triton.client x.wav --url localhost:1 --model none", "expected none at localhost:1 to answer, found: "),
    ("serving.triton.client x.wav --url localhost:1 --model none --frame-ms 0", "expected --frame-ms in 1..1000"),
    ("serving.triton.health --url localhost:1 --model none", "expected none at localhost:1 to answer, found: "),
    # Checkpoints; of archives more in tests/export/test_archive.py, of what they hold in test_bombs.py.
    (f"{X} {{bad}}/none.nemo", "expected a .nemo file at"),
    (f"{X} {{bad}}", "expected a .nemo file or the name of a published checkpoint, found the folder"),
    (f"{X} {{bad}}/text.nemo", "found no tar file in"),
    (f"{X} {{bad}}/cut.nemo", "found no tar file in"),
    (f"{X} {NEMO} --lookahead 100", "was trained for (0, 80, 480, 1040 ms), found 100; choose one of them"),
    (f"{X} {NEMO} --lookahead 80ms", "argument --lookahead: invalid int value: '80ms'"),
    (f"{X} large-random --lookahead -80", "found -80"),
    (f"{X} {NEMO} --lm {{bad}}/none.kenlm", "expected a KenLM file, found no file"),
    (f"{X} {NEMO} --out /proc/bundles", "expected to write /proc/bundles"),
]


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16", form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=form)
    return file.getvalue()


def lying_flac() -> bytes:
    content = wav(NOISE, form="FLAC")
    stated = int.from_bytes(content[18:26], "big") >> 36 << 36 | (1 << 36) - 1
    return content[:18] + stated.to_bytes(8, "big") + content[26:]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated_toy(tmp_path_factory.mktemp("toy") / "toy-80ms")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, toy: Path) -> Path:
    folder = tmp_path_factory.mktemp("input") / "bad"
    manifest = (toy / "bundle.json").read_text(encoding="utf-8")
    line = json.dumps({"audio_filepath": "clip.wav", "text": "a word", "duration": 1.0})
    files: dict[str, bytes | str] = {
        "empty.wav": b"",
        "text.wav": "no audio at all",
        "playlist.m3u": "#EXTM3U\n#EXTINF:1,a\n/etc/passwd\n",
        "header.wav": wav(NOISE[:0]),
        "nan.wav": wav(NOISE * np.float32(np.nan), subtype="FLOAT"),
        "integers.wav": wav(NOISE * 32_768, subtype="FLOAT"),
        "slow.wav": wav(NOISE, 4000),
        "lie.flac": lying_flac(),
        "days.wav": wav(NOISE)[:40] + struct.pack("<I", (1 << 31) - (1 << 20)),
        "alone.kenlm": "no list",
        "broken.kenlm": "no language model",
        "broken_words.txt": "word",
        "latin.kenlm": "no language model",
        "latin_words.txt": b"gr\xfc\xdfe",
        "blank.kenlm": "no language model",
        "blank_words.txt": " \n",
        "hotwords/heavy.txt": "a\nb\theavy",
        "hotwords/twice.txt": "a word\nb\n a word\t3\n",
        "hotwords/too_heavy.txt": "a\t99",
        "hotwords/nothing.txt": "\t3",
        "hotwords/greek.txt": "\u03b1",
        "bundles/empty/bundle.json": "",
        "bundles/list/bundle.json": "[]",
        "bundles/newer/bundle.json": json.dumps(json.loads(manifest) | {"schema_version": 99}),
        "bundles/latin/bundle.json": b'{"a": "\xe4"}',
        "bundles/deep/bundle.json": "[" * 100_000,
        "bundles/folder/bundle.json/a": "",
        "bundles/cut/bundle.json": manifest,
        "bundles/another/bundle.json": manifest,
        "bundles/another/step.fp32.onnx": "another step",
        "sets/json/manifest_en.jsonl": "{",
        "sets/nothing/manifest_en.jsonl": "",
        "sets/latin/manifest_en.jsonl": line.encode("utf-16"),
        "sets/clip/manifest_en.jsonl": line,
        "sets/clip/clip.wav": "no audio",
        "sets/long/manifest_en.jsonl": json.dumps({"audio_filepath": "x" * 5000, "text": "a", "duration": 1.0}),
        "manifests/asr_eval/mine/manifest_en.jsonl": "{",
        "release/en/validated.tsv": "path\tsentence\na.mp3\tA word.\n",
        "release/en/clips/a.mp3": b"",
        "broken.json": "{",
        "object.json": "{}",
        "results/a.json": "{",
        "text.nemo": "not an archive",
        "cut.nemo": Path(NEMO).read_bytes()[:1_000_000],
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    write_manifest(folder / "sets" / "good" / "manifest_en.jsonl", [Utterance(folder / "slow.wav", "words", 1.0)])
    return folder


def held(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder, with its size and when it was last changed."""
    found = [path for folder in folders for path in (folder, *folder.rglob("*")) if path.exists()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def run_of(module: str, words: list[str]) -> Callable[[], None]:
    """What the module's command line does."""
    spec = find_spec(module)
    assert spec
    command = import_module(f"{module}.__main__" if spec.submodule_search_locations else module)
    return lambda: command.run(words if module == "bench" else command.parse_args(words))


def hangs(_: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"not done after {LIMIT_S} s, at {frame}")


@pytest.fixture
def _in_time() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def filled_in(line: str, toy: Path, bad: Path, out: Path) -> list[str]:
    places = {"toy": toy, "bad": bad, "out": out, "result": RESULT}
    return [word.format(**places) for word in shlex.split(line)]


@pytest.mark.usefixtures("_in_time")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        # NeMo's offline forward imports it before it looks at what it was given.
        pytest.param(
            *row, id=f"{row[0][:60]} {row[1][:40]}", marks=[pytest.mark.nemo] * row[0].startswith("bench offline")
        )
        for row in BAD
    ],
)
def test_bad_input(  # noqa: PLR0917 -- fixtures
    line: str,
    says: str,
    toy: Path,
    bad: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, *words = filled_in(line, toy, bad, tmp_path / "out")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0\1\2")))
    before = held(toy, bad, tmp_path, Path("build/results"), Path("build/bundles"))
    assert exit_code(run_of(module, words)) == 2
    error = capsys.readouterr().err
    print(error)
    assert error.startswith("error: ")
    assert says in error
    assert (error.count("\n"), error.rstrip("\n").isprintable()) == (1, True)
    assert held(toy, bad, tmp_path, Path("build/results"), Path("build/bundles")) == before


def test_there_are_enough_kinds() -> None:
    assert len({says for _, says in BAD}) >= 60
    assert len({line.split()[0] for line, _ in BAD}) >= 8


FIRST = {line.split()[0]: (line, says) for line, says in reversed(BAD)}


@pytest.mark.parametrize(("line", "says"), FIRST.values(), ids=FIRST)
def test_in_a_process_of_its_own(line: str, says: str, toy: Path, bad: Path, tmp_path: Path) -> None:
    module, *words = filled_in(line, toy, bad, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
