"""The repository read by Triton's own protobuf; its decoder and the client against the runtime, with the server's part faked."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.backends import Backend, StepResult
from runtime.bundle import read_bundle
from runtime.entries import STATE
from runtime.errors import InputError
from runtime.files import sha256
from runtime.recognizer import Recognizer
from runtime.stamp import Stamp, plan_path, stamp_path
from serving.client import TritonRecognizer, TritonStream
from serving.repository import IDLE_S, decoder_config, decoder_model, step_config, write_decoder, write_repository
from tests.remembering import Remembering

NUMPY_OF = {"TYPE_FP32": "float32", "TYPE_INT32": "int32", "TYPE_FP16": "float16"}


def parsed(text: str) -> Any:  # noqa: ANN401
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse(text, model_config.ModelConfig())


def shape_of(message: Any) -> tuple[str, list[int]]:  # noqa: ANN401
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    return NUMPY_OF[model_config.DataType.Name(message.data_type)], list(message.dims)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_step_is_described_as_the_bundle_does(bundle: Path, precision: str) -> None:
    step = read_bundle(bundle).step(precision)
    config = parsed(step_config("some", step))
    inputs = {each.name: (each.dtype, each.shape) for each in step.inputs}
    outputs = {each.name: (each.dtype, each.shape) for each in step.outputs}
    states = {each.input_name: each for each in config.sequence_batching.state}
    assert {each.name: shape_of(each) for each in config.input} | {
        name: shape_of(each) for name, each in states.items()
    } == inputs
    assert {each.name: shape_of(each) for each in config.output} | {
        each.output_name: shape_of(each) for each in states.values()
    } == outputs
    assert set(states) == set(STATE)
    for each in states.values():
        (initial,) = each.initial_state
        assert initial.zero_data
        assert shape_of(initial) == shape_of(each)
    assert (config.platform, config.max_batch_size, config.optimization.cuda.graphs) == ("tensorrt_plan", 0, True)
    assert [(each.count, list(each.gpus)) for each in config.instance_group] == [(1, [0])]
    assert not config.HasField("dynamic_batching")


def test_the_decoder_is_told_of_the_sequence() -> None:
    config = parsed(decoder_config("some"))
    assert [each.name for each in config.sequence_batching.control_input] == ["START", "END", "CORRID"]
    assert config.backend == "python"


class FakeError(Exception):
    """tritonclient.utils.InferenceServerException."""

    def __init__(self, msg: str, status: str) -> None:
        super().__init__(f"[{status}] {msg}")
        self.status = lambda: status


class FakeServer(ModuleType):
    """tritonclient.grpc and the server behind it: the step in onnxruntime, the repository's own model.py.

    Each model has one slot, `held` by a correlation id from its START to its END. Where `idle`, who holds a slot sends nothing more.
    """

    def __init__(self, backend: Backend, bundle: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("tritonclient.grpc")
        self._backend = backend
        utils: Any = ModuleType("triton_python_backend_utils")
        utils.get_input_tensor_by_name = lambda request, name: SimpleNamespace(as_numpy=lambda: request[name])
        utils.Tensor = lambda name, value: (name, value)
        utils.InferenceResponse = dict
        monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
        folder = repository / decoder_model(bundle)
        spec = importlib.util.spec_from_file_location("served_decoder", folder / "1" / "model.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._decoder = module.TritonPythonModel()
        self._decoder.initialize({"model_repository": str(folder), "model_version": "1"})
        self._state: Any = None
        self.held: dict[str, int] = {}
        self.idle = False
        self.broken = False

    def InferenceServerClient(self, url: str) -> "FakeServer":  # noqa: N802, ARG002
        return self

    def InferRequestedOutput(self, name: str) -> str:  # noqa: N802
        return name

    def InferInput(self, name: str, shape: list[int], kind: str) -> Any:  # noqa: N802, ANN401, ARG002
        made = SimpleNamespace(name=name)
        made.set_data_from_numpy = lambda value: setattr(made, "value", value.copy())
        return made

    def infer(self, model: str, inputs: list[Any], outputs: Any = None, **sequence: Any) -> Any:  # noqa: ANN401, ARG002
        sent = {each.name: each.value for each in inputs}
        start, end = sequence["sequence_start"], sequence["sequence_end"]
        if self.broken:
            raise FakeError("failed to\nconnect", "StatusCode.UNAVAILABLE")
        self._take_slot(model, sequence["sequence_id"], start, sequence["client_timeout"])
        if end:
            del self.held[model]
        if model.endswith("_step"):
            state = self._backend.new_state() if start else self._state
            result = self._backend.step(sent["audio"][0], int(sent["valid"][0]), state)
            self._state = None if end else result.state
            reply = {name: getattr(result, name)[None] for name in ("tokens", "log_probs")}
        else:
            sent |= {"START": np.array([start]), "END": np.array([end]), "CORRID": np.array([sequence["sequence_id"]])}
            (reply,) = self._decoder.execute([sent])
        return SimpleNamespace(as_numpy=reply.get)

    def _take_slot(self, model: str, sequence: int, start: bool, timeout_s: float | None) -> None:
        assert 0 < sequence < 1 << 63
        if start:
            assert timeout_s, "waits for ever"
            forgotten = self.idle and timeout_s > IDLE_S
            if self.held.get(model, sequence) != sequence and not forgotten:
                raise FakeError("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED")
            self.held[model] = sequence
        elif self.held.get(model) != sequence:
            raise FakeError("must specify the START flag", "StatusCode.INVALID_ARGUMENT")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def backend(bundle: Path) -> Backend:
    return Remembering(bundle, "fp32")


@pytest.fixture
def fake(backend: Backend, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    write_decoder(bundle, tmp_path)
    fake = FakeServer(backend, bundle, tmp_path, monkeypatch)
    package: Any = ModuleType("tritonclient")
    package.grpc = fake
    monkeypatch.setitem(sys.modules, "tritonclient", package)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", fake)
    utils: Any = ModuleType("tritonclient.utils")
    utils.InferenceServerException = FakeError
    utils.np_to_triton_dtype = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32"}.__getitem__
    monkeypatch.setitem(sys.modules, "tritonclient.utils", utils)
    return fake


@pytest.fixture
def served(bundle: Path, fake: FakeServer) -> Iterator[TritonRecognizer]:  # noqa: ARG001 -- the modules it puts in place
    with TritonRecognizer(bundle, "nowhere:0") as recognizer:
        yield recognizer


@pytest.fixture
def speech(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Half a second: a step or two."""
    return sample[0][1][:8000]


def test_the_client_recognises_what_the_runtime_does(
    backend: Backend, bundle: Path, served: TritonRecognizer, sample: list[tuple[str, np.ndarray]]
) -> None:
    with Recognizer(bundle, backend=backend, lm=None) as recognizer:
        streams = recognizer.stream(), served.stream()
        for _, samples in sample[:2]:
            ours, theirs = ([*each.push(samples), each.end_utterance()] for each in streams)
            assert theirs == ours
            assert ours[-1].text


def test_an_utterance_of_any_length_gives_the_slots_back(
    bundle: Path, fake: FakeServer, served: TritonRecognizer, sample: list[tuple[str, np.ndarray]]
) -> None:
    read = read_bundle(bundle)
    first, chunk, hop = read.first_step_samples, read.chunk_samples, read.hop_samples
    assert chunk % hop == 0
    # What is owed changes at whole hops and at whole chunks after the first step: either side of each, over a chunk and the first step.
    edges = [*range(hop, first + 2 * chunk, hop), *(first + chunk * each for each in range(3))]
    lengths = sorted({each + side for each in edges for side in (-1, 0, 1)} | {1481, 14290})
    stream, speech, unflushed = served.stream(), sample[0][1], 0
    for length in lengths:
        stream.push(speech[:length])
        steps = 0 if length < first else 1 + (length - first) // chunk
        unflushed += read.encoder_frames(length) <= steps * read.chunk_frames
        stream.end_utterance()
        assert not fake.held, length
    assert 0 < unflushed < len(lengths)


@pytest.mark.parametrize("over", ["reset", "close", "recogniser closed", "dropped"])
def test_an_utterance_cut_off_gives_the_slots_back(
    fake: FakeServer, served: TritonRecognizer, speech: np.ndarray, over: str
) -> None:
    stream = served.stream()
    stream.push(speech)
    assert len(fake.held) == 2
    if over == "reset":
        stream.reset()
    elif over == "close":
        stream.close()
    elif over == "dropped":
        del stream
        stream = served.stream()
    else:
        served.close()
    assert not fake.held


def test_a_finished_decoder_gives_its_slot_back(fake: FakeServer, served: TritonRecognizer) -> None:
    decoder = served.new_decoder()
    tokens = np.array([1, 2], np.int32)
    decoder.push(
        StepResult(
            tokens=tokens, log_probs=np.zeros((2, 3), np.float32), encoded=np.zeros((2, 1), np.float32), state=None
        ),
        2,
    )
    assert fake.held
    decoder.finish()
    assert not fake.held
    assert decoder.tokens == (1, 2)


def test_a_reset_utterance_leaves_nothing_to_the_next(
    backend: Backend, bundle: Path, served: TritonRecognizer, sample: list[tuple[str, np.ndarray]]
) -> None:
    (_, before), (_, samples) = sample[:2]
    with Recognizer(bundle, backend=backend, lm=None) as recognizer:
        stream = recognizer.stream()
        expected = [*stream.push(samples), stream.end_utterance()]
    theirs = served.stream()
    theirs.push(before)
    theirs.reset()
    assert [event.at(0.0) for event in (*theirs.push(samples), theirs.end_utterance())] == expected


def test_a_second_live_stream_is_refused(fake: FakeServer, served: TritonRecognizer, speech: np.ndarray) -> None:
    first = served.stream()
    with pytest.raises(InputError, match="expected one stream at a time, found one that is open; close it"):
        served.stream()
    first.close()
    second = served.stream()
    second.push(speech)
    first.close()
    assert len(fake.held) == 2, "the second stream's sequences were ended by the first's close"


@pytest.fixture
def holder(served: TritonRecognizer, speech: np.ndarray) -> TritonStream:
    """A stream that holds the slots."""
    stream = served.stream()
    assert isinstance(stream, TritonStream)
    stream.push(speech)
    return stream


def test_a_slot_in_use_is_one_line_and_free_later(
    bundle: Path, fake: FakeServer, speech: np.ndarray, holder: TritonStream
) -> None:
    with TritonRecognizer(bundle, "nowhere:0") as other:
        waiting = other.stream()
        with pytest.raises(
            InputError, match=r"^expected the slot of .*_step at nowhere:0 within .*, found it in use; .*$"
        ):
            waiting.push(speech)
        assert len(fake.held) == 2
        holder.close()
        waiting.reset()
        waiting.push(speech)
        assert len(fake.held) == 2


def test_a_slot_left_idle_is_waited_for(
    bundle: Path, fake: FakeServer, speech: np.ndarray, holder: TritonStream
) -> None:
    fake.idle = True
    with TritonRecognizer(bundle, "nowhere:0") as other:
        other.stream().push(speech)
        with pytest.raises(InputError, match=r"found: .*must specify the START flag"):
            holder.push(speech)


def test_a_server_that_fails_is_one_line(fake: FakeServer, served: TritonRecognizer, speech: np.ndarray) -> None:
    stream = served.stream()
    stream.push(speech)
    fake.broken = True
    with pytest.raises(InputError, match=r"^expected a Triton server .*, found: .*failed to connect; start it on .*$"):
        stream.push(speech)
    stream.close()


@pytest.fixture
def planned(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle's manifest with a plan of its own, whose bytes are no engine."""
    folder = tmp_path / "bundles" / "some"
    folder.mkdir(parents=True)
    for name in ("bundle.json", "lm_words.txt"):
        shutil.copy(bundle / name, folder)
    plan = plan_path(folder, "fp16")
    plan.parent.mkdir()
    plan.write_bytes(b"plan")
    stamp = Stamp(
        step_sha256=read_bundle(bundle).step("fp16").sha256,
        precision="fp16",
        plan_sha256=sha256(plan),
        tensorrt="10.16.1.11",
        gpu="some GPU",
        compute_capability="9.0",
        options={},
        weights_typed="strong",
        build_s=1.0,
        created="2026-01-01",
    )
    stamp_path(plan).write_text(stamp.model_dump_json(), encoding="utf-8")
    return folder


def test_the_repository_is_whole_and_made_again_over_itself(planned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        write_repository(planned, "fp16", out)
        assert (out / "some_step/1/model.plan").read_bytes() == b"plan"
        assert parsed((out / "some_step/config.pbtxt").read_text()).name == "some_step"
        assert parsed((out / "some_decoder/config.pbtxt").read_text()).name == "some_decoder"


def test_a_changed_plan_is_refused(planned: Path, tmp_path: Path) -> None:
    plan_path(planned, "fp16").write_bytes(b"other")
    with pytest.raises(InputError, match="truncated or changed"):
        write_repository(planned, "fp16", tmp_path / "out")


@pytest.mark.parametrize(
    "also", [["mine.txt"], ["README.md"], ["other_step", "other_decoder", "some_step", "some_decoder"]]
)
def test_a_folder_of_something_else_is_left_alone(planned: Path, tmp_path: Path, also: list[str]) -> None:
    out = tmp_path / "out"
    for name in also:
        (out / name).mkdir(parents=True)
        (out / name / "config.pbtxt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="something else"):
        write_repository(planned, "fp16", out)
    assert {each.name: (each / "config.pbtxt").read_text(encoding="utf-8") for each in out.iterdir()} == dict.fromkeys(
        also, "mine"
    )
