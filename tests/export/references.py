"""NeMo's own results, computed once: `write_bundle` compares with the same ones in each precision."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from export import parity
from export.checkpoint import Checkpoint


class Once:
    """What a function gives of a checkpoint's modules and arrays, kept until it is called with another checkpoint or other weights."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        self._compute = compute
        self._checkpoint: Checkpoint | None = None
        self._weights = b""
        self._results: dict[bytes, Any] = {}

    def __call__(self, checkpoint: Checkpoint, *given: Any) -> Any:  # noqa: ANN401 -- as what it stands for
        modules = (
            checkpoint.encoder,
            checkpoint.ctc_head,
            checkpoint.prediction,
            checkpoint.joint,
            checkpoint.prompt_kernel,
        )
        hashed = sha256()
        for tensor in (each for module in modules if module is not None for each in module.state_dict().values()):
            hashed.update(tensor.numpy())
        if checkpoint is not self._checkpoint or hashed.digest() != self._weights:
            self._checkpoint, self._weights, self._results = checkpoint, hashed.digest(), {}
        key = b" ".join(each.tobytes() if hasattr(each, "tobytes") else repr(each).encode() for each in given)
        if key not in self._results:
            self._results[key] = self._compute(checkpoint, *given)
        return self._results[key]


def references_once(patch: pytest.MonkeyPatch) -> None:
    for name in ("nemo_offline", "nemo_greedy_rnnt"):
        patch.setattr(parity, name, Once(getattr(parity, name)))
