"""The widest step of a bundle, or another form of it, in onnxruntime: tensors within are outputs too, of the frames that the audio has."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from export.placement import expose
from runtime.backends import Backend, StepResult
from runtime.backends.onnxruntime import State, open_session
from runtime.bundle import Bundle
from runtime.entries import STATE
from runtime.recognizer import ALL_VALID

Floats = npt.NDArray[np.floating]
Samples = npt.NDArray[np.float32]


class ExposedStep(Backend):
    """All of a Backend but `step`: what that keeps of the tensors is the subclass's."""

    def __init__(self, model: onnx.ModelProto, bundle: Bundle, shown: Sequence[str], name: str, threads: int) -> None:
        """`model` is given outputs, in place; `shown`: results of the step or tensors within; `name`, `threads`: see open_session."""
        self.name = name
        self._bundle = bundle
        self._step = bundle.step(bundle.widest)
        self._shown = shown
        self._results = self._step.results
        within = [tensor for tensor in shown if tensor not in self._results]
        expose(model, within)
        self._session = open_session(model.SerializeToString(), name, threads)
        self._outputs = [*self._results, *(f"next_{name}" for name in STATE), *within]

    def new_state(self) -> State:
        """Zeros."""
        return self._step.new_state()

    def run(self, window: Samples, valid: int, state: State) -> tuple[StepResult, dict[str, Floats]]:
        """See Backend.step; and what is shown, its frames after the end of the audio left out: nothing comes of them."""
        feeds = {"audio": window[None], "valid": np.array([valid], np.int32), **state}
        made = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        following = {name: made[f"next_{name}"] for name in STATE}
        # No symbol of RNN-T: nothing is decoded where there is no CTC head.
        symbols = np.zeros((self._bundle.chunk_frames, 0), np.int32)
        results = {name: made[name][0] for name in self._results}
        shown = {name: self._of_audio(made[name], valid) for name in self._shown}
        return StepResult(**results, state=following, symbols=symbols), shown

    def close(self) -> None:
        """The session is freed with the object."""

    def _of_audio(self, values: Floats, valid: int) -> Floats:
        """Of [T, features], or the other way round, the frames that an utterance of `valid` more mel frames has, and one in any case."""
        frames = self._bundle.chunk_frames
        axis = values.shape.index(frames)
        if valid != ALL_VALID:
            frames = min(frames, max(1, self._bundle.encoder_frames(valid * self._bundle.hop_samples)))
        return np.take(values, range(frames), axis)
