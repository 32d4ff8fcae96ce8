"""Every format that people record in, whole, cut off, piped and with a header that lies; what spoils a recording is said."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from runtime import inputs
from runtime.audio import SAMPLE_RATE, audio_seconds, checked, load_audio, read_audio
from runtime.decode import is_audio_file
from runtime.errors import InputError
from runtime.inputs import Framing, stdin_frames
from tests.runtime.formats import FORMATS, PAGE, SPEECH, TABLE, Audio, Format, table

SECONDS = len(SPEECH) / SAMPLE_RATE


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_a_format_gives_the_speech_from_a_file_and_from_a_pipe(tmp_path: Path, each: Format) -> None:
    path = each.file(tmp_path)
    recording = read_audio(path)
    assert (recording.fault, recording.warnings) == ("", ())
    assert len(recording.samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.1)
    assert audio_seconds(path) == pytest.approx(SECONDS, abs=0.1)
    assert each.correlation(recording.samples) > each.alike
    warnings: list[str] = []
    with path.open("rb") as piped:
        frames = [*stdin_frames(piped, None, Framing(SAMPLE_RATE, 20), warnings.append)]
    assert ["recognised once it ends" in line for line in warnings] == ([True] if "of a pipe" in each.name else [])
    assert {len(frame) for frame in frames[:-1]} == {320}
    assert np.array_equal(np.concatenate(frames), recording.samples)


def test_the_page_has_the_table() -> None:
    page = TABLE.search(PAGE.read_text("utf-8"))
    assert page
    assert page[0] == table(), "write it anew with `python -m tests.runtime.formats`"


@pytest.mark.parametrize("each", [each for each in FORMATS if "length" not in each.name], ids=lambda each: each.name)
def test_a_bench_refuses_what_is_cut_off(tmp_path: Path, each: Format) -> None:
    """As far as it can be known; the text of what is there is given with a warning."""
    found = each.cut(tmp_path)
    if found != "not found: it states no length":
        with pytest.raises(InputError) as error:
            load_audio(next(tmp_path.iterdir()))
        assert len(str(error.value).splitlines()) == 1
    if found == "found":
        samples = read_audio(next(tmp_path.iterdir())).samples
        assert 0.3 * SECONDS < len(samples) / SAMPLE_RATE < 0.75 * SECONDS
        assert each.correlation(samples) > 0.5


def replaced(content: bytes, marker: bytes, skip: int, value: bytes) -> bytes:
    at = content.index(marker) + len(marker) + skip
    return content[:at] + value + content[at + len(value) :]


def flac_samples(content: bytes, stated: int) -> bytes:
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | stated
    return content[:18] + fields.to_bytes(8, "big") + content[26:]


LIES: list[tuple[str, str, Callable[[bytes], bytes], float]] = [
    ("WAV", "PCM_16", lambda whole: replaced(whole, b"data", 0, (64_000).to_bytes(4, "little")), 2.0),
    ("AIFF", "PCM_16", lambda whole: replaced(whole, b"SSND", 0, (64_008).to_bytes(4, "big")), 2.0),
    ("AU", "PCM_16", lambda whole: replaced(whole, b".snd", 4, (64_000).to_bytes(4, "big")), 2.0),
    ("CAF", "PCM_16", lambda whole: replaced(whole, b"data", 0, (64_004).to_bytes(8, "big")), 2.0),
    ("FLAC", "PCM_16", lambda whole: flac_samples(whole, 32_000), 2.0),
    ("FLAC", "PCM_16", lambda whole: flac_samples(whole, 99_000), 4.0),
    ("MP3", "MPEG_LAYER_III", lambda whole: whole + whole, 4.0),  # two files end to end
    ("WAV", "PCM_16", lambda whole: replaced(whole, b"data", 0, (999_000).to_bytes(4, "little")), 4.0),
    ("OGG", "OPUS", lambda whole: whole[:-200], 3.0),
    ("OGG", "VORBIS", lambda whole: whole[:-200], 3.0),
]


@pytest.mark.parametrize(("form", "subtype", "lie", "seconds"), LIES)
def test_a_header_that_lies(
    tmp_path: Path, form: str, subtype: str, lie: Callable[[bytes], bytes], seconds: float
) -> None:
    path = tmp_path / "clip"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 64_000), 16_000, subtype, format=form)
    assert read_audio(path).fault == ""
    path.write_bytes(lie(path.read_bytes()))
    recording = read_audio(path)
    print(recording.fault)
    assert recording.fault
    assert len(recording.samples) / SAMPLE_RATE == pytest.approx(seconds, abs=1.05 if form == "OGG" else 0.05)
    with pytest.raises(InputError, match="re-record or drop it"):
        load_audio(path)


@pytest.mark.parametrize("form", ["WAV", "AIFF", "RF64"])
def test_tags_after_the_samples_are_no_samples(tmp_path: Path, form: str) -> None:
    path = tmp_path / "clip"
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16", format=form) as file:
        file.write(SPEECH)
        file.comment = "words " * 3000
    assert read_audio(path).fault == ""


@pytest.mark.parametrize("name", ["MP3", "MP3, no frame count", "MP3 of a variable rate, no frame count"])
@pytest.mark.parametrize("after", [b"", b"TAG" + bytes(125)], ids=["", "a tag behind"])
def test_an_mp3_promises_only_what_it_counts(tmp_path: Path, name: str, after: bytes) -> None:
    """Not what its tag spells, and not the guess from its size and its first frame."""
    path = next(each for each in FORMATS if each.name == name).file(tmp_path)
    tag = b"COMM Xing\0\0\0\1 Info\0\0\0\1 VBRI".ljust(200, b"\0")
    path.write_bytes(b"ID3\3\0\0\0\0\1\x48" + tag + path.read_bytes() + after)
    assert read_audio(path).fault == ""
    assert audio_seconds(path) == pytest.approx(SECONDS, abs=0.1)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) * 9 // 10])
    assert "cut off" in read_audio(path).fault


NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
QUALITY: list[tuple[str, Audio, str]] = [
    ("good", NOISE[:, None], ""),
    ("stereo", np.stack([NOISE, 0.2 * NOISE], 1), ""),
    ("one channel only", np.stack([NOISE, 0 * NOISE], 1), ""),
    ("channels without relation", np.stack([NOISE, NOISE[::-1]], 1), ""),
    ("opposite phase", np.stack([NOISE, -NOISE], 1), "channels cancel each other; channel 1 alone"),
    ("opposite, the second louder", np.stack([0.8 * NOISE, -NOISE], 1), "channels cancel each other; channel 2 alone"),
    ("silence", np.zeros((16_000, 1), np.float32), "silent: -200 dBFS"),
    ("divided by 32,768 twice", NOISE[:, None] / np.float32(32_768), "silent: -110 dBFS"),
    ("offset", NOISE[:, None] + 0.2, "off centre by +0.20"),
    ("clipped", np.clip(NOISE[:, None] * 20, -1, 1), "of its samples are clipped"),
]


@pytest.mark.parametrize(("name", "samples", "says"), QUALITY, ids=[name for name, _, _ in QUALITY])
def test_what_spoils_a_recording_is_said(tmp_path: Path, name: str, samples: Audio, says: str) -> None:
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    recording = read_audio(tmp_path / "a.wav")
    assert says in "; ".join(recording.warnings)
    assert len(recording.warnings) == bool(says)
    if name.startswith("opposite"):
        assert np.array_equal(np.abs(recording.samples), np.abs(NOISE))


@pytest.mark.parametrize("scale", [32_768.0, 128.0, 2.0**31])
def test_integers_as_floats_are_refused(tmp_path: Path, scale: float) -> None:
    soundfile.write(tmp_path / "a.wav", NOISE * scale, 16_000, subtype="FLOAT")
    with pytest.raises(
        InputError, match=r"a.wav: expected samples in -1..1, found up to .*; divide 16-bit samples by 32,768"
    ):
        load_audio(tmp_path / "a.wav")
    with pytest.raises(
        InputError, match=r"^expected samples in -1..1, found up to .*; divide 16-bit samples by 32,768"
    ):
        checked(NOISE * np.float32(scale))
    assert checked((NOISE * 32_768).astype(np.int16)) == pytest.approx(NOISE, abs=1e-4)
    assert checked(NOISE * 30 / np.abs(NOISE).max() / 10).max() > 1  # what overshoots is taken


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("first", [b"", b"RIFF", b"\xff\xfb"])
def test_raw_pcm_at_a_rate(rate: int, first: bytes) -> None:
    """With its rate said, it is raw PCM whatever it begins with."""
    pcm = first + (SPEECH * 32_767).astype("<i2").tobytes()[len(first) :]
    assert is_audio_file(pcm[:12]) == bool(first)
    frames = [*stdin_frames(io.BufferedReader(io.BytesIO(pcm)), rate, Framing(16_000, 20), pytest.fail)]
    heard = np.concatenate(frames)
    assert heard.dtype == np.int16
    assert len(heard) == pytest.approx(len(SPEECH) * 16_000 / rate, abs=2)
    if rate == 16_000:
        assert heard.tobytes() == pcm


class Endless(io.RawIOBase):
    """A pipe that brings an Ogg file for ever."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- as io has it
        buffer[:] = (b"OggS" * (len(buffer) // 4 + 1))[: len(buffer)]
        return len(buffer)


def test_a_pipe_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_PIPED_BYTES", 10 << 20)
    with pytest.raises(InputError, match="on standard input, found more; name the file"):
        list(stdin_frames(io.BufferedReader(Endless()), None, Framing(16_000, 20), pytest.fail))


def test_a_format_that_needs_pyav_where_it_is_missing(tmp_path: Path) -> None:
    path = next(each for each in FORMATS if each.suffix == ".webm").file(tmp_path)
    script = "import sys; sys.modules['av'] = None; from runtime.audio import read_audio; read_audio(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "expected PyAV for" in last
    assert "not audio that libsndfile reads" in last
    assert "run `make setup`, or convert it" in last


PLAYLISTS = [
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{other}'\n",
    "[playlist]\nFile1={other}\n",
]


@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_a_file_opens_no_other(tmp_path: Path, playlist: str) -> None:
    soundfile.write(tmp_path / "other.wav", SPEECH, 16_000)
    path = tmp_path / "list.wav"
    path.write_text(playlist.format(other=tmp_path / "other.wav"))
    with pytest.raises(InputError, match="not audio that libsndfile or FFmpeg reads"):
        read_audio(path)
