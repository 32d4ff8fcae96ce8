"""The toy bundle with a plan, and the fake GPU in the place of a real one."""

from pathlib import Path

import pytest

from runtime import Recognizer
from runtime.bundle import Bundle, write_manifest
from runtime.stamp import plan_path
from tests.runtime.fake_tensorrt import INPUTS, SHAPES, WINDOW
from tests.runtime.many import Rows
from tests.runtime.rig import Host, Rig, write_stamp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of the toy step with a plan and its stamp."""
    specs = [{"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape) in SHAPES.items()]
    step = {"file": "step.fp32.onnx", "sha256": "0" * 64, "parameters": 1, "bytes": 4}
    step |= {"inputs": specs[: len(INPUTS)], "outputs": specs[len(INPUTS) :]}
    bundle = {
        "exporter": "0" * 64,
        "checkpoint": {"name": "toy", "sha256": "0" * 64, "weights": "random"},
        "lookahead_ms": 0,
        "sample_rate": 1000,
        "hop_samples": 5,
        "encoder_frame_ms": 10,
        "subsampling_stages": 1,
        "chunk_frames": 2,
        "chunk_samples": 20,
        "window_samples": WINDOW,
        "first_step_samples": 15,
        "preemphasis": 0.97,
        "vocabulary": ["a", "b", "c"],
        "blank": 3,
        "decoders": ["ctc"],
        "tokenizer": None,
        "steps": {"fp32": step},
        "parity": {},
    }
    folder = tmp_path / "bundles" / "toy"
    folder.mkdir(parents=True)
    write_manifest(folder, Bundle.model_validate(bundle))
    plan = plan_path(folder, "fp32")
    plan.parent.mkdir()
    plan.write_bytes(b"a plan")
    write_stamp(folder)
    return folder


@pytest.fixture
def rig(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.delenv("CUDA_GRAPH", raising=False)
    return Rig(folder, monkeypatch)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def together(rig: Rig, rows: Rows) -> Recognizer:
    """Runs the steps of its streams together."""
    return Recognizer(rig.folder, backend=rows)


@pytest.fixture
def apart(rig: Rig) -> Recognizer:
    """Runs each stream's steps apart."""
    return Recognizer(rig.folder, backend=Host())
