"""The waterfall against times worked out by hand; its stages always add up to the measured figure."""

from pathlib import Path

import numpy as np
import pytest

from bench.speech.arrivals import Heard
from bench.speech.waterfall import STAGES, summed_up, waterfall, with_totals
from runtime import Partial
from runtime.bundle import Bundle, read_bundle


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Bundle:
    return read_bundle(bundle)  # 80 ms: steps at 92.5 ms and every 160 ms after it, of two frames


@pytest.mark.parametrize(
    ("onset_ms", "text", "expected"),
    [  # text: audio of the partial, arrival, begin, in steps, end; ms from the utterance's start
        (0, (92.5, 100, 100, 1, 2), (0, 80, 12.5, 0, 7.5, 0, 1, 1)),
        (50, (92.5, 100, 103, 4, 6), (30, 0, 12.5, 0, 7.5, 3, 4, 2)),
        (80, (92.5, 100, 100, 1, 1), (0, 0, 12.5, 0, 7.5, 0, 1, 0)),
        (81, (252.5, 260, 260, 1, 2), (79, 80, 12.5, 0, 7.5, 0, 1, 1)),
        (200, (572.5, 580, 580, 1, 2), (40, 0, 12.5, 320, 7.5, 0, 1, 1)),
        (0, (52.5, 60, 60, 1, 2), (0, 52.5, 0, 0, 7.5, 0, 1, 1)),  # early: 40 ms before its chunk was whole
        (81, (212.5, 220, 220, 1, 2), (79, 52.5, 0, 0, 7.5, 0, 1, 1)),
        (200, (532.5, 540, 540, 1, 2), (12.5, 0, 0, 320, 7.5, 0, 1, 1)),
        (300, (252.5, 260, 260, 1, 2), None),  # text before the onset
        (-10, (252.5, 260, 260, 1, 2), None),  # an utterance that begins after it
    ],
)
def test_by_hand(
    manifest: Bundle, onset_ms: float, text: tuple[float, ...], expected: tuple[float, ...] | None
) -> None:
    start_s = 7.0
    audio, arrival, begin, steps, took = (each / 1e3 for each in text)
    first = Heard(Partial("a", (1,), audio), start_s + arrival, start_s + begin, steps, start_s + begin + took)
    found = waterfall(manifest, start_s + onset_ms / 1e3, start_s, first)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert tuple(found) == tuple(STAGES)
    assert tuple(found.values()) == pytest.approx(expected, abs=1e-6)
    totals = with_totals(found)
    assert totals["total_ms"] == pytest.approx(1e3 * (first.end_s - start_s) - onset_ms, abs=1e-6)
    assert totals["system_ms"] == pytest.approx(sum(expected) - expected[3], abs=1e-6)


def test_stages_add_up_and_none_but_rounding_is_negative(manifest: Bundle) -> None:
    random = np.random.default_rng(3)
    found = []
    for _ in range(200):
        onset, start = random.uniform(0, 3), random.uniform(0, 100)
        audio = 0.0925 + 0.16 * (int(onset / 0.16) + 1 + random.integers(5))
        arrival = start + audio + random.uniform(0, 0.02)
        end = arrival + 0.01
        heard = Heard(Partial("a", (1,), audio), arrival, arrival, 0.004, end)
        fall = waterfall(manifest, start + onset, start, heard)
        assert fall is not None
        assert sum(fall.values()) == pytest.approx(1e3 * (end - start - onset), abs=1e-6)
        assert min(fall.values()) > -1e-6
        found.append(fall)
    table = summed_up(found)
    means = [values["mean"] for stage, values in table.items() if stage not in ("total_ms", "system_ms")]
    assert sum(means) == pytest.approx(table["total_ms"]["mean"], abs=0.01)
    assert summed_up([]) == {}
