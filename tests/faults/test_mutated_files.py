"""Files that were damaged or made up: refused in one line, or what they say holds; never a traceback, a hang or NaN."""

import copy
import json
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr  # noqa: F401 -- imported before memory is measured, as soundfile and PyAV are
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.results import read_result
from bench.speech.bargein import BargeInFile
from bench.step.projection import Projection
from calibration.record import calibration_path, read_calibration
from data.manifest import read_manifest
from runtime.audio import SAMPLE_RATE, audio_seconds, load_audio
from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.recognizer import Recognizer
from runtime.stamp import plan_path, read_stamp, stamp_path
from runtime.word_models import WordModel, WordModels, word_model
from runtime.words import Spelled, Word, WordMaker
from tests.bench.toys import calibrated_toy
from tests.runtime.formats import FORMATS, Format
from tests.runtime.rig import write_stamp

SECONDS = 2.0  # that one file may take
AUDIO_BYTES = (
    20e6  # that one file of 0.4 to 2.2 s of sound may take: FFmpeg asks for a FLAC's whole tag, which may state 16.8 MB
)
RESULTS = Path("bench/results")
FILES = pytest.mark.parametrize(
    "files", [pytest.param(60, id="some"), pytest.param(1000, id="a thousand", marks=pytest.mark.soak)]
)


def examples(files: int) -> settings:
    """The same files in every run, and no clock of hypothesis's own: the machine may be busy."""
    return settings(
        max_examples=files, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )


TEXTS: list[Any] = [
    "",
    " ",
    "..",
    "../x",
    "/etc/passwd",
    "a\nb",
    "\0",
    "\x1b[31m",
    "x" * 5000,
    "\u2028",
    "\ud800",
    "ctc",
    "fp32",
    "0" * 64,
]
NUMBERS: list[Any] = [
    0,
    -1,
    1,
    2,
    80,
    2**31,
    2**63,
    2**64,
    10**30,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    0.5,
]
OTHERS: list[Any] = [None, True, [], {}, [[[[1]]]], {"a": 1}]


def places(node: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON value holds others."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def damaged(value: dict[str, Any], rng: Random) -> bytes:
    """JSON of the value with a few values replaced, removed, doubled or given other names, and now and then broken bytes."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 5])):
        inner = [place for place in places(value) if place]
        if not inner:
            break
        *path, last = rng.choice(inner)
        parent: Any = value
        for key in path:
            parent = parent[key]
        how = rng.choice(["replace", "replace", "replace", "remove", "rename", "double"])
        if how == "replace":
            same_kind = TEXTS if isinstance(parent[last], str) else NUMBERS
            parent[last] = copy.deepcopy(rng.choice([*same_kind, *same_kind, *rng.choice([TEXTS, NUMBERS, OTHERS])]))
        elif how == "remove":
            del parent[last]
        elif how == "rename" and isinstance(parent, dict):
            parent[rng.choice(TEXTS)] = parent.pop(last)
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
    content = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    how, place = rng.choice(["whole"] * 12 + ["cut", "bytes", "deep"]), rng.randint(0, len(content))
    if how == "cut":
        return content[:place]
    if how == "bytes":
        return content[:place] + rng.randbytes(rng.randint(0, 4)) + content[place + rng.randint(0, 4) :]
    return b"[" * 100_000 + content if how == "deep" else content


def refused(read: Callable[[], object]) -> bool:
    """Whether it is: then in one line of what a terminal shows. Any other error is the test's failure."""
    begin = time.perf_counter()
    said = None
    try:
        read()
    except InputError as error:
        said = str(error)
    assert time.perf_counter() - begin < SECONDS
    assert said is None or (said.isprintable() and len(said) < 1500), repr(said)
    return said is not None


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutated") / "bundles" / "toy-80ms"
    return calibrated_toy(folder)


@FILES
def test_bundles(toy: Path, files: int) -> None:
    """A manifest that is taken must do: a second of audio is recognised, with numbers for the decoder."""
    path, seen = toy / "bundle.json", {True: 0, False: 0}
    whole = path.read_bytes()
    audio = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    def use() -> None:
        with Recognizer(toy, precision="fp32", backend="onnxruntime-cpu", lm=None, decoder="ctc") as recognizer:
            stream = recognizer.stream(early="off")
            stream.push(audio)
            assert stream.end_utterance().audio_s > 0

    @examples(files)
    @given(st.randoms(use_true_random=True))
    def check(rng: Random) -> None:
        path.write_bytes(damaged(json.loads(whole), rng))
        seen[refused(lambda: read_bundle(toy))] += 1
        refused(use)

    check()
    path.write_bytes(whole)
    print(f"{seen[True]} of {sum(seen.values())} refused")
    assert min(seen.values()) >= files / 20


@FILES
@pytest.mark.parametrize("check_audio", [True, False])
def test_manifests(tmp_path: Path, check_audio: bool, files: int) -> None:
    path, seen = tmp_path / "manifest_en.jsonl", {True: 0, False: 0}
    (tmp_path / "a.wav").write_bytes(b"audio")
    line = {"audio_filepath": "a.wav", "text": "some words", "duration": 1.5, "lang": "en", "speaker": "s", "offset": 0}

    @examples(files)
    @given(st.randoms(use_true_random=True))
    def check(rng: Random) -> None:
        path.write_bytes(b"\n".join([json.dumps(line | {"offset": 9}).encode(), damaged(line, rng)]))
        seen[refused(lambda: read_manifest(path, check_audio))] += 1

    check()
    print(f"{seen[True]} of {sum(seen.values())} refused")
    assert min(seen.values()) >= files / 20


def heard(model: WordModel) -> Word:
    """A word by the model, which makes one of whatever it holds."""
    return WordMaker(model, 0.08).word(Spelled("a", 1, 2, -0.1))


def readers(toy: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """Whole files of other kinds, and what reads them."""
    bundle, plan = read_bundle(toy), plan_path(toy, "fp32")
    plan.parent.mkdir(exist_ok=True)
    plan.write_bytes(b"a plan")
    write_stamp(toy)
    words = toy / "words.json"
    model = WordModel(start_delay_s=0.3, known=2.0, offset=-1.5)
    WordModels(
        checkpoint_sha256=bundle.checkpoint.sha256,
        lookahead_ms=bundle.lookahead_ms,
        clips=9,
        made_from="0" * 64,
        searches={"ctc": model},
    ).write(words)
    return {
        "result": (min(RESULTS.glob("*.json"), key=lambda each: each.stat().st_size), read_result),
        "barge-in": (next((RESULTS / "bargein").glob("*.json")), partial(read_result, kind=BargeInFile)),
        "projection": (next((RESULTS / "projections").glob("*.json")), partial(read_result, kind=Projection)),
        "calibration": (calibration_path(toy), lambda path: read_calibration(path, bundle)),
        "words": (words, lambda path: heard(word_model(path.parent, bundle, "ctc"))),
        "stamp": (stamp_path(plan), lambda path: read_stamp(path.with_name(plan.name))),
    }


@FILES
@pytest.mark.parametrize("kind", ["result", "barge-in", "projection", "calibration", "words", "stamp"])
def test_other_files(toy: Path, tmp_path: Path, kind: str, files: int) -> None:
    path, read = readers(toy)[kind]
    copied, seen = tmp_path / path.parent.name / path.name, {True: 0, False: 0}
    copied.parent.mkdir()
    copied.with_name(copied.stem).write_bytes(b"the plan of a stamp")

    @examples(files)
    @given(st.randoms(use_true_random=True))
    def check(rng: Random) -> None:
        copied.write_bytes(damaged(json.loads(path.read_bytes()), rng))
        seen[refused(lambda: read(copied))] += 1

    check()
    print(f"{kind}: {seen[True]} of {sum(seen.values())} refused")
    assert min(seen.values()) >= files / 20


WORDS = [b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\1\0\0\0", b"\0\0\0\1"]


def damaged_header(content: bytes, rng: Random) -> bytes:
    """A few bytes or words of the header (now and then of the rest) replaced, removed or put between others, and one of five cut off."""
    made = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        at = rng.randrange(min(rng.choice([64, 64, 64, len(made)]), len(made)))
        how = rng.choice(["byte", "byte", "word", "word", "remove", "insert"])
        if how == "byte":
            made[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif how == "word":
            made[at // 4 * 4 : at // 4 * 4 + 4] = rng.choice([*WORDS, rng.randbytes(4)])
        elif how == "remove":
            del made[at : at + rng.randint(1, 8)]
        else:
            made[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(made[: rng.randrange(len(made)) if rng.random() < 0.2 else None])


def most_allocated(run: Callable[[], object]) -> int:
    """Return the most bytes that a run held at once, as Python and numpy allocate them.

    The lesser of two runs: tables of the interpreter that all modules share, such as that of interned strings, double once in a while,
    and then hold tens of megabytes. What the file makes of it is the same twice.
    """
    most = []
    for _ in range(2):
        tracemalloc.start()
        try:
            run()
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        if most[0] < AUDIO_BYTES:
            break
    return min(most)


def recorded(form: Format, path: Path) -> None:
    form.file(path.parent).rename(path)


AUDIO: dict[str, Callable[[Path], object]] = {
    **{
        f"{form} {subtype}": partial(
            soundfile.write,
            data=np.random.default_rng(0).uniform(-1, 1, (3200, 2)),
            samplerate=8000,
            subtype=subtype,
            format=form,
        )
        for form, subtype in [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")]
    },
    **{each.name: partial(recorded, each) for each in FORMATS if each.name in ("m4a, AAC", "WebM, Opus", "AMR", "MP3")},
}


@FILES
@pytest.mark.parametrize("kind", AUDIO)
def test_audio(tmp_path: Path, kind: str, files: int) -> None:
    """What is taken is finite and took no more memory than so much audio does; of WAV and FLAC it is as long as the header says."""
    path, seen = tmp_path / "clip", {True: 0, False: 0}
    AUDIO[kind](path)
    whole = path.read_bytes()

    def use() -> None:
        samples = load_audio(path)
        assert np.isfinite(samples).all()
        if kind.startswith(("WAV", "FLAC")):
            assert abs(len(samples) / SAMPLE_RATE - audio_seconds(path)) < 0.11

    for seed in range(files):  # of its own, as what hypothesis draws depends on the modules that other tests imported
        path.write_bytes(damaged_header(whole, Random(seed)))
        most = most_allocated(lambda: refused(use))
        seen[refused(use)] += 1
        assert most < AUDIO_BYTES, f"{most / 1e6:.1f} MB for damaged_header(whole, Random({seed})) of {kind}"
    print(f"{kind}: {seen[True]} of {sum(seen.values())} refused")
    assert min(seen.values()) >= files / 20
