"""Synthesise the sample: `python -m data.sample.make_sample` writes the clips, the manifest and the words' times into this folder.

Needs espeak-ng 1.51 and flite 2.2 (Debian's packages of those names). The same versions give the same bytes.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import shutil
import subprocess
import sys
import tempfile
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from rich.console import Console
from rich.progress import track

from data import word_times
from data.manifest import Utterance, write_manifest
from data.sample.synthesisers import spoken_words
from data.word_times import SpokenClip, SpokenWord, write_word_times
from runtime.audio import SAMPLE_RATE, load_audio
from runtime.errors import InputError, exit_code
from runtime.files import written_whole

FOLDER = Path(__file__).parent
LOUDNESS_DB = -23.0  # RMS of the speech between the silences, relative to full scale
PEAK = 0.9  # of full scale, at most
SILENCE_S = (0.2, 0.4)  # drawn anew for each end of each clip
NOISE_DB = -75.0  # RMS of the noise under all of a clip, relative to full scale: microphones have no digital silence

# (engine, voice, speed): words a minute for espeak-ng, duration stretch for flite
VOICES = [
    ("flite", "slt", "1.0"),
    ("espeak-ng", "en-us", "150"),
    ("flite", "rms", "1.0"),
    ("espeak-ng", "en-gb", "140"),
    ("flite", "awb", "1.1"),
    ("espeak-ng", "en-us+f3", "145"),
    ("flite", "kal16", "1.1"),
    ("espeak-ng", "en-gb-scotland", "155"),
    ("flite", "slt", "1.2"),
    ("espeak-ng", "en-gb-x-rp", "165"),
]

SENTENCES = FOLDER.joinpath("sentences.txt").read_text(encoding="utf-8").splitlines()


def synthesise(engine: str, voice: str, speed: str, text: str) -> tuple[npt.NDArray[np.float32], int]:
    """Speak a text; return float32 [samples] at 16 kHz, without the engine's own silence around it, and how much was before it."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        command = {
            "espeak-ng": ["espeak-ng", "-v", voice, "-s", speed, "-w", str(wav), text],
            "flite": ["flite", "-voice", voice, "--setf", f"duration_stretch={speed}", "-t", text, "-o", str(wav)],
        }[engine]
        subprocess.run(command, check=True)
        samples = load_audio(wav)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1], int(loud[0])


def finish(speech: npt.NDArray[np.float32], rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], int]:
    """Bring speech to the loudness, put silence at both ends and faint noise under it all; return it and the silence before it."""
    gain = 10 ** (LOUDNESS_DB / 20) / np.sqrt(np.mean(speech**2))
    ends = [int(seconds * SAMPLE_RATE) for seconds in rng.uniform(*SILENCE_S, size=2)]
    clip = np.pad(speech * min(gain, PEAK / np.abs(speech).max()), ends)
    return (clip + rng.normal(0, 10 ** (NOISE_DB / 20), clip.size)).astype(np.float32), ends[0]


def moved(word: SpokenWord, samples: int) -> SpokenWord:
    """Return a word so much later."""
    if word.start_s is None or word.end_s is None:
        return word
    later_s = samples / SAMPLE_RATE
    return SpokenWord(text=word.text, start_s=round(word.start_s + later_s, 3), end_s=round(word.end_s + later_s, 3))


def run() -> None:
    """Write the clips, then the manifest and the words' times. Raises InputError when a synthesiser is not installed."""
    for engine in ("espeak-ng", "flite"):
        if shutil.which(engine) is None:
            raise InputError(f"{engine} is not installed; install the system packages espeak-ng and flite")
    rng = np.random.default_rng(0)
    utterances, clips = [], []
    turns = list(zip(SENTENCES, cycle(VOICES), strict=False))
    for number, (text, (engine, voice, speed)) in enumerate(
        track(turns, "synthesising", console=Console(stderr=True)), 1
    ):
        speech, cut = synthesise(engine, voice, speed, text)
        clip, before = finish(speech, rng)
        audio = FOLDER / "clips" / f"{number:02d}.mp3"
        with written_whole(audio) as temporary:
            soundfile.write(temporary, clip, SAMPLE_RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.7)
        utterances.append(Utterance(audio, text, round(clip.size / SAMPLE_RATE, 3), "en", f"{engine} {voice}"))
        words = [moved(word, before - cut) for word in spoken_words(engine, voice, speed, text)]
        clips.append(SpokenClip(audio_filepath=f"clips/{audio.name}", words=words))
    write_manifest(FOLDER / "manifest_en.jsonl", utterances)
    write_word_times(FOLDER / word_times.FILE, clips)


if __name__ == "__main__":
    sys.exit(exit_code(run))
