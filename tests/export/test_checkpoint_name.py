"""A bundle's folder is one folder, whatever a checkpoint is called."""

import subprocess
from pathlib import Path

import pytest

from export.bundle import bundle_folder

pytestmark = pytest.mark.nemo

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("data/checkpoint/small.nemo", "small"),
        ("large-random", "large-random"),
        ("stt_en_fastconformer_hybrid_large_streaming_multi", "stt_en_fastconformer_hybrid_large_streaming_multi"),
        ("nvidia/nemotron-speech-streaming-en-0.6b", "nemotron-speech-streaming-en-0.6b"),
    ],
)
def test_export_and_make_agree(model: str, name: str) -> None:
    folder = Path("build/bundles") / f"{name}-80ms"
    assert bundle_folder(Path("build/bundles"), model, 80) == folder
    told = subprocess.run(
        ["make", "-n", "bench", f"MODEL={model}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f'--bundle "{folder}"' in told
