"""The step in onnxruntime: the functional reference on a CPU, a peer to measure against on a GPU."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle import Bundle, Decoding, checked_file, step_file
from ..entries import CHUNK_STATE, PROMPT, RNNT_STATE, STATE, GraphEntry
from ..errors import InputError, install
from ..processes import keep_in_forks
from .base import Backend, Emitted, StepResult, emitted

PROVIDERS = {"onnxruntime-cpu": "CPUExecutionProvider", "onnxruntime-cuda": "CUDAExecutionProvider"}
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32"}  # onnxruntime's names

ROUNDS_SINCE = (1, 30)
"""The first version whose QuantizeLinear of FP16 rounds to the nearest on a CPU; earlier ones round towards zero (its issue 18576)."""

# Read once it is imported, here or by NeMo: from 1.31 on it would leave an identifier in the user's home and send its maker what it does.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

State = dict[str, npt.NDArray[np.generic]]


def prompted(state: State, prompt: int) -> State:
    """A state of one stream whose steps take this prompt."""
    return state | {PROMPT: np.array([prompt], np.int32)}


def open_session(model: str | bytes, name: str, threads: int = 0) -> Any:  # noqa: ANN401 -- onnxruntime's
    """A session of the model (its path or its bytes) on the backend of that name, on so many threads of the CPU (0: one per core).

    Raises InputError where the backend's provider does not start.
    """
    import onnxruntime

    provider = PROVIDERS[name]
    if provider not in onnxruntime.get_available_providers():
        raise InputError(
            f"expected onnxruntime with {provider}, found {', '.join(onnxruntime.get_available_providers())}; "
            f"{install('gpu')}, or choose another backend"
        )
    settings = {}
    if name == "onnxruntime-cuda":
        onnxruntime.preload_dlls()  # CUDA and cuDNN as pip installs them, where the loader does not look
        settings["use_tf32"] = "0"  # FP32 means FP32, as in the plans
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle between chunks, not burning a core
    # Q/DQ as written, weights folded: the arithmetic of INT8 is shown, and its kernels for a CPU, tens of times slower here, are not used.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model, options, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:
        raise InputError(
            f"expected {provider} to start, found onnxruntime fell back to {session.get_providers()[0]}; "
            f"check the driver and CUDA libraries"
        )
    keep_in_forks(session)
    return session


def open_graph(path: Path, entry: GraphEntry, name: str) -> Any:  # noqa: ANN401 -- onnxruntime's
    """A session of a bundle's graph. Raises InputError as `open_session` does, and where its tensors are not those of the manifest."""
    session = open_session(str(path), name)
    ends = (*session.get_inputs(), *session.get_outputs())
    # As manifests have it: 1 where the number of streams is open.
    shapes = [[1 if isinstance(axis, str) else axis for axis in end.shape] for end in ends]
    loaded = {end.name: (DTYPES.get(end.type, end.type), shape) for end, shape in zip(ends, shapes, strict=True)}
    entry.check_tensors(loaded, f"the graph {path}", "make the bundle again with `make export`")
    return session


def check_rounding() -> None:
    """Raise InputError for an onnxruntime that computes INT8 wrongly on a CPU."""
    import onnxruntime

    found = onnxruntime.__version__
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < ROUNDS_SINCE:  # 1.31.0rc1 too
        raise InputError(
            f"expected onnxruntime {'.'.join(map(str, ROUNDS_SINCE))} or later for INT8, found {found}, which rounds its FP16 inputs "
            f"towards zero; {install('cpu')} with Python 3.11 or later, or use --precision fp16"
        )


class RnntSession:
    """RNN-T greedy decoding of chunks of encoded frames, one run of rnnt.PRECISION.onnx a symbol."""

    def __init__(self, folder: Path, bundle: Bundle, precision: str, name: str) -> None:
        """Raises InputError for a bundle that is not whole, or has no transducer."""
        _, self._entry = bundle.graph(precision, "rnnt")
        self._session = open_graph(checked_file(folder, self._entry), self._entry, name)
        self._frames, self._blank = bundle.chunk_frames, bundle.blank

    def new_state(self) -> State:
        """Zeros."""
        return self._entry.new_state()

    def decode(self, encoded: npt.NDArray[np.float32], state: State) -> tuple[Emitted, State]:
        """What a chunk of encoded frames [T, D] emits, and the next chunk's state."""
        state = state | {name: self._entry.input(name).zeros() for name in CHUNK_STATE}
        while state["frame"][0] < self._frames:
            feeds = {"encoded": encoded[None], **{name: state[name] for name in RNNT_STATE}}
            made = self._session.run([f"next_{name}" for name in RNNT_STATE], feeds)
            state |= zip(RNNT_STATE, made, strict=True)
        return emitted(state, self._blank), state


class OnnxRuntimeBackend(Backend):
    """Runs step.PRECISION.onnx with one execution provider, and the evaluations of RNN-T; the state is a dict of host arrays."""

    can_peek = True

    def __init__(self, folder: Path, bundle: Bundle, precision: str, name: str, decoder: Decoding = "ctc") -> None:
        """Raises InputError for a bundle that is not whole, or lacks the precision or the decoder, and where onnxruntime is too old."""
        path, self._step = step_file(folder, bundle, precision)
        if precision == "int8" and name == "onnxruntime-cpu":
            check_rounding()
        self.name = name
        self._session = open_graph(path, self._step, name)
        self._results = self._step.results
        self._outputs = [*self._results, *(f"next_{name}" for name in STATE)]
        self._evaluations = RnntSession(folder, bundle, precision, name) if decoder == "rnnt" else None

    def new_state(self) -> State:
        """Zeros."""
        return self._step.new_state() | (self._evaluations.new_state() if self._evaluations else {})

    def prompted(self, state: State, prompt: int) -> State:
        """See Backend.prompted."""
        return prompted(state, prompt)

    def step(self, window: npt.NDArray[np.float32], valid: int, state: State) -> StepResult:
        """See Backend.step."""
        kept = {name: state[name] for name in self._step.kept}
        feeds = {"audio": window[None], "valid": np.array([valid], np.int32), **kept}
        made = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        results = {name: made[name][0] for name in self._results}
        state = state | {name: made[f"next_{name}"] for name in STATE}
        if self._evaluations is None:
            return StepResult(**results, state=state)
        decoded, state = self._evaluations.decode(results["encoded"], state)
        return StepResult(**results, **decoded, state=state)

    def peek(self, window: npt.NDArray[np.float32], valid: int, state: State) -> StepResult:
        """See Backend.peek; a step changes nothing of its state."""
        return replace(self.step(window, valid, state), state=state)

    def close(self) -> None:
        """The sessions are freed with the object."""
