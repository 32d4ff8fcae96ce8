"""The step over many streams: each row is the step of its own stream, wherever that stands, and no row knows of its neighbours."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.bundle import TOLERANCES, is_current
from export.checkpoint import EMBEDDED
from export.graph import STREAMS
from export.placement import quantised_products
from export.rows import ROWS, Arrays, Runs, rows_from_step
from runtime import Recognizer
from runtime.backends import ALL_VALID, Backend, StepResult, Wrapped, open_backend
from runtime.bundle import Precision, read_bundle, write_manifest
from runtime.errors import InputError

pytestmark = pytest.mark.nemo

WITHIN = {"fp32": {"encoded": 1e-4, "log_probs": 5e-4}, "fp16": {"encoded": 1e-2, "log_probs": 0.05}}
NEARLY_ALL = {"fp32": 1e-4, "fp16": 0.03}
"""Of log-probabilities, in 99 of 100 chunks. In the sample's first clip a chunk is badly conditioned: with every sample moved by one
rounding the FP32 step of one stream, of all layers, gives log-probabilities there that differ by up to 3.4e-4 from its own."""
TIE = 0.005  # best two log-probabilities this close: rounding in FP16 decides
CHUNKS = 40  # five more than fill the left context
PHASES = [0, 5, 17, 31, 44]
"""Chunks that a row's speech has behind it when the first common run begins; the last rows are thus in other clips."""


@dataclass(frozen=True)
class Chunk:
    """What one step of an utterance gets."""

    begins: bool
    window: np.ndarray
    valid: int


class Tape(Wrapped):
    """A backend that keeps the steps which the runtime asks for; what they are does not depend on results, so that one is computed."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.chunks: list[Chunk] = []
        self._begins = True
        self._result: StepResult | None = None

    def new_state(self) -> Any:  # noqa: ANN401
        self._begins = True
        return self.wrapped.new_state()

    def step(self, window: np.ndarray, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        self.chunks.append(Chunk(self._begins, window.copy(), valid))
        self._begins = False
        self._result = self._result or self.wrapped.step(window, valid, state)
        return self._result


@pytest.fixture(scope="module")
def clips(shallow_bundle: Path, sample: list[tuple[str, np.ndarray]]) -> list[list[Chunk]]:
    """The chunks of each clip of data/sample, those of its flush included."""
    taped = []
    tape = Tape(open_backend(shallow_bundle, read_bundle(shallow_bundle), "onnxruntime-cpu", "fp32"))
    with Recognizer(shallow_bundle, backend=tape, lm=None) as recognizer:
        for _, audio in sample[:10]:
            stream = recognizer.stream(early="off")
            stream.push(audio)
            stream.end_utterance()
            taped.append(tape.chunks)
            tape.chunks = []
    return taped


@dataclass
class Row:
    """A stream of clips one after the other, beginning with one of them, and its state in the step of one stream."""

    chunks: Iterator[Chunk]
    state: Arrays = field(default_factory=dict)

    @classmethod
    def of(cls, clips: list[list[Chunk]], first: int) -> "Row":
        return cls(cycle(chain.from_iterable([*clips[first:], *clips[:first]])))


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def precision(request: pytest.FixtureRequest) -> Precision:
    chosen: Precision = request.param
    return chosen


@pytest.fixture(scope="module")
def one(shallow_bundle: Path, precision: Precision) -> Runs:
    return Runs(shallow_bundle, read_bundle(shallow_bundle), precision, many=False)


@pytest.fixture(scope="module")
def many(shallow_bundle: Path, precision: Precision) -> Runs:
    return Runs(shallow_bundle, read_bundle(shallow_bundle), precision, many=True)


def garbage(state: Arrays, generator: np.random.Generator) -> Arrays:
    """A state that no step left: large numbers, NaN, infinity."""
    made = {}
    for name, values in state.items():
        if values.dtype == np.int32:
            made[name] = generator.integers(-1000, 1000, values.shape).astype(np.int32)
        else:
            noise = 1e3 * generator.standard_normal(values.shape)
            made[name] = np.where(generator.random(values.shape) < 0.1, np.nan, noise).astype(values.dtype)
            made[name][..., -1:] = np.inf
    return made


@pytest.mark.parametrize("change", [0.5, np.nan])
def test_rows_that_are_others_are_told(shallow_bundle: Path, monkeypatch: pytest.MonkeyPatch, change: float) -> None:
    step = Runs.step

    def changed(runs: Runs, windows: np.ndarray, valid: np.ndarray, state: Arrays) -> tuple[Arrays, Arrays]:
        results, state = step(runs, windows, valid, state)
        return results | {"encoded": results["encoded"] + (change if len(windows) == ROWS else 0.0)}, state

    monkeypatch.setattr(Runs, "step", changed)
    found = rows_from_step(shallow_bundle, read_bundle(shallow_bundle), "fp32")
    print("rows differ by", found)
    assert not found <= TOLERANCES["fp32"]
    assert np.isnan(found) == np.isnan(change)


def test_every_row_is_the_step_of_its_stream(
    one: Runs, many: Runs, precision: Precision, clips: list[list[Chunk]]
) -> None:
    """Rows that begin, go on and flush at different times; behind them one that is idle, on garbage all along."""
    generator = np.random.default_rng(1)
    rows = [Row.of(clips, place % len(clips)) for place in range(len(PHASES))]
    for row, phase in zip(rows, PHASES, strict=True):
        for chunk in (next(row.chunks) for _ in range(phase)):
            state = one.new_state() if chunk.begins else row.state
            _, row.state = one.step(chunk.window[None], np.array([chunk.valid], np.int32), state)
    fresh = one.new_state()
    state = {name: np.concatenate([*(row.state.get(name, fresh[name]) for row in rows), fresh[name]]) for name in fresh}
    differences: dict[str, list[float]] = {name: [] for name in WITHIN[precision]}
    decided, begun, flushed = 0, 0, 0
    for _ in range(CHUNKS):
        chunks = [next(row.chunks) for row in rows]
        idle = np.full_like(chunks[0].window, np.nan)
        for place, chunk in enumerate(chunks):
            if chunk.begins:
                rows[place].state = one.new_state()
                for name in state:
                    state[name][place] = 0
        for name, values in garbage(fresh, generator).items():
            state[name][-1:] = values
        valid = np.array([*(chunk.valid for chunk in chunks), generator.integers(-9, 9)], np.int32)
        found, state = many.step(np.stack([*(chunk.window for chunk in chunks), idle]), valid, state)
        for place, (row, chunk) in enumerate(zip(rows, chunks, strict=True)):
            expected, row.state = one.step(chunk.window[None], valid[place : place + 1], row.state)
            for name, of_chunks in differences.items():
                of_chunks.append(float(np.abs(found[name][place] - expected[name][0]).max()))
            assert state["length"][place] == row.state["length"][0]
            second, best = np.sort(expected["log_probs"][0])[:, -2:].T
            clear = best - second > (TIE if precision == "fp16" else 0)
            assert (found["tokens"][place] == expected["tokens"][0])[clear].all()
            decided += int(clear.sum())
            begun += chunk.begins
            flushed += chunk.valid < ALL_VALID
    worst, nearly = {name: max(each) for name, each in differences.items()}, np.quantile(differences["log_probs"], 0.99)
    print(
        f"{precision}, {CHUNKS} runs of {len(rows)} rows and an idle one, {begun} begun, {flushed} flushed: "
        f"{', '.join(f'{name} within {value:.1e}' for name, value in worst.items())}, "
        f"in 99 of 100 chunks {nearly:.1e}; {decided} tokens the same"
    )
    assert min(begun, flushed) >= 5
    assert decided >= 0.98 * 2 * CHUNKS * len(rows)
    assert all(value <= WITHIN[precision][name] for name, value in worst.items())
    assert nearly <= NEARLY_ALL[precision]


def test_a_row_does_not_depend_on_its_neighbours(many: Runs, precision: Precision, clips: list[list[Chunk]]) -> None:
    """Bit for bit in its place among as many; in another place or among another number, within rounding: sums have another order."""
    generator = np.random.default_rng(2)
    runs = {"silence": (1, 3), "garbage": (1, 3), "alone": (0, 1), "last of 5": (4, 5)}
    states = {kind: many.new_state(rows) for kind, (_, rows) in runs.items()}
    worst = dict.fromkeys(runs, 0.0)
    speech = Row.of(clips, 0)
    for _ in range(CHUNKS):
        chunk = next(speech.chunks)
        results = {}
        for kind, (place, rows) in runs.items():
            windows = np.zeros((rows, len(chunk.window)), np.float32)
            valid = np.full(rows, ALL_VALID, np.int32)
            state = states[kind]
            if kind == "garbage":
                windows += np.nan
                valid[:] = generator.integers(-9, 9, rows)
                mine = {name: values[place].copy() for name, values in state.items()}
                state = garbage(state, generator)
                for name, values in mine.items():
                    state[name][place] = values
            windows[place], valid[place] = chunk.window, chunk.valid
            if chunk.begins:
                for values in state.values():
                    values[place] = 0
            found, states[kind] = many.step(windows, valid, state)
            results[kind] = {name: values[place] for name, values in found.items()}
            results[kind] |= {name: values[place].copy() for name, values in states[kind].items()}
        for kind, result in results.items():
            if kind == "garbage":
                for name, values in result.items():
                    assert np.array_equal(values, results["silence"][name]), name
            difference = np.abs(result["log_probs"] - results["silence"]["log_probs"]).max()
            worst[kind] = max(worst[kind], float(difference))
    print(precision, {kind: f"{value:.1e}" for kind, value in worst.items()})
    assert worst["garbage"] == 0
    assert max(worst.values()) <= WITHIN[precision]["log_probs"]


def test_so_is_every_row_of_the_whole_step(batched_bundle: Path, precision: Precision) -> None:
    """As the export measures it: the other tests are of its first two layers, which the others are like."""
    batched = read_bundle(batched_bundle).parity[precision].batched
    print(f"{precision}: encoded frames within {batched:.1e}")
    assert batched is not None
    assert batched <= WITHIN[precision]["encoded"]


def test_shapes_and_names(batched_bundle: Path, precision: Precision) -> None:
    """The streams' axis first and no other unknown; products by the names that INT8 knows them by."""
    bundle = read_bundle(batched_bundle)
    _, entry = bundle.graph(precision, "batched")
    assert entry.tensors == bundle.step(precision).tensors
    model = onnx.load(batched_bundle / entry.file)
    for value in (*model.graph.input, *model.graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == STREAMS
        assert all(axis.dim_value for axis in others)
    single = onnx.load(batched_bundle / bundle.step(precision).file)
    assert quantised_products(model).keys() == quantised_products(single).keys()


def test_a_bundle_without_it_says_how_to_make_it(manifest_of_one: Path) -> None:
    with pytest.raises(InputError, match=r"found none; make the bundle again with `make export BATCH=1`$"):
        read_bundle(manifest_of_one).graph("fp16", "batched")


def test_a_bundle_is_made_again_only_where_it_lacks_what_is_asked_for(batched_bundle: Path, tmp_path: Path) -> None:
    without = Path(shutil.copytree(batched_bundle, tmp_path / "without", ignore=shutil.ignore_patterns("batched.*")))
    write_manifest(without, read_bundle(batched_bundle).model_copy(update={"batched": None}))
    current = [
        is_current(folder, EMBEDDED, batched=asked) for folder in (without, batched_bundle) for asked in (False, True)
    ]
    assert current == [True, False, True, True]
    broken = Path(shutil.copytree(batched_bundle, tmp_path / "bundle"))
    (broken / "batched.fp16.onnx").write_bytes(b"another")
    assert not is_current(broken, EMBEDDED)
