"""Streams that come and go: no text differs, memory is flat, all places are free again.

Short by default; half an hour of 512 streams with `pytest -m soak -s tests/faults/test_streams_soak.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from runtime import Recognizer
from runtime.bundle import read_bundle
from tests.runtime.cheap import Cheap
from tests.runtime.coming_and_going import Talk, assert_nothing_is_left, held

FEW = pytest.param(48, 48 * 30.0, 100.0, id="48 streams")
MANY = pytest.param(512, 512 * 1800.0, 30.0, id="half an hour of 512 streams", marks=pytest.mark.soak)
"""Streams at a time, seconds of audio in all, MB by which memory may grow from half of it on."""


@pytest.mark.parametrize(("streams", "audio_s", "growth_mb"), [FEW, MANY])
def test_streams_that_come_and_go(bundle: Path, streams: int, audio_s: float, growth_mb: float) -> None:
    random = np.random.default_rng(0)
    clips = [
        (2000 * random.standard_normal(int(16_000 * seconds))).astype(np.int16)
        for seconds in random.uniform(0.2, 6, 40)
    ]
    backend, held_before = Cheap(read_bundle(bundle), streams), held()
    with Recognizer(bundle, backend=backend, lm=None) as recognizer:
        talk = Talk(recognizer, clips, streams, audio_s)
        heard = talk.run()
        print(
            f"{heard.utterances} utterances and {heard.hung_up} that were not ended, {heard.audio_s / 3600:.1f} h, "
            f"{heard.differing} differ; MB {', '.join(f'{mb:.0f}' for mb in heard.memory_mb)}"
        )
        assert heard.utterances > streams
        assert heard.hung_up
        assert heard.differing == 0
        half = len(heard.memory_mb) // 2
        assert max(heard.memory_mb[half:]) - heard.memory_mb[half] < growth_mb
        assert_nothing_is_left(recognizer, held_before)
