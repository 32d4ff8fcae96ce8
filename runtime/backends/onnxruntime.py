"""The step in onnxruntime: the functional reference on a CPU, a peer to measure against on a GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.base import StepResult
from runtime.bundle import STATE, Bundle, step_file
from runtime.errors import InputError

PROVIDERS = {"onnxruntime-cpu": "CPUExecutionProvider", "onnxruntime-cuda": "CUDAExecutionProvider"}

State = dict[str, npt.NDArray[np.generic]]


def open_session(model: str | bytes, name: str, threads: int = 0) -> Any:  # noqa: ANN401 -- onnxruntime's
    """A session of the model (its path or its bytes) on the backend of that name, on so many threads of the CPU (0: one per core).

    Raises InputError where the backend's provider does not start.
    """
    import onnxruntime

    provider = PROVIDERS[name]
    if provider not in onnxruntime.get_available_providers():
        raise InputError(
            f"expected onnxruntime with {provider}, found {', '.join(onnxruntime.get_available_providers())}; "
            f"run `make setup` on a machine with an NVIDIA GPU, or choose another backend"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle between chunks, not burning a core
    # Q/DQ as written, weights folded: the arithmetic of INT8 is shown, and its kernels for a CPU, tens of times slower here, are not used.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise InputError(
            f"expected {provider} to start, found onnxruntime fell back to {session.get_providers()[0]}; "
            f"check the driver and CUDA libraries"
        )
    return session


class OnnxRuntimeBackend:
    """Runs step.PRECISION.onnx with one execution provider; the state is a dict of host arrays."""

    def __init__(self, folder: Path, bundle: Bundle, precision: str, name: str) -> None:
        path, self._step = step_file(folder, bundle, precision)
        self.name = name
        self._session = open_session(str(path), name)
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
