"""A form of a bundle's step in onnxruntime that keeps tensors of it, of the frames that the audio has: who counts and who compares."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from export.placement import expose
from runtime.backends import ALL_VALID, Backend, StepResult
from runtime.backends.onnxruntime import State, open_session, prompted
from runtime.bundle import Bundle
from runtime.entries import STATE

Floats = npt.NDArray[np.floating]
Samples = npt.NDArray[np.float32]


class ExposedStep(Backend):
    """A Backend that keeps results of the step, or tensors within it."""

    def __init__(
        self,
        model: onnx.ModelProto,
        bundle: Bundle,
        kept: Sequence[str],
        name: str = "onnxruntime-cpu",
        threads: int = 0,
    ) -> None:
        """`kept`: tensors [T, features], or the other way round; `name`, `threads` (0: one per core): see open_session."""
        self.name = name
        self.kept: dict[str, list[Floats]] = {tensor: [] for tensor in kept}
        """By step; fewer than T frames at an utterance's end."""
        self.steps = 0
        self._bundle = bundle
        self._step = bundle.step(bundle.widest)
        own = [*self._step.results, *(f"next_{name}" for name in STATE)]
        self._outputs = [*own, *(tensor for tensor in kept if tensor not in own)]
        outputs = len(model.graph.output)
        expose(model, self._outputs[len(own) :])
        self._session = open_session(model.SerializeToString(), name, threads)
        del model.graph.output[outputs:]

    def new_state(self) -> State:
        """Zeros."""
        return self._step.new_state()

    def prompted(self, state: State, prompt: int) -> State:
        """See Backend.prompted."""
        return prompted(state, prompt)

    def step(self, window: Samples, valid: int, state: State) -> StepResult:
        """See Backend.step. Frames after the end of the audio are not kept, but for one: nothing comes of them."""
        bundle, feeds = self._bundle, {"audio": window[None], "valid": np.array([valid], np.int32), **state}
        made = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        frames = bundle.chunk_frames
        if valid != ALL_VALID:
            frames = min(frames, max(1, bundle.encoder_frames(valid * bundle.hop_samples)))
        for name, parts in self.kept.items():
            values = np.take(made[name], range(frames), made[name].shape.index(bundle.chunk_frames))
            parts.append(values.reshape(-1, values.shape[-1]))
        self.steps += 1
        following = state | {name: made[f"next_{name}"] for name in STATE}
        # No symbol of RNN-T: nothing is decoded where there is no CTC head.
        none = (bundle.chunk_frames, 0)
        return StepResult(
            **{name: made[name][0] for name in self._step.results},
            state=following,
            symbols=np.zeros(none, np.int32),
            symbol_log_probs=np.zeros(none, np.float32),
        )

    def close(self) -> None:
        """The session is freed with the object."""
