"""Stands in for the plan, where no GPU is: the step in ONNX Runtime, its state kept here. `root` is a checkout, `bundle` a bundle."""

import json
import sys
from typing import Any

import triton_python_backend_utils as pb_utils

START, END = 1, 2  # flags


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        given = {key: each["string_value"] for key, each in json.loads(args["model_config"])["parameters"].items()}
        sys.path.append(given["root"])
        from pathlib import Path

        from runtime.backends import open_backend
        from runtime.bundle import read_bundle

        folder = Path(given["bundle"])
        self._backend = open_backend(folder, read_bundle(folder), "onnxruntime-cpu", "fp32")
        self._state: Any = None

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._step(request) for request in requests]

    def _step(self, request: Any) -> Any:  # noqa: ANN401
        window, valid = (pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("audio", "valid"))
        if request.flags() & START:
            self._state = self._backend.new_state()
        result = self._backend.step(window[0], int(valid[0]), self._state)
        self._state = None if request.flags() & END else result.state
        outputs = [pb_utils.Tensor(name, getattr(result, name)[None]) for name in request.requested_output_names()]
        return pb_utils.InferenceResponse(outputs)
