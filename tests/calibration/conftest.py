"""A toy bundle whose step is exact in FP32, and calibration sets made of noise."""

import json
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from export.placement import QUANTISED
from runtime.bundle import Bundle, write_manifest
from runtime.files import sha256

LAYERS, FRAMES, WIDTH, WINDOW = 2, 2, 4, 2560  # frames and samples per step
STATE = {"length": (TensorProto.INT32, [1]), "kv_cache": (TensorProto.FLOAT, [1, WIDTH])}
STATE["time_cache"] = STATE["kv_cache"]


def toy_weights() -> dict[str, np.ndarray]:
    """Whole numbers that keep magnitudes as they are, so that FP32 rounds nothing: signed permutations and a bias each."""
    rng = np.random.default_rng(5)
    weights = {"front": rng.integers(-1, 2, (WINDOW // FRAMES, WIDTH)).astype(np.float32)}
    for name in (f"layer{layer}/{suffix}" for layer in range(LAYERS) for suffix in QUANTISED):
        matrix = np.diag(rng.choice([-1.0, 1.0], WIDTH))[rng.permutation(WIDTH)]
        weights[f"{name}.weight"] = matrix.astype(np.float32)
        weights[f"{name}.bias"] = rng.integers(-3, 4, WIDTH).astype(np.float32)
    return weights


def toy_model() -> onnx.ModelProto:
    """Audio [1, 2560] and state to the products of two layers."""
    weights = toy_weights() | {"ones": np.ones((1, FRAMES), np.float32), "two": np.array([FRAMES], np.int32)}
    shapes = {"frames": [FRAMES, WINDOW // FRAMES], "batch": [1, FRAMES, WIDTH], "tokens_shape": [1, FRAMES]}
    constants = weights | {name: np.array(shape, np.int64) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Reshape", ["audio", "frames"], ["cut"]),
        helper.make_node("MatMul", ["cut", "front"], ["x"]),
        helper.make_node("MatMul", ["ones", "x"], ["heard"]),
        helper.make_node("Sub", ["heard", "kv_cache"], ["next_kv_cache"]),
        helper.make_node("Add", ["length", "two"], ["next_length"]),
        helper.make_node("Identity", ["time_cache"], ["next_time_cache"]),
        helper.make_node("Add", ["x", "kv_cache"], ["start"]),
    ]
    y = "start"
    for layer in range(LAYERS):
        for suffix in QUANTISED:
            name = f"layer{layer}/{suffix}"
            inputs = [y, f"{name}.weight", f"{name}.bias"]
            nodes.append(helper.make_node("Gemm", inputs, [name], name=name))
            y = name
    nodes += [
        helper.make_node("Reshape", [y, "batch"], ["encoded"]),
        helper.make_node("LogSoftmax", ["encoded"], ["log_probs"], axis=-1),
        helper.make_node("ArgMax", ["encoded"], ["best"], axis=-1, keepdims=0),
        helper.make_node("Cast", ["best"], ["tokens"], to=TensorProto.INT32),
    ]
    made = {"tokens": (TensorProto.INT32, [1, FRAMES]), "log_probs": (TensorProto.FLOAT, [1, FRAMES, WIDTH])}
    made["encoded"] = made["log_probs"]
    given = {"audio": (TensorProto.FLOAT, [1, WINDOW]), "valid": (TensorProto.INT32, [1])} | STATE
    made |= {f"next_{name}": spec for name, spec in STATE.items()}
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, *spec) for name, spec in given.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in made.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name != "tokens_shape"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_toy(folder: Path, model: onnx.ModelProto) -> Path:
    """A bundle of the toy step in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "step.fp32.onnx")
    names = {TensorProto.FLOAT: "float32", TensorProto.INT32: "int32"}
    specs = {
        side: [
            {
                "name": each.name,
                "dtype": names[each.type.tensor_type.elem_type],
                "shape": [dim.dim_value for dim in each.type.tensor_type.shape.dim],
            }
            for each in values
        ]
        for side, values in (("inputs", model.graph.input), ("outputs", model.graph.output))
    }
    step = {"file": "step.fp32.onnx", "sha256": sha256(folder / "step.fp32.onnx"), "parameters": 1, "bytes": 4} | specs
    bundle = {
        "exporter": "0" * 64,
        "checkpoint": {"name": "toy", "sha256": "1" * 64, "weights": "random"},
        "lookahead_ms": 80,
        "sample_rate": 16_000,
        "hop_samples": 160,
        "encoder_frame_ms": 80,
        "subsampling_stages": 3,
        "chunk_frames": FRAMES,
        "chunk_samples": WINDOW,
        "window_samples": WINDOW,
        "first_step_samples": WINDOW,
        "preemphasis": 0.0,  # the flush's window is zero behind the audio
        "vocabulary": ["a", "b", "c"],
        "blank": 3,
        "decoders": ["ctc"],
        "tokenizer": None,
        "steps": {"fp32": step, "fp16": step},  # the INT8 step is made from the latter
        "parity": {},
    }
    write_manifest(folder, Bundle.model_validate(bundle))
    return folder


@pytest.fixture
def model() -> onnx.ModelProto:
    return toy_model()


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return toy_weights()


@pytest.fixture
def toy(tmp_path: Path, model: onnx.ModelProto) -> Path:
    """The toy bundle's folder."""
    return write_toy(tmp_path / "bundles" / "toy", model)


@pytest.fixture
def rewrite() -> Callable[[Path, onnx.ModelProto], Path]:
    """Write another step into a toy bundle."""
    return write_toy


@pytest.fixture
def make_set() -> Callable[..., Path]:
    """Make a data set of noise: `make_set(root / "asr_calib", [{"seconds": 70}, ...])`; each clip's keys are those of `_write`."""
    numbers = count()

    def make(place: Path, clips: list[dict[str, Any]], lang: str = "en", name: str = "noise") -> Path:
        folder = place / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(_write(folder, next(numbers), **clip)) for clip in clips]
        (folder / f"manifest_{lang}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return place

    return make


@lru_cache(8)
def _noise(samples: int, level: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, level, samples)
    return np.clip(noise, -1, 1).astype(np.float32)


def _write(  # noqa: PLR0917
    folder: Path,
    number: int,
    seconds: float = 65.0,
    rate: int = 16_000,
    level: float = 0.1,
    seed: int | None = None,
    **keys: object,
) -> dict[str, Any]:
    """A clip of noise, `level` its standard deviation, clipped at full scale; the same `seed` is the same recording."""
    path = folder / f"{number}.wav"
    soundfile.write(path, _noise(round(seconds * rate), level, number if seed is None else seed), rate, "FLOAT")
    entry = {"audio_filepath": path.name, "text": f"sentence number {number}", "duration": seconds}
    return entry | {"speaker": f"speaker {number}"} | keys
