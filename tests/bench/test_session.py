"""What the benches that recognise speech are told: the precision that is measured where none is asked for, and where it is said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import __main__ as command_line
from bench import session as options
from bench.session import SpeechOptions


@pytest.mark.parametrize(
    ("words", "widest", "expected"),
    [
        ("--backend tensorrt", "fp32", "fp16"),
        ("--backend tensorrt --precision fp32", "fp32", "fp32"),
        ("--backend onnxruntime-cuda", "fp32", "fp32"),
        ("--backend onnxruntime-cpu", "fp32", "fp32"),
        ("--backend onnxruntime-cpu", "fp16", "fp16"),  # FP32 weights of more than ONNX's 2 GB
        ("--backend onnxruntime-cpu --precision fp16", "fp32", "fp16"),
        ("", "fp32", "fp16"),  # on a machine with a GPU
    ],
)
@pytest.mark.parametrize(
    ("command", "function"), [("run", "run_bench"), ("endpoint", "run_endpoint"), ("streams", "run_streams")]
)
def test_precision_is_the_backend_s_usual(  # noqa: PLR0917
    command: str, function: str, words: str, widest: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(command_line, function, lambda *of: given.extend(of))
    monkeypatch.setattr(options, "default_backend", lambda: "tensorrt")
    monkeypatch.setattr(options, "read_bundle", lambda _: SimpleNamespace(widest=widest))
    monkeypatch.setattr(options, "TimedRecognizer", lambda _, **choices: choices)
    argv = [command, "--bundle", "b", *words.split()]
    command_line.run(command_line.parse_args(argv), argv)
    asked: SpeechOptions = given[0]
    opened: Any = asked.opened()
    bundle = SimpleNamespace(checkpoint=SimpleNamespace(name="m"), lookahead_ms=80)
    recognizer: Any = SimpleNamespace(bundle=bundle, decoder="ctc", ngram=None)
    backend = opened["backend"]
    assert opened["precision"] == asked.chosen_precision == expected
    assert asked.result_path(recognizer, Path("data/sample")).name == f"m-80ms-{expected}-{backend}-sample-en.json"
