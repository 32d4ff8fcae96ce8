"""A fork of a process that holds the GPU."""

import sys

import numpy as np

from runtime import Recognizer
from tests.own_process import forked
from tests.runtime.rig import Rig


def test_a_fork_frees_nothing_of_the_gpu(rig: Rig) -> None:
    recognizer = Recognizer(rig.folder, backend=rig.open())
    stream = recognizer.stream()
    stream.push(np.zeros(4000, np.float32))
    held = dict(rig.gpu.live)
    assert held

    def close() -> int:
        recognizer.close()
        recognizer.backend.close()
        return 0 if rig.gpu.live == held else 1

    assert forked(close, sys.__stderr__.fileno()) == 0  # type: ignore[union-attr]
    assert stream.end_utterance().audio_s == 4.0  # the bundle is at 1000 Hz
    recognizer.close()
    assert rig.gpu.live == {}
