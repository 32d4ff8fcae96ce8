"""Manifests: what is read and written, and a one-line error for each kind of broken manifest."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.manifest import Utterance, dataset_sha256, find_manifests, read_manifest, write_manifest
from data.speech import load_speech
from runtime.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
GOOD: dict[str, Any] = {"audio_filepath": "clips/a.wav", "text": "hello there", "duration": 0.1}


def without(key: str) -> str:
    return json.dumps({name: value for name, value in GOOD.items() if name != key})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = tmp_path / "set" / "clips"
    clips.mkdir(parents=True)
    soundfile.write(clips / "a.wav", np.zeros(1600, np.float32), 16_000)
    soundfile.write(clips / "b.wav", np.full(1600, 0.5, np.float32), 16_000)
    (clips / "empty.wav").touch()
    return clips.parent


def manifest(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "manifest_en.jsonl"
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(GOOD, ("hello there", 0.1, "en", "unknown"), id="defaults"),
        pytest.param(GOOD | {"lang": "de", "speaker": "s1"}, ("hello there", 0.1, "de", "s1"), id="all keys"),
        pytest.param(GOOD | {"duration": 2}, ("hello there", 2.0, "en", "unknown"), id="whole seconds"),
        pytest.param(GOOD | {"pnc": None, "x": [1]}, ("hello there", 0.1, "en", "unknown"), id="other keys ignored"),
        pytest.param(GOOD | {"offset": 0}, ("hello there", 0.1, "en", "unknown", 0.0), id="a part from the beginning"),
        pytest.param(GOOD | {"offset": 2.5}, ("hello there", 0.1, "en", "unknown", 2.5), id="a part"),
        pytest.param(GOOD | {"offset": None}, ("hello there", 0.1, "en", "unknown"), id="null offset"),
        pytest.param(GOOD | {"text": " Grüße,\u2028\nja "}, ("Grüße,\u2028\nja", 0.1, "en", "unknown"), id="line ends"),
    ],
)
def test_line_is_read(folder: Path, line: dict[str, Any], expected: tuple[Any, ...]) -> None:
    path = manifest(folder, "", json.dumps(line, ensure_ascii=False), "  ")
    assert read_manifest(path) == [Utterance(folder / "clips" / "a.wav", *expected)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param('{"audio_filepath": "clips/a.wav",', "Invalid JSON", id="broken JSON"),
        pytest.param(b'{"text": "\xff"}', "Invalid JSON", id="not UTF-8"),
        pytest.param("[" * 100_000, "Invalid JSON", id="nested without end"),
        pytest.param("[1, 2]", "JSON object", id="list"),
        pytest.param('"clips/a.wav"', "JSON object", id="string"),
        pytest.param("null", "JSON object", id="null"),
        *(pytest.param(without(key), f"'{key}' is missing", id=f"no {key}") for key in GOOD),
        pytest.param(json.dumps(GOOD | {"audio_filepath": 7}), "audio_filepath: ", id="path is a number"),
        pytest.param(json.dumps(GOOD | {"text": None}), "text: ", id="text is null"),
        pytest.param(json.dumps(GOOD | {"text": ["multi\nline"] * 99}), "text: ", id="text is a list"),
        pytest.param(json.dumps(GOOD | {"lang": 1}), "lang: ", id="lang is a number"),
        pytest.param(json.dumps(GOOD | {"speaker": 1272}), "speaker: ", id="speaker is a number"),
        pytest.param(json.dumps(GOOD | {"duration": "1.5"}), "duration: ", id="duration is a string"),
        pytest.param(json.dumps(GOOD | {"duration": True}), "duration: ", id="duration is a truth value"),
        pytest.param(json.dumps(GOOD | {"duration": 0}), "duration: ", id="duration 0"),
        pytest.param(json.dumps(GOOD | {"duration": -1.5}), "duration: ", id="duration below 0"),
        pytest.param(json.dumps(GOOD | {"duration": float("nan")}), "duration: ", id="duration NaN"),
        pytest.param(json.dumps(GOOD | {"duration": float("inf")}), "duration: ", id="duration infinite"),
        pytest.param(json.dumps(GOOD | {"offset": -1}), "offset: ", id="offset below 0"),
        pytest.param(json.dumps(GOOD | {"offset": "1"}), "offset: ", id="offset is a string"),
        pytest.param(json.dumps(GOOD), "the recording of", id="a recording again"),
        pytest.param(json.dumps(GOOD | {"audio_filepath": "clips/empty.wav"}), "the empty file", id="empty audio"),
        pytest.param(json.dumps(GOOD | {"text": ""}), "text: ", id="empty transcript"),
        pytest.param(json.dumps(GOOD | {"text": " \t\n"}), "text: ", id="blank transcript"),
        pytest.param(json.dumps(GOOD | {"audio_filepath": "clips/no.wav"}), "no audio file", id="audio missing"),
        pytest.param(json.dumps(GOOD | {"audio_filepath": "clips"}), "no audio file", id="audio is a folder"),
        pytest.param(json.dumps(GOOD | {"audio_filepath": "a\nb\0.wav"}), "no audio file", id="impossible name"),
    ],
)
def test_broken_line_is_named_in_one_line(folder: Path, line: str | bytes, says: str) -> None:
    path = manifest(folder, json.dumps(GOOD), line)
    with pytest.raises(InputError) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_byte_order_mark_and_carriage_returns(folder: Path) -> None:
    path = manifest(folder, b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r")
    assert [utterance.text for utterance in read_manifest(str(path))] == ["hello there"]


@pytest.mark.parametrize("written", ["clips/b.wav", "{folder}/clips/b.wav", "~/set/clips/b.wav", "../set/clips/b.wav"])
def test_paths(folder: Path, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    path = manifest(folder, json.dumps(GOOD | {"audio_filepath": written.format(folder=folder)}))
    assert read_manifest(path)[0].audio.resolve() == folder / "clips" / "b.wav"


BROKEN: list[str | bytes] = [
    json.dumps(GOOD | {"text": None, "offset": 1}),
    json.dumps(GOOD | {"audio_filepath": "clips/no.wav"}),
    json.dumps(GOOD | {"audio_filepath": "clips/empty.wav"}),
    '{"audio_filepath": "clips/a.wav",',
]


@pytest.mark.parametrize(("count", "allow", "refused"), [(400, 0.01, False), (399, 0.01, True), (4, 1.0, False)])
def test_a_few_broken_lines_are_named_and_left_out(folder: Path, count: int, allow: float, refused: bool) -> None:
    parts = [json.dumps(GOOD | {"offset": float(number)}) for number in range(count - len(BROKEN))]
    path, named = manifest(folder, *parts[:2], *BROKEN, *parts[2:]), list[str]()
    if refused:
        with pytest.raises(
            InputError, match=rf"manifest_en.jsonl:3: text: .*; 4 of {count} are broken so, at most 1.00%"
        ):
            read_manifest(path, allow=allow, say=named.append)
        assert named == []
        return
    assert len(read_manifest(path, allow=allow, say=named.append)) == len(parts)
    first = 1 + len(parts[:2])
    assert [line.removeprefix(str(path)).split(": ")[0] for line in named] == [f":{first + at}" for at in range(4)]
    assert dataset_sha256(path)


def test_parts_of_one_file_are_the_separate_files(tmp_path: Path) -> None:
    """As NeMo writes long recordings: cut by offset and duration, to the sample."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 160_000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", noise, 16_000, subtype="FLOAT")
    spans = [(0.0, 1.5), (1.5, 2.25), (8.0, 2.0), (4.0, 0.5)]
    lines = [
        json.dumps({"audio_filepath": "long.wav", "text": "a", "offset": at, "duration": seconds})
        for at, seconds in spans
    ]
    utterances = read_manifest(manifest(tmp_path, *lines))
    for (at, seconds), samples in zip(spans, load_speech(utterances, 16_000), strict=True):
        assert np.array_equal(samples, noise[round(at * 16_000) : round((at + seconds) * 16_000)])
    written = tmp_path / "out" / "manifest_en.jsonl"
    write_manifest(written, utterances)
    assert [each.offset for each in read_manifest(written)] == [at for at, _ in spans]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"duration": 10.2}, None),
        ({"duration": 999}, "expected the duration of the audio, 10.00 s, found 999.00 s"),
        ({"duration": 5}, "found 5.00 s; correct it, or say the part's offset"),
        ({"offset": 9, "duration": 1}, None),
        ({"offset": 9, "duration": 2}, "expected a part of the audio of 10.00 s, found 9.00 to 11.00 s"),
        ({"offset": 12, "duration": 0.1}, "found 12.00 to 12.10 s"),
        ({"offset": 1e300, "duration": 1e300}, "expected a part of the audio"),
    ],
)
def test_an_utterance_lies_within_its_file(tmp_path: Path, keys: dict[str, float], says: str | None) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(160_000, 0.1), 16_000)
    utterances = read_manifest(manifest(tmp_path, json.dumps({"audio_filepath": "a.wav", "text": "a"} | keys)))
    if says is None:
        assert len(list(load_speech(utterances, 16_000))) == 1
        return
    with pytest.raises(InputError) as error:
        list(load_speech(utterances, 16_000))
    assert says in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'manifest_en.jsonl'}:1: ")


def test_a_recording_that_is_cut_off_is_refused_with_its_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(160_000, 0.1), 16_000)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:60_000])
    utterances = read_manifest(manifest(tmp_path, json.dumps({"audio_filepath": "a.wav", "text": "a", "duration": 10})))
    with pytest.raises(
        InputError, match=r"manifest_en.jsonl:1: a.wav: it is cut off: its header states 10.00 s, it holds 1.87 s"
    ):
        list(load_speech(utterances, 16_000))


@pytest.mark.parametrize("content", [None, b"", b"\n \n"], ids=["missing", "empty", "blank lines"])
def test_manifest_without_lines(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "manifest_en.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_manifest(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_audio_need_not_be_there_where_it_is_not_checked(folder: Path) -> None:
    path = manifest(folder, json.dumps(GOOD | {"audio_filepath": "clips/no.wav"}))
    assert read_manifest(path, check_audio=False)[0].audio == folder / "clips" / "no.wav"


def test_written_manifest_reads_back_and_moves_with_its_clips(folder: Path) -> None:
    utterances = [
        Utterance(folder / "clips" / "a.wav", 'Sie sagte: "Grüße".', 0.1, "de", "s1"),
        Utterance(folder / "clips" / "b.wav", "b", 0.1),
    ]
    path = folder / "out" / "manifest_de.jsonl"
    write_manifest(path, utterances)
    assert [json.loads(line)["audio_filepath"] for line in path.read_text("utf-8").splitlines()] == [
        "../clips/a.wav",
        "../clips/b.wav",
    ]
    assert [(u.audio.resolve(), u.text, u.duration, u.lang, u.speaker) for u in read_manifest(path)] == [
        (u.audio, u.text, u.duration, u.lang, u.speaker) for u in utterances
    ]
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert len(read_manifest(moved / "out" / "manifest_de.jsonl")) == 2
    assert [file.name for file in (moved / "out").iterdir()] == ["manifest_de.jsonl"]


def test_find_manifests(tmp_path: Path) -> None:
    for place in ("b", "a", "c/deeper", "."):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "manifest_en.jsonl").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "manifest_de.jsonl").touch()
    found = find_manifests(tmp_path, "en")
    assert found == {
        "a": tmp_path / "a" / "manifest_en.jsonl",
        "b": tmp_path / "b" / "manifest_en.jsonl",
        tmp_path.name: tmp_path / "manifest_en.jsonl",
    }
    assert list(found) == sorted(found)
    for folder, lang in [(tmp_path, "fr"), (tmp_path, "*"), (tmp_path / "no", "en")]:
        with pytest.raises(InputError) as error:
            find_manifests(folder, lang)
        assert "\n" not in str(error.value)


def test_a_data_set_within_one_of_its_name(tmp_path: Path) -> None:
    inner = tmp_path / "cv" / "cv"
    inner.mkdir(parents=True)
    (tmp_path / "cv" / "manifest_en.jsonl").touch()
    assert find_manifests(tmp_path / "cv", "en") == {"cv": tmp_path / "cv" / "manifest_en.jsonl"}
    (inner / "manifest_en.jsonl").touch()
    with pytest.raises(InputError, match="expected data sets of different names, found two called cv; rename one"):
        find_manifests(tmp_path / "cv", "en")


def test_a_path_that_json_does_not_hold(tmp_path: Path) -> None:
    clip = Utterance(tmp_path / os.fsdecode(b"a\xff.wav"), "text", 1.0, "en", "unknown")
    with pytest.raises(InputError, match=r"manifest_en.jsonl: expected audio paths in UTF-8, found .*a\\udcff"):
        write_manifest(tmp_path / "manifest_en.jsonl", [clip])
    assert list(tmp_path.iterdir()) == []


def test_dataset_sha256_follows_every_byte_and_not_the_place(folder: Path) -> None:
    lines = [json.dumps(GOOD | {"audio_filepath": f"clips/{name}.wav"}) for name in "ab"]
    path = manifest(folder, *lines)
    first = dataset_sha256(path)
    assert first == dataset_sha256(path)
    assert dataset_sha256(manifest(folder, *reversed(lines))) != first
    manifest(folder, *lines)
    audio = folder / "clips" / "b.wav"
    content = audio.read_bytes()
    audio.write_bytes(content[:-1] + b"\1")
    assert dataset_sha256(path) != first
    audio.write_bytes(content)
    assert dataset_sha256(folder.rename(folder.with_name("moved")) / path.name) == first


@pytest.mark.parametrize(
    ("place", "lang", "sizes"),
    [
        ("asr_eval", "en", {"common_voice": 100, "librispeech": 64}),
        ("asr_eval", "de", {"common_voice": 100}),
        ("asr_calib", "en", {"common_voice": None}),
    ],
)
def test_shared_sets(place: str, lang: str, sizes: dict[str, int | None]) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared speech is not beside this checkout")
    found = find_manifests(SHARED / place, lang)
    assert list(found) == list(sizes)
    for name, path in found.items():
        utterances = read_manifest(path)
        assert sizes[name] in (None, len(utterances))
        assert {utterance.lang for utterance in utterances} == {lang}
