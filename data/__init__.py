"""Speech with transcripts: NeMo-style manifests, audio of any format at one rate, and sets made from Common Voice."""

from data.manifest import Utterance, dataset_sha256, find_manifests, read_manifest, words, write_manifest
from data.speech import load_speech
from runtime.audio import audio_rate, audio_seconds, load_audio

__all__ = [
    "Utterance",
    "audio_rate",
    "audio_seconds",
    "dataset_sha256",
    "find_manifests",
    "load_audio",
    "load_speech",
    "read_manifest",
    "words",
    "write_manifest",
]
