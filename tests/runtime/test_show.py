"""What the command line shows: lines, a line drawn over on a terminal, JSON; and the hotwords that it reads."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runtime import Final, Partial, Recognizer, load_audio
from runtime.__main__ import parse_args, run
from runtime.decoders.hotwords import LONG, WEIGHT
from runtime.errors import InputError
from runtime.hotword_list import MAX_BYTES, read_hotwords
from runtime.show import display

CLIPS = ["data/sample/clips/16.mp3", "data/sample/clips/01.mp3"]


@pytest.mark.parametrize("terminal", [True, False])
def test_display(terminal: bool) -> None:
    out = io.StringIO()
    with display(Console(file=out, force_terminal=terminal, width=60, legacy_windows=False)) as show:
        for event in (Partial("one [b]", (1,), 0.4), Partial("one [b] two", (1, 2), 0.6), Final("one two", (1, 2), 1)):
            show("a.wav", event)
    lines = ["    0.40 s  one [b]", "    0.60 s  one [b] two", "    1.00 s  final: one two"]
    if terminal:
        assert "\x1b[2K" in out.getvalue()  # a line is erased before it is written again
        assert out.getvalue().count("\n") <= 3
        assert lines[-1] in out.getvalue()
    else:
        assert out.getvalue().splitlines() == lines


def test_silence_after_an_utterance() -> None:
    """Of nothing that was said nothing is shown; a text that was taken back is."""
    out = io.StringIO()
    with display(Console(file=out)) as show:
        for event in (
            Final("", (), 0.5),
            Final("", (), 0.5, 0.5),
            Partial("s", (1,), 0.4, 1.0),
            Final("", (), 0.5, 1.0),
            Final("", (), 0.5, 1.5),
        ):
            show("a.wav", event)
    assert out.getvalue().splitlines() == ["    0.50 s  final: ", "    1.40 s  s", "    1.50 s  final: "]


@pytest.mark.parametrize("terminal", [True, False])
def test_sources_are_named_where_there_are_several(terminal: bool) -> None:
    out = io.StringIO()
    with display(Console(file=out, force_terminal=terminal, width=60), named=True) as show:
        for source, text in (("a [1].wav", "one"), ("a [1].wav", "two"), ("b\x1b.wav", "three")):
            show(source, Final(text, (1,), 1.0))
    lines = re.sub(r"\x1b\[[?\d]*[A-Za-z]|\r", "", out.getvalue()).split("\n")
    assert [line for line in lines if line] == [
        "a [1].wav",
        "    1.00 s  final: one",
        "    1.00 s  final: two",
        "'b\\x1b.wav'",
        "    1.00 s  final: three",
    ]


def test_a_file_that_is_none_stops_no_other(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    files = [CLIPS[0], str(tmp_path / "text.wav"), CLIPS[1]]
    with pytest.raises(InputError) as raised:
        run(parse_args(["--bundle", str(bundle), "--backend", "onnxruntime-cpu", *files]))
    assert str(raised.value) == "expected audio in 3 files, found none in 1 of them, which are named above"
    shown = capsys.readouterr()
    assert shown.out.count("final: ") == 2
    assert [line for line in shown.out.splitlines() if not line.startswith(" ")] == CLIPS
    assert "text.wav: not audio that libsndfile or FFmpeg reads" in shown.err


@pytest.mark.parametrize(
    ("text", "stable", "early", "styled"),
    [
        ("one two three", 1, "", "one\x1b[2m two three\x1b[0m"),
        ("one two three", 1, "ree", "one\x1b[2m two th\x1b[0m\x1b[2;3mree\x1b[0m"),
        ("one two", 2, "", "one two"),
        ("one two", 0, "one two", "\x1b[2;3mone two\x1b[0m"),
        ("one two", 0, "", "\x1b[2mone two\x1b[0m"),
    ],
)
def test_a_terminal_tells_the_parts_apart(text: str, stable: int, early: str, styled: str) -> None:
    out = io.StringIO()
    with display(Console(file=out, force_terminal=True, width=60, legacy_windows=False)) as show:
        show("a.wav", Partial(text, (), 0.5, stable=stable, early=early))
    assert f"    0.50 s  {styled}" in out.getvalue()


@pytest.fixture(scope="module")
def events(bundle: Path) -> list[list[dict[str, Any]]]:
    """The library's, of each clip."""
    found = []
    with Recognizer(bundle, backend="onnxruntime-cpu") as recognizer:
        for clip in CLIPS:
            stream, audio = recognizer.stream(early="off"), load_audio(clip)
            pushed = [event for at in range(0, len(audio), 320) for event in stream.push(audio[at : at + 320])]
            found.append([event.json() for event in (*pushed, stream.end_utterance())])
    return found


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_lines(bundle: Path, events: list[list[dict[str, Any]]], tmp_path: Path, encoding: str) -> None:
    """Those that the library gives, a line each, whatever the locale's letters are."""
    names = [str(tmp_path / "größe 👍.mp3"), str(tmp_path / os.fsdecode(b"\xff.mp3"))]
    shutil.copy(CLIPS[1], names[1])
    Path(names[0]).write_bytes(Path(CLIPS[0]).read_bytes())
    command = [
        sys.executable,
        "-m",
        "runtime",
        "--bundle",
        str(bundle),
        "--backend",
        "onnxruntime-cpu",
        "--early",
        "off",  # early text depends on the machine's pace
        "--json",
        *names,
    ]
    without = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"} if encoding == "ascii" else {}
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": encoding} | without
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    expected = [{"file": name, **event} for name, of_clip in zip(names, events, strict=True) for event in of_clip]
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(expected))
    assert "größe 👍" in lines[0]
    assert {json.loads(line)["event"] for line in lines} == {"partial", "final"}


def test_hotwords_and_early_text_are_asked_for(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("timer\nnineteen minutes\t20\n")
    said = {}
    for more in ([], ["--hotwords", str(tmp_path / "names.txt")], ["--early", "eager", "--realtime"]):
        run(parse_args(["--bundle", str(bundle), "--backend", "onnxruntime-cpu", "--json", *more, CLIPS[0]]))
        said[" ".join(more[:1])] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said["--hotwords"] != said[""]
    assert any(event.get("early") for event in said["--early"])
    assert not any(event.get("early") for event in said["--hotwords"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (b"two nemotrons\nNemotron", {"two nemotrons": WEIGHT, "Nemotron": WEIGHT * 8 / LONG}),  # as a program's list
        (b"\xef\xbb\xbf# one\r\n\n two words \t 2.5\r\n", {"# one": WEIGHT * 5 / LONG, "two words": 2.5}),
        ("e\u0301t".encode(), {"e\u0301t": WEIGHT * 2 / LONG}),
        ("Frau Müller\t4\n".encode(), {"Frau Müller": 4.0}),
        (b"\t3", {"": 3.0}),  # which the recogniser refuses, as an empty one of a program
    ],
)
def test_a_list_of_hotwords(content: bytes, expected: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    assert read_hotwords(tmp_path / "names.txt") == expected


def test_a_list_without_end() -> None:
    with pytest.raises(InputError, match=rf"at most {MAX_BYTES >> 20} MB of hotwords, found more"):
        read_hotwords(Path("/dev/zero"))
