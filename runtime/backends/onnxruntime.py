"""The step in onnxruntime: the functional reference on a CPU, a peer to measure against on a GPU."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.backends.base import StepResult
from runtime.bundle import STATE, Bundle, step_file
from runtime.errors import InputError

PROVIDERS = {"onnxruntime-cpu": "CPUExecutionProvider", "onnxruntime-cuda": "CUDAExecutionProvider"}

State = dict[str, npt.NDArray[np.generic]]


class OnnxRuntimeBackend:
    """Runs step.PRECISION.onnx with one execution provider; the state is a dict of host arrays."""

    def __init__(self, folder: Path, bundle: Bundle, precision: str, name: str) -> None:
        import onnxruntime

        path, self._step = step_file(folder, bundle, precision)
        provider = PROVIDERS[name]
        if provider not in onnxruntime.get_available_providers():
            raise InputError(
                f"expected onnxruntime with {provider}, found {', '.join(onnxruntime.get_available_providers())}; "
                f"run `make setup` on a machine with an NVIDIA GPU, or choose another backend"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle between chunks, not burning a core
        self.name = name
        self._session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        if self._session.get_providers()[0] != provider:
            raise InputError(
                f"expected {provider} to start, found onnxruntime fell back to {self._session.get_providers()[0]}; "
                f"check the driver and CUDA libraries"
            )
        self._outputs = ["tokens", "log_probs", "encoded", *(f"next_{name}" for name in STATE)]

    def new_state(self) -> State:
        """Zeros."""
        return {name: self._step.input(name).zeros() for name in STATE}

    def step(self, window: npt.NDArray[np.float32], valid: int, state: State) -> StepResult:
        """See Backend.step."""
        feeds = {"audio": window[None], "valid": np.array([valid], np.int32), **state}
        tokens, log_probs, encoded, *following = self._session.run(self._outputs, feeds)
        return StepResult(tokens[0], log_probs[0], encoded[0], dict(zip(STATE, following, strict=True)))

    def close(self) -> None:
        """The session is freed with the object."""
