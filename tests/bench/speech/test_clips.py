"""Clips as one stream."""

import numpy as np

from bench.speech.clips import Clip, joined
from data.voiced import Speech

RATE = 16_000


def test_clips_join_end_to_end() -> None:
    one = Clip("a", np.full(3, 0.1, np.float32), RATE, "one", Speech(0, 1))
    two = Clip("b", np.full(2, 0.2, np.float32), RATE, "Two.", None)
    stream = joined("set_en", [one, two])
    np.testing.assert_array_equal(stream.samples, np.array([0.1, 0.1, 0.1, 0.2, 0.2], np.float32))
    assert (stream.name, stream.reference, stream.speech, stream.sample_rate) == ("set_en", "one Two.", None, RATE)
