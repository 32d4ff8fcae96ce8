"""Many conversations at once, some of them troublesome: no text differs, nothing is left, and what the server adds to the delay.

Short by default; a quarter of an hour of 32 conversations with `pytest -m soak -s tests/serving/web/test_load.py`.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from runtime import Final, Recognizer, Stream
from runtime.backends import Step
from runtime.backends.slots import Rows
from runtime.bundle import read_bundle
from serving.web.connection import Limits
from tests.runtime.cheap import Cheap
from tests.runtime.coming_and_going import memory_mb
from tests.serving.web import talkers
from tests.serving.web.served import served
from tests.serving.web.talkers import Heard, Spec
from tests.serving.web.test_connection import metric

MOST = 220
STEP_S = 1e-3
SHORT_S = 2.0
"""Of conversations without trouble: each talker says two clips or more."""
TROUBLE_S = 3.0
"""Of those with, whose talkers begin one after the other in as long."""


class Stepping(Cheap):
    """A step that takes 1 ms, however many rows it has, of which the CPU is free, as on a GPU."""

    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, np.ndarray]:
        time.sleep(STEP_S)
        return super().run_rows(steps, rows)


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Iterator[Recognizer]:
    with Recognizer(bundle, backend=Stepping(read_bundle(bundle), MOST + 1), lm=None) as opened:
        yield opened


@pytest.fixture
def spec(recognizer: Recognizer, tmp_path: Path) -> Spec:
    random, file = np.random.default_rng(3), tmp_path / "clips.npz"
    clips = [
        (2000 * random.standard_normal(640 * int(frames))).astype(np.int16) for frames in random.integers(5, 40, 20)
    ]
    np.savez(file, *clips)
    texts = []
    stream = recognizer.stream(early="off")
    for clip in clips:
        stream.push(clip)
        texts.append(stream.end_utterance().text)
    stream.close()
    return Spec(str(file), texts, seconds=SHORT_S, frame=320)


class OwnLine:
    """A stream in this process."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def send(self, samples: np.ndarray) -> None:
        self._stream.feed(samples)

    async def commit(self) -> None:
        self._stream.feed_end()

    async def events(self) -> AsyncIterator[tuple[bool, str, float]]:
        async for event in self._stream:
            yield isinstance(event, Final), event.text, event.start_s + event.audio_s


def over_server(spec: Spec, recognizer: Recognizer, limits: Limits) -> Heard:
    """What talkers in a process of their own heard; afterwards no stream is left."""
    file = Path(spec.clips).with_suffix(".json")
    with served(recognizer, limits) as port:
        file.write_text(json.dumps(asdict(replace(spec, url=f"ws://127.0.0.1:{port}/v1/realtime"))))
        done = subprocess.run(
            [sys.executable, talkers.__file__, str(file)],
            capture_output=True,
            text=True,
            timeout=spec.seconds + 120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 3 * limits.ping_s
        while metric(port, "asr_streams_open") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert metric(port, "asr_streams_open") == 0
    return Heard(**json.loads(done.stdout))


def percentiles(delays_ms: list[float]) -> str:
    return "/".join(f"{value:.1f}" for value in np.percentile(delays_ms, (50, 95, 99)))


@pytest.mark.parametrize("seconds", [SHORT_S, pytest.param(900.0, marks=pytest.mark.soak)])
def test_conversations(recognizer: Recognizer, spec: Spec, seconds: float) -> None:
    before_mb = memory_mb()
    many = replace(spec, talkers=32, seconds=seconds)
    with ExitStack() as lines:
        asked = replace(many, seconds=SHORT_S)
        own = asyncio.run(talkers.talk(asked, lambda: OwnLine(lines.enter_context(closing(recognizer.stream())))))
    there = over_server(many, recognizer, Limits(MOST))
    for who, heard in (("in this process", own), ("over the server", there)):
        print(
            f"{who}: {heard.utterances} utterances, {heard.differ} differ; p50/p95/p99 ms: partials {percentiles(heard.partial_ms)}, "
            f"finals {percentiles(heard.final_ms)}"
        )
        assert heard.differ == 0
        assert heard.utterances >= 32
    print(f"memory grew by {memory_mb() - before_mb:.0f} MB")
    assert memory_mb() - before_mb < 100


def test_trouble(recognizer: Recognizer, spec: Spec) -> None:
    crowd = replace(spec, seconds=TROUBLE_S, frame=640, talkers=140, fast=10, slow=20, silent=20, garbage=10)
    heard = over_server(crowd, recognizer, Limits(MOST, ping_s=3.0, slow_s=2.0))
    print(
        f"{heard.utterances} utterances, {heard.differ} differ, {heard.refusals} refusals; p50/p95/p99 ms: partials "
        f"{percentiles(heard.partial_ms)}, finals {percentiles(heard.final_ms)}"
    )
    assert heard.differ == 0
    assert heard.utterances >= 150
    assert heard.refusals > crowd.garbage  # of those again and again, as often as the machine lets them
