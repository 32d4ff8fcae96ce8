"""Sessions of onnxruntime that compute in the thread that runs them, where nothing else is asked for: the same bits in less CPU time."""

import os
from typing import Any

import pytest


def one_thread_a_session(patch: pytest.MonkeyPatch) -> None:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # see runtime/backends/onnxruntime.py
    from onnxruntime import SessionOptions

    threads: Any = SessionOptions.intra_op_num_threads
    one = property(threads.__get__, lambda options, count: threads.__set__(options, count or 1))
    patch.setattr(SessionOptions, "intra_op_num_threads", one)
