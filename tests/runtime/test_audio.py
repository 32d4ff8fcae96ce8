"""Decoding and resampling against references that do not use libsndfile's decoders or soxr, block by block, and bad audio."""

import os
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile
import soxr

from data.manifest import read_manifest
from runtime import decode
from runtime.audio import audio_rate, audio_seconds, load_audio
from runtime.errors import InputError

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
RATE = 16_000
TONES = [(110.0, 0.2), (997.0, 0.2), (2500.0, 0.15), (3300.0, 0.1)]  # Hz, amplitude: below half of every rate tested


def chord(rate: int, seconds: float = 1.5) -> npt.NDArray[np.float64]:
    """The same band-limited signal at any rate, computed from its definition."""
    time = np.arange(round(rate * seconds)) / rate
    hertz, gains = np.array(TONES).T[:, :, None]
    return np.asarray((gains * np.sin(2 * np.pi * hertz * time)).sum(axis=0))


def largest(name: str, got: npt.NDArray[np.float32], want: npt.NDArray[np.floating], edge: int = 800) -> float:
    """Largest difference away from the ends, where a resampler's filter has no input to look at."""
    assert got.dtype == np.float32
    assert got.shape == want.shape
    difference = float(np.abs(got - want)[edge:-edge].max())
    print(f"{name}: largest difference {difference:.2e}")
    return difference


@pytest.mark.parametrize(
    ("rate", "channels", "kind"),
    [
        *product((8000, 16_000, 22_050, 32_000, 44_100, 48_000), (1, 2), (("WAV", "FLOAT", 1e-6),)),
        *product((16_000, 48_000), (1, 2, 6), (("WAV", "PCM_16", 1e-4), ("FLAC", "PCM_24", 1e-6))),
        *product((16_000, 44_100), (1, 2), (("MP3", "MPEG_LAYER_III", 0.05), ("OGG", "VORBIS", 0.08))),
    ],
)
def test_any_rate_channels_and_format_gives_the_same_signal(
    tmp_path: Path, rate: int, channels: int, kind: tuple[str, str, float]
) -> None:
    form, subtype, tolerance = kind
    path = tmp_path / f"chord.{form.lower()}"
    levels = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)  # averages to 1
    soundfile.write(path, chord(rate)[:, None] * levels, rate, format=form, subtype=subtype)
    assert audio_seconds(path) == pytest.approx(1.5)
    difference = largest(f"{form} {subtype} {rate} Hz x {channels}", load_audio(path), chord(RATE))
    assert difference < tolerance


@pytest.mark.parametrize("tone", [8400.0, 9500.0, 15_000.0, 23_000.0])
def test_what_16_khz_cannot_hold_is_filtered_out(tmp_path: Path, tone: float) -> None:
    time = np.arange(48_000) / 48_000
    soundfile.write(tmp_path / "tone.wav", 0.8 * np.sin(2 * np.pi * tone * time), 48_000, subtype="FLOAT")
    alias = np.abs(load_audio(tmp_path / "tone.wav"))[800:-800].max()
    print(f"{tone:.0f} Hz: alias {20 * np.log10(alias / 0.8):.0f} dB")
    assert alias < 0.8 * 10 ** (-90 / 20)


def clips() -> list[Path]:
    sets = [SHARED / "asr_eval" / "common_voice", SHARED / "asr_eval" / "librispeech", ROOT / "data" / "sample"]
    manifests = [folder / "manifest_en.jsonl" for folder in sets if (folder / "manifest_en.jsonl").is_file()]
    return [utterance.audio for manifest in manifests for utterance in read_manifest(manifest)[:5]]


@pytest.mark.parametrize("path", clips(), ids=lambda path: path.name)
def test_speech_against_scipys_resampler(tmp_path: Path, path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float64")
    soundfile.write(tmp_path / "half.wav", samples / 2, rate, subtype="FLOAT")  # half as loud: nothing is clipped
    step = np.gcd(rate, RATE)
    reference = scipy.signal.resample_poly(samples / 2, RATE // step, rate // step)
    got = load_audio(tmp_path / "half.wav")
    assert abs(got.size - reference.size) <= 1
    size = min(got.size, reference.size)
    low = scipy.signal.firwin(401, 6000, fs=RATE)  # the two filters' slopes above 6 kHz differ and are not compared
    filtered = [scipy.signal.fftconvolve(signal[:size], low, mode="same") for signal in (got, reference)]
    assert largest(path.name, filtered[0].astype(np.float32), filtered[1]) < 3e-3


def at_once(path: Path, rate: int) -> npt.NDArray[np.float32]:
    """What soundfile and soxr make of a file read whole."""
    file = soundfile.SoundFile(path)
    averaged = file.read(file.frames, dtype="float32", always_2d=True).mean(axis=1)
    return np.asarray(np.clip(soxr.resample(averaged, file.samplerate, rate, quality="HQ"), -1, 1))


@pytest.mark.parametrize("block", [decode.BLOCK_SAMPLES, 10_001])
@pytest.mark.parametrize("path", clips(), ids=lambda path: path.name)
def test_blocks_of_speech_are_the_whole_to_the_bit(path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BLOCK_SAMPLES", block)
    assert np.array_equal(load_audio(path), at_once(path, RATE))


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        (("WAV", "PCM_16"), 8000, 1),
        (("WAV", "FLOAT"), 192_000, 2),
        (("WAV", "IMA_ADPCM"), 16_000, 2),
        (("FLAC", "PCM_24"), 44_100, 6),
        (("MP3", "MPEG_LAYER_III"), 22_050, 2),
        (("OGG", "VORBIS"), 48_000, 1),
        (("OGG", "OPUS"), 48_000, 2),
    ],
)
def test_blocks_of_any_format_are_the_whole_to_the_bit(
    tmp_path: Path, kind: tuple[str, str], rate: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "BLOCK_SAMPLES", 10_001)
    path, (form, subtype) = tmp_path / "chord", kind
    soundfile.write(path, chord(rate)[:, None] * np.linspace(0.5, 1, channels), rate, format=form, subtype=subtype)
    for wanted in (8000, RATE):
        assert np.array_equal(load_audio(path, wanted), at_once(path, wanted))


def test_overshoot_is_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.array([0.5, 1.5, -2.0, 1.0] * 100), RATE, subtype="FLOAT")
    assert np.array_equal(load_audio(tmp_path / "loud.wav"), np.array([0.5, 1, -1, 1] * 100, np.float32))


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_wanted_rate(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "chord.wav", chord(RATE), RATE, subtype="FLOAT")
    assert largest(f"to {rate} Hz", load_audio(tmp_path / "chord.wav", rate), chord(rate)) < 1e-6


def damaged(path: Path) -> None:
    soundfile.write(path.with_suffix(".flac"), chord(RATE), RATE)
    content = path.with_suffix(".flac").read_bytes()
    path.write_bytes(content[:200] + bytes(len(content) - 200))


def flac(path: Path, stated: int) -> None:
    """One second of noise, 32 kB, with another length in STREAMINFO: the low 36 bits of its bytes 10 to 17."""
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, RATE), RATE, format="FLAC")
    content = bytearray(path.read_bytes())
    fields = int.from_bytes(content[18:26], "big")
    content[18:26] = ((fields >> 36 << 36) | stated).to_bytes(8, "big")
    path.write_bytes(content)


def wav_at(path: Path, rate: int) -> None:
    soundfile.write(path, np.zeros(32_000), rate, format="WAV")


HOUR = 3600 * RATE  # samples
HEADERS = [
    pytest.param(lambda path: flac(path, 2**36 - 1), "states 68719476735 samples, more than its", id="2^36-1 samples"),
    pytest.param(lambda path: flac(path, round(4.5 * HOUR)), "more than its", id="4.5 hours in 32 kB"),
    pytest.param(lambda path: wav_at(path, 1), "expected a rate of 8000 to 192000 Hz, found 1 Hz", id="1 Hz"),
    pytest.param(lambda path: wav_at(path, 7999), "found 7999 Hz", id="7999 Hz"),
    pytest.param(lambda path: wav_at(path, 192_001), "found 192001 Hz", id="192,001 Hz"),
    pytest.param(lambda path: wav_at(path, 2**31 - 1), "found 2147483647 Hz", id="2^31-1 Hz"),
]


def long(path: Path) -> None:
    """More than four hours, in a file that could hold them."""
    flac(path, round(4.01 * HOUR))
    path.write_bytes(path.read_bytes() + bytes(10_000))


def tone_with(value: float) -> npt.NDArray[np.float64]:
    samples = chord(RATE)
    samples[700] = value
    return samples


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda _: None, "no such audio file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "expected an audio file, found a folder", id="folder"),
        pytest.param(lambda path: path.write_bytes(b""), "expected audio, found an empty file", id="empty file"),
        pytest.param(lambda path: path.write_text("hello " * 999), "not audio", id="text"),
        pytest.param(lambda path: path.write_bytes(bytes(5000)), "not audio", id="zeros"),
        pytest.param(lambda path: path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt "), "not audio", id="half a header"),
        pytest.param(
            lambda path: soundfile.write(path, np.zeros(0), RATE, format="WAV"), "zero length", id="no samples"
        ),
        pytest.param(lambda path: soundfile.write(path, np.ones(1), 192_000, format="WAV"), "none at", id="one sample"),
        pytest.param(damaged, "damaged", id="damaged"),
        pytest.param(lambda path: flac(path, 2 * RATE), "states 2.00 s, it holds 1.00 s", id="twice as long as it is"),
        pytest.param(long, "expected at most 4 hours of audio, found 4.01", id="long"),
        *HEADERS,
        *(
            pytest.param(
                lambda path, value=value: soundfile.write(path, tone_with(value), RATE, format="WAV", subtype="FLOAT"),
                "NaN or infinite",
                id=str(value),
            )
            for value in (np.nan, np.inf, -np.inf)
        ),
        *(
            pytest.param(
                lambda path, pair=pair: soundfile.write(
                    path, np.array([pair] * 9), RATE, format="WAV", subtype="FLOAT"
                ),
                "NaN or infinite",
                id=f"the average of {pair}",
            )
            for pair in ((3e38, 3e38), (np.inf, -np.inf))
        ),
    ],
)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["clip.wav", "clip.raw"])
def test_bad_audio_is_one_line(tmp_path: Path, make: object, says: str, name: str) -> None:
    assert callable(make)
    make(tmp_path / name)
    with pytest.raises(InputError) as error:
        load_audio(tmp_path / name)
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("read", [load_audio, audio_seconds, audio_rate])
@pytest.mark.parametrize(("make", "says"), HEADERS)
def test_what_no_file_holds_is_refused_from_the_header(tmp_path: Path, make: object, says: str, read: object) -> None:
    assert callable(make)
    assert callable(read)
    make(tmp_path / "clip")
    with pytest.raises(InputError, match=says):
        read(tmp_path / "clip")


def test_memory_follows_from_what_a_file_holds(tmp_path: Path) -> None:
    flac(tmp_path / "clip", 3 * HOUR)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"it holds 1.00 s"):
        load_audio(tmp_path / "clip")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{most / 1e6:.1f} MB at most")
    assert most < 20e6


@pytest.mark.parametrize("name", [b"a\xff.wav", b"a.txt", b"a b\n.raw", "\u00e9\u65e5.mp3".encode()])
def test_a_file_is_known_by_what_it_holds(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    soundfile.write(tmp_path / "a.wav", chord(RATE), RATE, subtype="FLOAT")
    path.write_bytes((tmp_path / "a.wav").read_bytes())
    assert audio_seconds(path) == 1.5
    assert audio_rate(path) == RATE
    assert np.array_equal(load_audio(path), chord(RATE).astype(np.float32))
    assert np.array_equal(load_audio(str(path)), load_audio(path))
