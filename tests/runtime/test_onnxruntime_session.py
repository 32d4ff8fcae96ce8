"""How onnxruntime is opened: on a GPU, which is not there, its CUDA libraries first, FP32 in full, and no silent fallback to the CPU."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from runtime.backends import open_backend
from runtime.backends.onnxruntime import PROVIDERS, open_graph, open_session
from runtime.bundle import read_bundle
from runtime.errors import InputError

CUDA, CPU = PROVIDERS["onnxruntime-cuda"], PROVIDERS["onnxruntime-cpu"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of an onnxruntime built for CUDA, in order; its sessions get the provider that they ask for."""
    calls: list[Any] = []

    class Session:
        def __init__(self, _model: str, _options: object, providers: list[tuple[str, dict[str, str]]]) -> None:
            calls.append(providers)
            self.get_providers = lambda: [providers[0][0], CPU]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: calls.append("preload"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return calls


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("onnxruntime-cuda", ["preload", [(CUDA, {"use_tf32": "0"})]]),
        ("onnxruntime-cpu", [[(CPU, {})]]),
    ],
)
def test_what_a_session_asks_for(calls: list[Any], name: str, expected: list[Any]) -> None:
    open_session("model.onnx", name)
    assert calls == expected


def test_a_provider_that_does_not_start(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda model, options, **_: session(model, options, [(CPU, {})])
    )
    with pytest.raises(InputError, match=f"expected {CUDA} to start, found onnxruntime fell back to {CPU}"):
        open_session("model.onnx", "onnxruntime-cuda")
    assert calls[0] == "preload"


def test_an_onnxruntime_without_cuda(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(InputError, match=f"expected onnxruntime with {CUDA}, found {CPU}"):
        open_session("model.onnx", "onnxruntime-cuda")
    assert calls == []


def test_a_graph_with_other_tensors_than_its_manifest_s(bundle: Path) -> None:
    step = read_bundle(bundle).step("fp32")
    cut = [spec if spec.name != "audio" else spec.model_copy(update={"shape": [1, 8]}) for spec in step.inputs]
    path = bundle / step.file
    open_graph(path, step, "onnxruntime-cpu")
    with pytest.raises(InputError, match=r"with audio \('float32', \[1, 8\]\), found .*; make the bundle again"):
        open_graph(path, step.model_copy(update={"inputs": cut}), "onnxruntime-cpu")


@pytest.mark.parametrize(
    ("version", "refused"),
    [("1.23.2", True), ("1.29.1", True), ("1.30.0", False), ("1.31rc1", False), ("2.0.0", False)],
)
def test_int8_needs_an_onnxruntime_that_rounds(
    version: str, refused: bool, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_bundle(bundle)
    found = found.model_copy(update={"steps": {**found.steps, "int8": found.step("fp16")}})
    monkeypatch.setattr(onnxruntime, "__version__", version)
    open_backend(bundle, found, "onnxruntime-cpu", "fp16")
    message = f"expected onnxruntime 1.30 or later for INT8, found {version}, which rounds its FP16 inputs towards zero"
    with pytest.raises(InputError, match=re.escape(message)) if refused else nullcontext():
        open_backend(bundle, found, "onnxruntime-cpu", "int8")
