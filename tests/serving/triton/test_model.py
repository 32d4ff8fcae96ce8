"""The model in Triton's Python backend, without Triton: requests that are answered together do not share their failures."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from runtime.errors import InputError


class Tensor(NamedTuple):
    name: str
    value: np.ndarray


class TritonError(NamedTuple):
    message: str
    code: str


CODES = {"INVALID_ARG": "invalid argument", "UNAVAILABLE": "unavailable", "INTERNAL": "internal"}


class Response(NamedTuple):
    tensors: tuple[Tensor, ...] = ()
    error: TritonError | None = None


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name, code in CODES.items():
        monkeypatch.setattr(TritonError, name, code, raising=False)
    backend = SimpleNamespace(Tensor=Tensor, TritonError=TritonError, InferenceResponse=Response)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    made = object.__new__(import_module("serving.triton.model").TritonPythonModel)
    with ThreadPoolExecutor(3) as made._pool:
        yield made
    del sys.modules["serving.triton.model"]


def test_a_failure_is_of_one_request(
    model: Any,  # noqa: ANN401 -- its module imports Triton's
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hear(request: Exception | None) -> list[Any]:
        if request:
            raise request
        return []

    monkeypatch.setattr(model, "_hear", hear)
    answers = model.execute([None, RecursionError("too deep"), InputError("expected this"), None])
    assert [answer.error for answer in answers] == [
        None,
        ("an error of the server, please report it: RecursionError('too deep')", "internal"),
        ("expected this", "invalid argument"),
        None,
    ]
    assert [answer.tensors[0].value.item() for answer in (answers[0], answers[-1])] == [b"[]", b"[]"]
