"""Real-time factors of one stream against values worked out by hand; data sets at once against one after the other."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.results import ResultFile
from bench.rows import SpeechRow
from bench.speech.recognise import Options, rtf_per_window, run
from data.manifest import read_manifest


@pytest.mark.parametrize(
    ("audio_s", "frame_ms", "frame_s", "expected"),
    [
        (10.0, 20, [0.001] * 500, [0.05]),
        (25.0, 20, [0.001] * 500 + [0.002] * 500 + [9.0] * 250, [0.05, 0.1]),  # the half window is left out
        (5.0, 20, [0.001] * 250, [0.05]),
        (20.01, 30, [0.003] * 667, [334 * 0.003 / 10, 333 * 0.003 / 10]),  # frame 333 begins at 9.99 s
    ],
)
def test_rtf_per_window(audio_s: float, frame_ms: int, frame_s: list[float], expected: list[float]) -> None:
    assert rtf_per_window(frame_s, audio_s, frame_ms) == pytest.approx(expected)


def test_data_sets_at_once(bundle: Path, tmp_path: Path) -> None:
    for name, spoken in zip("ab", read_manifest(Path("data/sample/manifest_en.jsonl")), strict=False):
        (tmp_path / name).mkdir()
        line = {"audio_filepath": str(spoken.audio.resolve()), "text": spoken.text, "duration": spoken.duration}
        (tmp_path / name / "manifest_en.jsonl").write_text(json.dumps(line))
    found = []
    for at_once in (False, True):
        options = Options(
            bundle=bundle,
            eval=tmp_path,
            backend="onnxruntime-cpu",
            lm="none",
            sets_at_once=at_once,
            out=tmp_path / str(at_once),
        )
        result = run(options, [], Console(quiet=True)).result
        assert isinstance(result, ResultFile)
        rows = [(row.data, row.mode, row.clips, row.wer, row.steps) for row in result.rows_of(SpeechRow)]
        found.append((rows, [(each.data, each.mode, each.hypothesis) for each in result.utterances]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 4
