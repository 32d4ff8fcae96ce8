"""A client's bytes to samples, against libsndfile's G.711 and scipy's resampling."""

import io

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from runtime.errors import InputError
from serving.web.sound import Sound, SoundFormat

PCM24, PCM16 = SoundFormat(), SoundFormat(rate=16_000)
MU_LAW, A_LAW = SoundFormat(type="audio/pcmu"), SoundFormat(type="audio/pcma", rate=8_000)
RAGGED = (2, 960, 0, 6, 30_000, 322)


def pushed(sound: Sound, data: bytes, pieces: tuple[int, ...]) -> np.ndarray:
    found, at, number = [], 0, 0
    while at < len(data):
        size = pieces[number % len(pieces)]
        samples = sound.push(data[at : at + size])
        found.append(samples.astype(np.float32) / 32_768 if samples.dtype == np.int16 else samples)
        at, number = at + size, number + 1
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("sound_format", "subtype", "up", "down"),
    [(PCM24, "PCM_16", 2, 3), (PCM16, "PCM_16", 1, 1), (MU_LAW, "ULAW", 2, 1), (A_LAW, "ALAW", 2, 1)],
    ids=lambda value: value.type if isinstance(value, SoundFormat) else str(value),
)
def test_samples(
    sample: list[tuple[str, np.ndarray]], sound_format: SoundFormat, subtype: str, up: int, down: int
) -> None:
    spoken = resample_poly(sample[2][1], down, up).astype(np.float32)
    file = io.BytesIO()
    kind = {"format": "RAW", "subtype": subtype, "endian": "LITTLE" if subtype == "PCM_16" else "FILE"}
    soundfile.write(file, spoken, sound_format.hz, **kind)
    data = file.getvalue()
    written, _ = soundfile.read(io.BytesIO(data), samplerate=sound_format.hz, channels=1, dtype="float32", **kind)
    expected = resample_poly(written, up, down)
    sound = Sound(sound_format)
    found = pushed(sound, data, RAGGED)
    held_back = sound.flush()
    assert len(held_back) <= 0.003 * 16_000  # ms that a partial waits for
    whole = np.concatenate([found, held_back])
    assert abs(len(whole) - len(expected)) <= 1
    length = min(len(whole), len(expected))
    difference = whole[:length] - expected[:length]
    level_db = 10 * np.log10(np.mean(difference**2) / np.mean(expected**2) + 1e-12)
    print(f"{sound_format.type} at {sound_format.hz} Hz: {level_db:.0f} dB from scipy's")
    assert level_db < -30
    again = np.concatenate([pushed(sound, data, (len(data),)), sound.flush()])
    assert np.array_equal(again, whole)  # however it is cut, and after a flush


@pytest.mark.parametrize(
    "fields", [{"rate": 8_000}, {"rate": 44_100}, {"type": "audio/pcmu", "rate": 16_000}, {"type": "audio/opus"}]
)
def test_formats_that_cannot_be(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected audio/pcm at 24000|Input should be"):
        SoundFormat.model_validate(fields)


def test_half_a_sample_is_refused() -> None:
    sound = Sound(PCM24)
    with pytest.raises(InputError, match="expected whole samples of 2 bytes, found 3 bytes; send an even number"):
        sound.push(b"abc")
