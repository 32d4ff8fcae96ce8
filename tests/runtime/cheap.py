"""A backend whose step costs next to nothing, and whose tokens tell one audio from another."""

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.backends import Step
from runtime.backends.slots import Rows, SlottedBackend
from runtime.bundle import Bundle


class Cheap(SlottedBackend):
    """A step of the bundle's shapes that takes next to no time; its tokens depend on all audio since the utterance's start."""

    name = "cheap"

    def __init__(self, bundle: Bundle, most_streams: int) -> None:
        super().__init__(most_streams, 256)
        self._frames, self._blank = bundle.chunk_frames, bundle.blank
        self._slots = np.zeros(most_streams, np.int64)

    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, np.ndarray]:
        reads, writes = rows.T
        heard = np.array([step.window[:: len(step.window) // 7].view(np.int32).sum(dtype=np.int64) for step in steps])
        state = (np.where(reads < 0, 0, self._slots[reads]) * 31 + heard + [step.valid for step in steps]) % 1_000_003
        self._slots[writes[writes >= 0]] = state[writes >= 0]
        tokens = ((state[:, None] // [1 + 7 * frame for frame in range(self._frames)]) % (3 * self._blank)).clip(
            max=self._blank
        )
        log_probs = np.full((len(steps), self._frames, self._blank + 1), -9.0, np.float32)
        np.put_along_axis(log_probs, tokens[..., None], -0.1, -1)
        encoded = np.zeros((len(steps), self._frames, 1), np.float32)
        return {"tokens": tokens.astype(np.int32), "log_probs": log_probs, "encoded": encoded}

    def close(self) -> None:
        pass
