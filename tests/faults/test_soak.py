"""One stream that does not end: speech comes back the same, silence and noise stay quiet, state and memory stay flat.

Short by default; an hour each, on real speech where it is there, with `pytest -m soak -s tests/faults/test_soak.py`.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench.score.rates import error_rates
from data import places
from data.manifest import find_manifests, read_manifest
from runtime import Recognizer
from runtime.audio import SAMPLE_RATE, load_audio
from runtime.backends.onnxruntime import open_session
from runtime.decoders.beam import LONG, BeamCtc
from runtime.decoders.hypotheses import chain_of
from runtime.decoders.transcript import Transcript, text_of
from runtime.words import Piece
from tests.runtime.decoders.plain import PLAIN

FRAME = 320  # samples, 20 ms
SILENCE = 2 * SAMPLE_RATE  # samples at a block's end, so that no word spans two
WORDS_PER_MINUTE = 1.0  # of text that nobody said
# Seconds of a block, which are whole chunks so that each is cut as the last was; blocks; and MB by which memory may grow from the
# second block to the last: the text itself is some MB an hour.
LENGTHS = pytest.mark.parametrize(
    ("block_s", "blocks", "growth_mb"),
    [pytest.param(20, 3, 5, id="a minute"), pytest.param(600, 6, 20, id="an hour", marks=pytest.mark.soak)],
)


@dataclass(frozen=True)
class Heard:
    """What a block of the stream came to, and what was held at its end."""

    text: str
    words: int
    state_bytes: int  # of the encoder
    memory_mb: float  # resident, of this process
    step_ms: float  # mean of the pushes that ran a step, decoding included; of the second stream, decoding alone


@pytest.fixture
def recognizers(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recognizer]]:
    """With a beam and greedy, which hear the same at the same time: the last step is all that need be kept, and memory is measured.

    Their sessions are their own: one that has worked for other tests has memory to spare, in which a leak would not show.
    """
    monkeypatch.setattr("tests.remembering.KEPT_BYTES", 4_000_000)
    monkeypatch.setattr("runtime.backends.onnxruntime.open_session", open_session)
    with (
        Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm="default") as beam,
        Recognizer(bundle, precision="fp32", backend="onnxruntime-cpu", lm=None) as greedy,
    ):
        assert beam.ngram is not None
        assert greedy.ngram is None
        yield [beam, greedy]


def speech(seconds: int) -> tuple[np.ndarray, str]:
    """As many clips as fit end to end, then silence; and what is said in them."""
    folder = next(iter(places.folders("asr_eval")), places.SAMPLE)
    utterances = [each for manifest in find_manifests(folder, "en").values() for each in read_manifest(manifest)]
    block, said, filled = np.zeros(seconds * SAMPLE_RATE, np.float32), [], 0
    for each in utterances:
        if filled / SAMPLE_RATE + each.duration > seconds - SILENCE / SAMPLE_RATE:
            continue  # nor is it decoded
        samples = load_audio(each.audio)
        if filled + len(samples) <= len(block) - SILENCE:
            block[filled : filled + len(samples)] = samples
            filled += len(samples)
            said.append(each.text)
    assert filled > 0.7 * len(block), "too few clips"
    return block, " ".join(said)


def white(rng: np.random.Generator, samples: int) -> np.ndarray:
    return rng.standard_normal(samples)


def pink(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Equal power in each octave, as rooms have it."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    coloured = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    return np.asarray(coloured / coloured.std())


def noise(seconds: int, blocks: int) -> Iterator[np.ndarray]:
    """Blocks of white and pink noise by turns, from -60 to -10 dBFS."""
    rng = np.random.default_rng(7)
    for number, level in enumerate(np.linspace(-60, -10, blocks)):
        kind = pink if number % 2 else white
        yield np.clip(kind(rng, seconds * SAMPLE_RATE) * 10 ** (level / 20), -1, 1).astype(np.float32)


class Listener:
    """A stream of one utterance. Numbers must be finite at the end of each block, and the beam's open hypotheses short."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer, self.stream = recognizer, recognizer.stream(early="off")
        self.heard: list[Heard] = []
        self._tokens: tuple[int, ...] = ()
        self._done = 0
        self._spent: list[float] = []

    def push(self, samples: np.ndarray) -> None:
        steps, begin = self.stream._hearing._steps, time.perf_counter()
        events = self.stream.push(samples)
        self._spent += [time.perf_counter() - begin] * (self.stream._hearing._steps - steps)
        self._tokens = events[-1].tokens if events else self._tokens

    def end_block(self, seconds: float) -> None:
        """Check what is held and add what was heard; `seconds` of the stream."""
        stream = self.stream
        state = list(stream._hearing._state.values())
        assert all(np.isfinite(each).all() for each in state)
        if isinstance(stream._hearing._decoder, BeamCtc):
            assert all(np.isfinite(score) for score, _ in stream._hearing._decoder._beam.values())
            assert max(len(chain_of(each)) for _, each in stream._hearing._decoder._beam.values()) <= 2 * LONG
        transcript = Transcript(text_of(self._recognizer.bundle.vocabulary), PLAIN.word)
        for token in self._tokens[self._done :]:
            transcript.add(Piece(token, 0, 0.0))
        self._done = len(self._tokens)
        assert len(stream._hearing._audio) < self._recognizer.bundle.window_samples
        size = sum(each.nbytes for each in state)
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        words = len(transcript.text.split())
        self.heard.append(Heard(transcript.text, words, size, resident / 1e6, 1e3 * float(np.mean(self._spent))))
        self._spent.clear()
        print(
            f"{seconds / 60:5.1f} min, {'greedy' if self._recognizer.ngram is None else 'beam'}: {words} words, "
            f"{size / 1e6:.2f} MB of state, {self.heard[-1].memory_mb:.1f} MB resident, {self.heard[-1].step_ms:.2f} ms a step"
        )


def listen(recognizers: list[Recognizer], blocks: Iterable[np.ndarray]) -> list[list[Heard]]:
    """Push the blocks as one utterance to a stream of each recogniser; return what each heard, by block."""
    listeners, samples = [Listener(each) for each in recognizers], 0
    for block in blocks:
        for start in range(0, len(block), FRAME):
            for each in listeners:
                each.push(block[start : start + FRAME])
        samples += len(block)
        for each in listeners:
            each.end_block(samples / SAMPLE_RATE)
    assert {each.stream.end_utterance().audio_s for each in listeners} == {samples / SAMPLE_RATE}
    return [each.heard for each in listeners]


def assert_flat(heard: list[Heard], growth_mb: float) -> None:
    assert len({each.state_bytes for each in heard}) == 1
    grown = heard[-1].memory_mb - heard[1].memory_mb
    assert grown <= growth_mb, f"memory grew by {grown:.1f} MB from the second block to the last"


@LENGTHS
def test_speech_at_the_end_is_heard_as_at_the_start(
    recognizers: list[Recognizer], block_s: int, blocks: int, growth_mb: float
) -> None:
    samples, said = speech(block_s)
    for heard in listen(recognizers, [samples] * blocks):
        first, last = (error_rates([said], [each.text], "en")["wer"] for each in (heard[0], heard[-1]))
        print(f"WER of the first {block_s} s {first:.2f} %, of the last {last:.2f} %, {len(said.split())} words each")
        assert [each.text == heard[1].text for each in heard[1:]] == [True] * (blocks - 1), (
            "it depends on what was long ago"
        )
        assert first is not None
        assert last is not None
        # The first block's first words have nothing before them: a few others.
        assert abs(last - first) <= max(0.5, 100 * 3 / len(said.split()))
        assert_flat(heard, growth_mb)


@LENGTHS
@pytest.mark.parametrize("kind", ["silence", "noise"])
def test_nothing_said_is_nothing_heard(
    recognizers: list[Recognizer], kind: str, block_s: int, blocks: int, growth_mb: float
) -> None:
    silent = np.zeros(block_s * SAMPLE_RATE, np.float32)
    made = noise(block_s, blocks) if kind == "noise" else [silent] * blocks
    for heard in listen(recognizers, made):
        words, texts = sum(each.words for each in heard), " ".join(each.text for each in heard)
        print(f"{words} words in {block_s * blocks / 60:.0f} min of {kind}: {texts[:200]}")
        assert words <= WORDS_PER_MINUTE * block_s * blocks / 60
        assert_flat(heard, growth_mb)
