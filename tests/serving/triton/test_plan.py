"""The plan's repository read by Triton's own protobuf, and served by a real tritonserver with a Python model in the plan's place."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import read_bundle
from runtime.entries import STATE
from runtime.errors import InputError
from runtime.files import sha256
from runtime.recognizer import Recognizer
from runtime.stamp import Stamp, plan_path, stamp_path
from serving.triton import plan_client
from serving.triton.client import Conversation
from serving.triton.connection import Server
from serving.triton.plan_client import TritonRecognizer
from serving.triton.plan_repository import (
    POOL_MB,
    decoder_model,
    pool_bytes,
    step_config,
    step_model,
    write_decoder,
    write_plan_repository,
)
from serving.triton.repository import IDLE_S
from tests.serving.triton.servers import Triton, running

IDLE = 3.0
"""Of the served repository, in seconds."""


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


@pytest.fixture(scope="module")
def served(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """The repository as it is written, but for the plan and what only a GPU has."""
    out = tmp_path_factory.mktemp("plan") / "models"
    write_decoder(bundle, out)
    step = out / step_model(bundle)
    (step / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("python_step.py"), step / "1" / "model.py")
    own = {"root": Path.cwd(), "bundle": bundle.absolute()}
    config = step_config(step.name, read_bundle(bundle).step("fp32"))
    for planned, python in [
        ('platform: "tensorrt_plan"', 'backend: "python"'),
        ("kind: KIND_GPU gpus: 0", "kind: KIND_CPU"),
    ]:
        assert planned in config
        config = config.replace(planned, python)
    config += "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in own.items()
    )
    (step / "config.pbtxt").write_text(config)
    for each in out.glob("*/config.pbtxt"):
        written = each.read_text()
        assert f"idle_microseconds: {IDLE_S * 1e6:.0f}" in written
        each.write_text(
            written.replace(f"idle_microseconds: {IDLE_S * 1e6:.0f}", f"idle_microseconds: {IDLE * 1e6:.0f}")
        )
    server = Triton(out, tmp_path_factory.mktemp("server"))
    with running(server), pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_client, "IDLE_S", IDLE)
        yield server


@pytest.fixture
def remote(bundle: Path, served: Triton) -> Iterator[TritonRecognizer]:
    with TritonRecognizer(bundle, served.url) as recognizer:
        yield recognizer


class Slots:
    """Whether the two models have their slots free: a sequence of the decoder's begins and ends at once, one of the step's too."""

    def __init__(self, bundle: Path, url: str) -> None:
        self._server, bundled = Server(url), read_bundle(bundle)
        tokens = {"tokens": np.zeros(0, np.int32), "best_log_probs": np.zeros(0, np.float32)}
        window = {"audio": np.zeros((1, bundled.window_samples), np.float32), "valid": np.zeros(1, np.int32)}
        self._requests: dict[str, dict[str, np.ndarray]] = {decoder_model(bundle): tokens, step_model(bundle): window}

    @property
    def free(self) -> int:
        free = 0
        for model, inputs in self._requests.items():
            given = [self._server.input(name, value) for name, value in inputs.items()]
            try:
                self._server.client.infer(
                    model, given, sequence_id=7, sequence_start=True, sequence_end=True, timeout=50_000
                )
                free += 1
            except self._server.error as error:
                if not self._server.is_full(error):
                    raise
        return free


@pytest.fixture
def slots(bundle: Path, served: Triton) -> Slots:
    return Slots(bundle, served.url)


def test_the_client_recognises_what_the_runtime_does(
    bundle: Path, remote: TritonRecognizer, sample: list[tuple[str, np.ndarray]]
) -> None:
    with Recognizer(bundle, backend="onnxruntime-cpu", precision="fp32", lm=None) as recognizer:
        streams = recognizer.stream(early="off"), remote.stream()
        for _, samples in sample[:2]:
            ours, theirs = ([*each.push(samples), each.end_utterance()] for each in streams)
            assert theirs == ours
            assert ours[-1].text
        streams[1].push(samples)
        streams[1].reset()
        theirs = [event.at(0.0) for event in (*streams[1].push(samples), streams[1].end_utterance())]
        assert theirs == [event.at(0.0) for event in ours], "a reset utterance leaves nothing to the next"


def test_an_utterance_of_any_length_gives_the_slots_back(
    bundle: Path, slots: Slots, remote: TritonRecognizer, sample: list[tuple[str, np.ndarray]]
) -> None:
    read = read_bundle(bundle)
    first, chunk, hop = read.first_step_samples, read.chunk_samples, read.hop_samples
    # What is owed changes at whole hops and at whole chunks after the first step: either side of each.
    edges = [hop, first - hop, first, first + hop, first + chunk - hop, first + chunk]
    stream, speech, unflushed = remote.stream(), sample[0][1], 0
    lengths = sorted({each + side for each in edges for side in (-1, 0, 1)} | {1481, 14290})
    for length in lengths:
        stream.push(speech[:length])
        steps = 0 if length < first else 1 + (length - first) // chunk
        unflushed += read.encoder_frames(length) <= steps * read.chunk_frames
        stream.end_utterance()
        assert slots.free == 2, length
    assert 0 < unflushed < len(lengths)


@pytest.mark.parametrize("over", ["reset", "close", "recogniser closed", "dropped"])
def test_an_utterance_cut_off_gives_the_slots_back(
    slots: Slots, remote: TritonRecognizer, speech: np.ndarray, over: str
) -> None:
    stream = remote.stream()
    stream.push(speech[:8000])
    assert slots.free == 0
    if over == "reset":
        stream.reset()
    elif over == "close":
        stream.close()
    elif over == "dropped":
        del stream
        stream = remote.stream()
    else:
        remote.close()
    assert slots.free == 2


def test_one_at_a_time(
    bundle: Path, served: Triton, slots: Slots, remote: TritonRecognizer, speech: np.ndarray
) -> None:
    holder = remote.stream()
    holder.push(speech[:8000])
    with pytest.raises(InputError, match="expected one stream at a time, found one that is open; close it"):
        remote.stream()
    with TritonRecognizer(bundle, served.url) as other:
        waiting, began_s = other.stream(), time.monotonic()
        with pytest.raises(InputError, match=r"^expected a free place for .*_step at .*, found all in use; .*$"):
            waiting.push(speech[:8000])
        assert time.monotonic() - began_s < IDLE / 2
        assert slots.free == 0
        holder.close()
        waiting.push(speech[:8000])  # the same correlation id
        time.sleep(0.7 * IDLE)
        assert waiting.end_utterance().audio_s == 0.5


def test_a_conversation_wants_another_model(bundle: Path, served: Triton) -> None:
    with pytest.raises(
        InputError, match=r"^expected .*_decoder at .* to be of `make triton`, found a model without idle_s"
    ):
        Conversation(served.url, decoder_model(bundle))


def test_the_pool_holds_the_state(bundle: Path) -> None:
    step = read_bundle(bundle).step("fp16")
    assert pool_bytes(step) == POOL_MB << 20
    large = step.of_streams(1000)
    held = sum(np.prod(large.input(name).shape) * np.dtype(large.input(name).dtype).itemsize for name in STATE)
    assert held > POOL_MB << 20
    assert pool_bytes(large) >= 3 * held


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
        write_plan_repository(planned, "fp16", out)
        assert (out / "some_step/1/model.plan").read_bytes() == b"plan"
        assert parsed((out / "some_step/config.pbtxt").read_text()).name == "some_step"
        assert parsed((out / "some_decoder/config.pbtxt").read_text()).name == "some_decoder"


def test_a_changed_plan_is_refused(planned: Path, tmp_path: Path) -> None:
    plan_path(planned, "fp16").write_bytes(b"other")
    with pytest.raises(InputError, match="truncated or changed"):
        write_plan_repository(planned, "fp16", tmp_path / "out")


@pytest.mark.parametrize(
    "also", [["mine.txt"], ["README.md"], ["other_step", "other_decoder", "some_step", "some_decoder"]]
)
def test_a_folder_of_something_else_is_left_alone(planned: Path, tmp_path: Path, also: list[str]) -> None:
    out = tmp_path / "out"
    for name in also:
        (out / name).mkdir(parents=True)
        (out / name / "config.pbtxt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="something else"):
        write_plan_repository(planned, "fp16", out)
    assert {each.name: (each / "config.pbtxt").read_text(encoding="utf-8") for each in out.iterdir()} == dict.fromkeys(
        also, "mine"
    )
