"""What every engine that runs the streaming step offers."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from ..errors import CudaError, InputError

ALL_VALID = 1 << 30
"""Mel frames: the end of the audio is not known yet."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One step's outputs, valid until the next step or peek with the same state."""

    tokens: npt.NDArray[np.int32] | None = None
    """Best token per frame [T]; None without a CTC head, and so is `log_probs`."""
    log_probs: npt.NDArray[np.float32] | None = None
    """[T, V+1]."""
    encoded: npt.NDArray[np.float32]
    """[T, D]."""
    state: Any
    """The next step's, after a peek the one that was given; its kind is the backend's own (arrays on the host, buffers on the device)."""
    symbols: npt.NDArray[np.int32] | None = None
    """Tokens of greedy RNN-T by frame [T, S], blanks after each frame's; None from a backend that was opened for CTC."""
    symbol_log_probs: npt.NDArray[np.float32] | None = None
    """Natural log-probability of each of `symbols` among the joint's classes [T, S], 0 where there is none; None where `symbols` is."""


class Step(NamedTuple):
    """A step of one stream that is to be run."""

    window: npt.NDArray[np.float32]
    """[window_samples]."""
    valid: int
    """Mel frames from the chunk's start to the end of the audio."""
    state: Any
    peek: bool = False
    """Whether its state is not taken over, see Backend.peek."""


@dataclass
class Launches:
    """How a backend launches its steps on a GPU, as far as it knows by now; None where it launches none."""

    cuda_graph: bool | None = None
    """Whether a step is one graph launch; False from a failed capture on."""
    kernels_per_step: int | None = None
    """Kernels of one step, counted in the captured graph; None without one."""
    further_turns: int | None = None
    """Launches of two more evaluations of RNN-T after a step, where those in it were too few; over all streams."""

    def capture(self, record: Callable[[], int]) -> None:
        """Record steps in graphs, unless they are not wanted or failed before; `record` returns the kernels of a step.

        After its CudaError, which is printed in one line, there are none.
        """
        if not self.cuda_graph:
            return
        try:
            self.kernels_per_step = record()
        except CudaError as error:
            self.cuda_graph = False
            print(
                f"warning: no CUDA graph, each kernel is launched on its own, which is slower: {error}", file=sys.stderr
            )


class Backend(Protocol):
    """State in, state out: `step` changes nothing but the state it is given."""

    name: str
    """As result files name it: onnxruntime-cpu, onnxruntime-cuda, tensorrt."""
    launches: Launches = Launches()
    """One object for all that launch nothing; a backend that launches has its own."""
    can_peek: bool = False
    """Whether `peek` is there; it is not where a server keeps the state and takes every step over."""
    most_streams: int | None = None
    """States that there may be at once, whose steps run best together, from one thread; None: each runs apart, on the caller's thread."""

    def new_state(self) -> Any:  # noqa: ANN401 -- opaque by design
        """The state at an utterance's start."""

    def restart(self, state: Any) -> Any:  # noqa: ANN401, ARG002
        """The state at an utterance's start in the place of one that is not used again."""
        return self.new_state()

    def give_back(self, state: Any) -> None:  # noqa: ANN401
        """Free a state's place now, where it has one, and not only once nothing holds the state; it is not used again."""
        del state  # what it holds goes with it

    def prompted(self, state: Any, prompt: int) -> Any:  # noqa: ANN401, ARG002
        """The state, whose steps take this number as their prompt from now on; it is 0 at an utterance's start.

        Raises InputError for a backend whose steps take none.
        """
        raise InputError(
            f"expected a backend that can tell a step the language, found {self.name}; choose another, or a checkpoint of one language"
        )

    def step(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """Run one step over `window` FP32 [window_samples]; `valid`: mel frames from the chunk's start to the end of the audio."""

    def peek(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401, ARG002
        """Run a step as `step` does without taking its state over: `state` is as before, to be stepped or peeked next.

        Raises InputError where `can_peek` is False.
        """
        raise InputError(
            f"expected a backend that can run a step without taking its state over, found {self.name}; leave early partials off"
        )

    def run(self, steps: Sequence[Step]) -> list[StepResult]:
        """Run steps of different states; what each gives is valid until the next run."""
        return [(self.peek if step.peek else self.step)(step.window, step.valid, step.state) for step in steps]

    def close(self) -> None:
        """Free everything; safe to call twice."""


class Wrapped(Backend):
    """Another backend, one of whose methods a subclass makes its own."""

    def __init__(self, backend: Backend) -> None:
        self.wrapped = backend
        self.name, self.launches = backend.name, backend.launches
        self.can_peek, self.most_streams = backend.can_peek, backend.most_streams

    def new_state(self) -> Any:  # noqa: ANN401 -- the backend's own
        """See Backend."""
        return self.wrapped.new_state()

    def restart(self, state: Any) -> Any:  # noqa: ANN401
        """See Backend."""
        return self.wrapped.restart(state)

    def give_back(self, state: Any) -> None:  # noqa: ANN401
        """See Backend."""
        self.wrapped.give_back(state)

    def prompted(self, state: Any, prompt: int) -> Any:  # noqa: ANN401
        """See Backend."""
        return self.wrapped.prompted(state, prompt)

    def step(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend."""
        return self.wrapped.step(window, valid, state)

    def peek(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend."""
        return self.wrapped.peek(window, valid, state)

    def run(self, steps: Sequence[Step]) -> list[StepResult]:
        """See Backend."""
        return self.wrapped.run(steps) if self.most_streams else super().run(steps)

    def close(self) -> None:
        """See Backend."""
        self.wrapped.close()


class Emitted(TypedDict):
    """Those fields of StepResult that RNN-T fills."""

    symbols: npt.NDArray[np.int32]
    symbol_log_probs: npt.NDArray[np.float32]


def emitted(chunk: Mapping[str, npt.NDArray[Any]], blank: int) -> Emitted:
    """Return StepResult's fields from an evaluation's chunk state: of symbols [1, T, S], each token + 1, and scores [1, T, S]."""
    symbols = chunk["symbols"][0]
    return {"symbols": np.where(symbols == 0, np.int32(blank), symbols - 1), "symbol_log_probs": chunk["scores"][0]}
