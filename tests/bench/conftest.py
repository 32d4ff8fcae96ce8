"""A hand-driven clock, a stream of known cost and text, and rows to write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from bench.pages.drawing import Plot
from bench.results import ResultFile
from bench.rows import DataProvenance, Provenance, SpeechRow
from runtime import Final, Partial
from tests.runtime.conftest import folder, rig  # noqa: F401 -- fixtures: the toy bundle and the fake GPU


@dataclass
class FakeTime:
    """A timer that moves when something sleeps or works."""

    oversleep_s: float = 0.0
    now_s: float = 100.0
    slept: list[float] = field(default_factory=list)

    def timer(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds + self.oversleep_s


@dataclass
class FakeStream:
    """Push i costs `push_s[i]` and returns the texts `says[i]`; finish costs `finish_s` and returns `final`."""

    time: FakeTime
    push_s: Sequence[float]
    finish_s: float = 0.0
    says: dict[int, list[str]] = field(default_factory=dict)
    final: str = ""
    frames: list[int] = field(default_factory=list)

    def push(self, samples: npt.NDArray[np.float32], /) -> list[Partial]:
        index = len(self.frames)
        self.frames.append(len(samples))
        self.time.now_s += self.push_s[index]
        return [Partial(text, (), 0.0) for text in self.says.get(index, [])]

    def end_utterance(self) -> Final:
        self.time.now_s += self.finish_s
        return Final(self.final, (), 0.0)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are not drawn, which takes matplotlib a quarter of a second each: their files hold their names."""
    monkeypatch.setattr(Plot, "_drawn", lambda plot, above="": f"<svg>{plot.name} {above}</svg>")


@pytest.fixture
def make_time() -> Callable[..., FakeTime]:
    return FakeTime


@pytest.fixture
def make_stream() -> Callable[..., FakeStream]:
    return FakeStream


@pytest.fixture(scope="session")
def a_row() -> SpeechRow:
    return SpeechRow(
        mode="utterance",
        lang="en",
        model="m",
        weights="trained",
        decoder="ctc",
        precision="fp32",
        backend="onnxruntime-cpu",
        lookahead_ms=80,
        frame_ms=20,
        pace="fast",
        data="set_en",
        wer=12.345678,
        rtf_p50=0.04,
        rtf_p95=0.05,
        final_ms_p50=7.5,
        final_ms_p95=9.25,
        peak_host_memory_mb=200.4,
        functional_check=True,
    )


@pytest.fixture(scope="session")
def a_result(a_row: SpeechRow) -> ResultFile:
    provenance = Provenance(
        date="2026-01-01T00:00:00+00:00",
        commit="c0ffee",
        command="python -m bench",
        gpu=None,
        driver=None,
        sm_clock_mhz=None,
        power_w=None,
        tensorrt=None,
        cuda=None,
        python="3.11.0",
        cpu="A CPU, 2 cores",
        data=[DataProvenance(name="set_en", sha256="00", clips=2, minutes=0.1)],
    )
    return ResultFile(provenance=provenance, rows=[a_row], definitions={"wer": "percent"})
