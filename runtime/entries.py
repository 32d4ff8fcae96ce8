"""A bundle's files, and what its graphs take and give."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from .errors import InputError, what_is_wrong
from .files import written_whole

DType = Literal["float32", "float16", "int32"]
Positive = Annotated[int, Field(gt=0)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

STATE = ("length", "kv_cache", "time_cache")
"""Inputs that carry state; the output of the same name with `next_` before it is the next step's. All zero at an utterance's start."""
PROMPT = "prompt"
"""Input of a step whose checkpoint is told the language: the number of its prompt. A stream keeps it beside its state."""

CHUNK_STATE = ("frame", "emitted", "symbols", "scores")
RNNT_STATE = ("last", "hidden", "cell", *CHUNK_STATE)
"""The same of an RNN-T evaluation; CHUNK_STATE is zero at each chunk's start too."""
MAX_SYMBOLS = 10
"""Tokens that a transducer may emit at one frame, as NeMo's greedy decoding has it by default."""


class Strict(BaseModel):
    """A JSON file, or a part of one: unknown keys and other types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def read(cls, path: Path, what: str, make: str) -> Self:
        """Read and check `path`, which is `what`. Raises InputError, with what to `make` it with, where it is missing or broken."""
        if not path.is_file():
            raise InputError(f"expected {what} at {path}, found none; make it with {make}")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            found = f"expected a valid {path}, found at {what_is_wrong(error)}"
            for wrong in error.errors(include_url=False):
                if wrong["loc"] == ("schema_version",) and isinstance(wrong["input"], int):
                    reads = cls.model_fields["schema_version"].default
                    found = f"{path} is {what} of schema {wrong['input']}, this version reads {reads}"
            raise InputError(f"{found}; make it again with {make}") from error

    def write(self, path: Path) -> None:
        """Write `path` whole or not at all."""
        with written_whole(path) as partial:
            partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


class TensorSpec(Strict):
    """Name, type and static shape (batch first) of one input or output."""

    name: str
    dtype: DType
    shape: list[Positive]

    def of_streams(self, count: int) -> "TensorSpec":
        """The same of that many streams."""
        return self.model_copy(update={"shape": [count, *self.shape[1:]]})

    def zeros(self) -> npt.NDArray[np.generic]:
        """An array of this type and shape, all zero."""
        return np.zeros(self.shape, self.dtype)

    @property
    def size(self) -> int:
        """Bytes."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    def view(self, content: npt.NDArray[np.uint8], start: int) -> npt.NDArray[Any]:
        """The array that lies in `content` from byte `start` on."""
        return content[start : start + self.size].view(self.dtype).reshape(self.shape)


class FileEntry(Strict):
    """A file of the bundle and its hash."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    sha256: Hash


class LanguageModelEntry(Strict):
    """A KenLM file and its word list."""

    name: str
    """As result files carry it."""
    model: FileEntry
    words: FileEntry


class GraphEntry(FileEntry):
    """One graph in one precision, whose outputs next_NAME are the next run's inputs NAME."""

    state: ClassVar[tuple[str, ...]]
    """Names of the inputs that carry state."""
    others: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]
    """Names of the other inputs, and of the other outputs, that a runtime uses."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    parameters: Positive
    """Numbers in the graph's constants."""
    bytes: Positive
    """Of the file, which is little else than those numbers."""

    @model_validator(mode="after")
    def _state_returns(self) -> Self:
        inputs, outputs = ({spec.name: spec for spec in specs} for specs in (self.inputs, self.outputs))
        kind = self.file.partition(".")[0]
        if missing := {*self.others[0], *self.state} - inputs.keys():
            raise ValueError(f"{kind} lacks the inputs {sorted(missing)}")
        if missing := {*self.others[1]} - outputs.keys():
            raise ValueError(f"{kind} lacks the outputs {sorted(missing)}")
        for name in self.state:
            back = outputs.get(f"next_{name}")
            if back is None or (back.dtype, back.shape) != (inputs[name].dtype, inputs[name].shape):
                raise ValueError(f"output next_{name} does not match input {name}")
        return self

    @property
    def state_bytes(self) -> int:
        """Of one stream's state."""
        return sum(self.input(name).size for name in self.state)

    @property
    def tensors(self) -> list[TensorSpec]:
        """Inputs, then outputs."""
        return [*self.inputs, *self.outputs]

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the outputs that are no state: of a step encoded, and with a CTC head tokens and log_probs."""
        carried = [f"next_{name}" for name in self.state]
        return tuple(spec.name for spec in self.outputs if spec.name not in carried)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the inputs that a stream keeps from one run to the next: the state, and its prompt where the graph takes one."""
        return (*self.state, *(spec.name for spec in self.inputs if spec.name == PROMPT))

    def input(self, name: str) -> TensorSpec:
        """The input of that name."""
        return next(spec for spec in self.inputs if spec.name == name)

    def check_tensors(self, loaded: Mapping[str, tuple[str, list[int]]], where: str, remedy: str) -> None:
        """Raise InputError unless a loaded graph, `where` in the message, has these inputs and outputs: type and shape by name."""
        expected = {spec.name: (spec.dtype, spec.shape) for spec in self.tensors}
        for name in sorted(expected.keys() | loaded.keys()):
            if expected.get(name) != loaded.get(name):
                raise InputError(
                    f"expected {where} with {name} {expected.get(name)}, found {loaded.get(name)}; {remedy}"
                )

    def of_streams(self, count: int) -> Self:
        """A graph over many streams with that many in it: the first axis of every tensor is theirs."""
        inputs, outputs = ([spec.of_streams(count) for spec in specs] for specs in (self.inputs, self.outputs))
        return self.model_copy(update={"inputs": inputs, "outputs": outputs})

    def new_state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Zeros on the host: the state at an utterance's start, with the first prompt where the graph takes one."""
        return {name: self.input(name).zeros() for name in self.kept}


class StepEntry(GraphEntry):
    """The streaming step."""

    state = STATE
    others = (("audio", "valid"), ("encoded",))


class RnntEntry(GraphEntry):
    """One evaluation of RNN-T greedy decoding over a chunk's encoded frames."""

    state = RNNT_STATE
    others = (("encoded",), ())
