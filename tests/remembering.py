"""A step of onnxruntime is computed once, a graph opened once, a file hashed once: what a test, or one before it, did takes no CPU time.

The last steps of all tests of a process are kept, by all that a step's results follow from: its graphs, the windows since the state was
new, and their lengths.
"""

from collections import OrderedDict
from dataclasses import fields, replace
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

from runtime.backends import StepResult
from runtime.backends.onnxruntime import OnnxRuntimeBackend, State, open_session
from runtime.files import sha256 as file_hash

KEPT_BYTES = 600_000_000
"""Most of it caches: 2 MB a step of the embedded checkpoint. Where it is 0 each step is taken, see `every_step_is_taken`."""
SESSIONS = 6
LARGEST_KEPT = 100_000_000
"""Bytes of a graph whose session is kept."""


class KnownState(State):
    """A state, and the hash of all that was streamed since it was new."""

    def __init__(self, state: State, streamed: bytes) -> None:
        super().__init__(state)
        self.streamed = streamed


class Results:
    """Those of the last steps, by the hash of what they follow from; for threads."""

    def __init__(self) -> None:
        self._results: OrderedDict[bytes, StepResult] = OrderedDict()
        self._kept_bytes = 0
        self._lock = Lock()

    def get(self, key: bytes) -> StepResult | None:
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key) if KEPT_BYTES else None

    def keep(self, key: bytes, result: StepResult) -> None:
        for array in _arrays(result):
            array.flags.writeable = False  # it is another test's too
        with self._lock:
            if self._results.setdefault(key, result) is result:
                self._kept_bytes += _size(result)
            while self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= _size(self._results.popitem(last=False)[1])


def remember_steps(patch: pytest.MonkeyPatch) -> None:
    """Let the backends of onnxruntime take no step that one of them took before."""
    step, peek, new_state, results = (
        OnnxRuntimeBackend.step,
        OnnxRuntimeBackend.peek,
        OnnxRuntimeBackend.new_state,
        Results(),
    )

    def remembered(
        self: OnnxRuntimeBackend, window: np.ndarray, valid: int, state: State, what: str = "step"
    ) -> StepResult:
        key = sha256(_streamed(self, state) + f"{what} {valid} ".encode() + window.tobytes()).digest()
        if (result := results.get(key)) is None:
            result = step(self, window, valid, state)
            # A peek's is kept without its state, which nobody asks for.
            result = replace(result, state=KnownState(result.state, key) if what == "step" else {})
            results.keep(key, result)
        return result

    def peeked(self: OnnxRuntimeBackend, window: np.ndarray, valid: int, state: State) -> StepResult:
        if not KEPT_BYTES:
            return peek(self, window, valid, state)
        return replace(remembered(self, window, valid, state, "peek"), state=state)

    patch.setattr(OnnxRuntimeBackend, "step", remembered)
    patch.setattr(OnnxRuntimeBackend, "peek", peeked)
    patch.setattr(OnnxRuntimeBackend, "new_state", lambda self: KnownState(new_state(self), _graphs(self)))


def remember_sessions(patch: pytest.MonkeyPatch) -> None:
    """Let backends share the session of a graph that nobody has written to; their states are their own.

    Tests of a session's options open it by `open_session` itself, which is imported before.
    """
    opened = lru_cache(SESSIONS)(lambda path, name, written: open_session(str(path), name))  # noqa: ARG005

    def remembered(path: str, name: str, **options: Any) -> Any:  # noqa: ANN401 -- onnxruntime's
        graph = Path(path).absolute()
        if options or graph.stat().st_size >= LARGEST_KEPT:
            return open_session(path, name, **options)
        return opened(graph, name, _written(graph))

    patch.setattr("runtime.backends.onnxruntime.open_session", remembered)


def remember_hashes(patch: pytest.MonkeyPatch) -> None:
    """Let no bundle that is opened hash a file again that nobody has written to."""
    known = cache(lambda path, written: file_hash(path))  # noqa: ARG005
    patch.setattr("runtime.bundle.sha256", lambda path: known(path.absolute(), _written(path)))


def _written(path: Path) -> tuple[int, ...]:
    """What tells a file from the one that another would write there."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _graphs(backend: OnnxRuntimeBackend) -> bytes:
    evaluations = backend._evaluations
    return f"{backend.name} {backend._step.sha256} {evaluations and evaluations._entry.sha256} ".encode()


def _streamed(backend: OnnxRuntimeBackend, state: State) -> bytes:
    """What identifies a state; one that a prompt was put into is plain, and identified by all that it holds."""
    if isinstance(state, KnownState):
        return state.streamed
    return _graphs(backend) + b"".join(name.encode() + array.tobytes() for name, array in sorted(state.items()))


def _arrays(result: StepResult) -> list[np.ndarray]:
    made: list[Any] = [getattr(result, field.name) for field in fields(result) if field.name != "state"]
    return [array for array in (*made, *result.state.values()) if array is not None]


def _size(result: StepResult) -> int:
    return sum(array.nbytes for array in _arrays(result))
