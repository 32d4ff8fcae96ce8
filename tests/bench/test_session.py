"""What the benches that recognise speech are told: the precision that is measured where none is asked for, and where it is said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench import session
from bench.__main__ import parse_args
from bench.speech.speech_session import SpeechData, SpeechSession
from runtime.errors import InputError


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
@pytest.mark.parametrize("command", ["run", "endpoint", "streams"])
def test_precision_is_the_backend_s_usual(
    command: str, words: str, widest: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "default_backend", lambda: "tensorrt")
    monkeypatch.setattr(session, "read_bundle", lambda _: SimpleNamespace(widest=widest))
    monkeypatch.setattr(session, "TimedRecognizer", lambda _, **choices: choices)
    name, asked = parse_args([command, "--bundle", "b", *words.split()])
    opened: Any = asked.opened()
    bundle = SimpleNamespace(checkpoint=SimpleNamespace(name="m"), lookahead_ms=80)
    recognizer: Any = SimpleNamespace(bundle=bundle, decoder="ctc", ngram=None)
    assert name == command
    assert opened["precision"] == asked.chosen_precision == expected
    data = SpeechData(Path("data/sample"), [], [], [])
    path = SpeechSession(asked, data, recognizer, Console()).path()
    assert path == Path("build/results") / f"m-80ms-{expected}-{opened['backend']}-sample-en.json"


@pytest.mark.parametrize("command", ["run", "endpoint", "hotwords", "words", "streams"])
def test_speech_of_another_language_is_not_given_to_a_checkpoint(command: str, bundle: Path) -> None:
    words = [command, "--bundle", str(bundle), "--backend", "onnxruntime-cpu", "--lang", "de"]
    options: Any = parse_args(words)[1]
    with pytest.raises(
        InputError, match="expected en, the one language of streaming_fastconformer_ctc_en_small, found de"
    ):
        options.opened()
