"""A connection to Triton's gRPC, and how long its clients wait."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from runtime.errors import InputError

START_SHARE = 1 / 3
"""Of a model's idle time a client waits for a place: idle time counts from the first request, from its time in the queue too."""
REPLY_S = 10.0
"""Seconds that a client waits for a reply beyond that."""
END_S = 2.0
"""The same for the reply to an END, which is wanted no more."""
TYPES = {
    np.dtype(np.float32): "FP32",
    np.dtype(np.int16): "INT16",
    np.dtype(np.int32): "INT32",
    np.dtype(object): "BYTES",
}


class Server:
    """A Triton server. A context manager: leaving it closes the connection."""

    def __init__(self, url: str) -> None:
        """`url`: host:port of its gRPC. Raises InputError where tritonclient, or what it needs, is not installed."""
        try:
            from tritonclient import grpc
            from tritonclient.utils import InferenceServerException
        except (ImportError, RuntimeError) as error:  # the second: it makes one of the other
            raise InputError(
                f"expected tritonclient and what it needs, found: {error}; install it with `build/python -m pip install --no-deps -r "
                f"requirements/triton.txt`"
            ) from error
        self.url, self.grpc, self.error = url, grpc, InferenceServerException
        self.client = grpc.InferenceServerClient(url)

    def input(self, name: str, value: npt.NDArray[Any]) -> Any:  # noqa: ANN401 -- tritonclient's
        """An input of a request."""
        tensor = self.grpc.InferInput(name, list(value.shape), TYPES[value.dtype])
        tensor.set_data_from_numpy(value)
        return tensor

    def outputs(self, names: Iterable[str]) -> list[Any]:
        """What a request asks for."""
        return [self.grpc.InferRequestedOutput(name) for name in names]

    def parameters(self, model: str, names: Iterable[str]) -> dict[str, str]:
        """What a model's repository says of it by these names. Raises InputError for one that is not there, or is another."""
        try:
            config = self.client.get_model_config(model, client_timeout=REPLY_S).config
        except self.error as error:
            raise self.failed(model, error) from error
        found = {name: config.parameters[name].string_value for name in names if name in config.parameters}
        if missing := sorted(set(names) - set(found)):
            raise InputError(
                f"expected {model} at {self.url} to be of `make triton`, found a model without {missing[0]}"
            )
        return found

    def is_full(self, error: Exception) -> bool:
        """Whether a START waited in vain for a place."""
        return "timeout of the corresponding sequence" in str(error)

    def failed(self, model: str, error: Exception) -> InputError:
        """What a failure comes to, in one line."""
        if self.is_full(error):
            return InputError(
                f"expected a free place for {model} at {self.url}, found all in use; try again, or start another server"
            )
        said = " ".join(str(error).split())
        return InputError(f"expected {model} at {self.url} to answer, found: {said}; see docs/triton.md")

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
