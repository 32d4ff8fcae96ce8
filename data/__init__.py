"""Speech with transcripts: NeMo-style manifests, audio of any format at one rate, and sets made from Common Voice."""

from data.audio import audio_seconds, load_audio
from data.manifest import Utterance, dataset_sha256, find_manifests, read_manifest, write_manifest

__all__ = [
    "Utterance",
    "audio_seconds",
    "dataset_sha256",
    "find_manifests",
    "load_audio",
    "read_manifest",
    "write_manifest",
]
