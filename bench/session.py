"""What benches share: their options, the data sets and the recogniser that they open, and what they leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.figures import definitions
from bench.machine import collect
from bench.results import Report, ResultFile, write_result
from bench.rows import DataProvenance, Row
from bench.stopwatch import TimedRecognizer
from data.manifest import ALLOWED
from runtime.backends import default_backend, default_precision
from runtime.bundle import read_bundle
from runtime.early import DEFAULT, Early

FRAME_MS = 20
"""Milliseconds of audio that a client sends at once, if not told otherwise."""
Pace = Literal["realtime", "fast"]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Where the result goes."""

    name: str | None = None
    """Name of the result file (default: named after what is measured)."""
    out: Path = Path("build/results")
    """Folder of the result files."""


@dataclass(frozen=True, kw_only=True)
class DataOptions(FileOptions):
    """What to measure on."""

    eval: Path | None = None
    """Folder of data sets (default: data/asr_eval, else ../shared/data/asr_eval, else data/sample)."""
    lang: str = "en"
    """Language code of the manifests, and what the recogniser hears."""
    limit: int | None = None
    """A quick look at the first clips of each data set, so many."""
    allow: float = 100 * ALLOWED
    """Percent of a manifest's lines that may be broken, or without their audio; they are named and left out."""


@dataclass(frozen=True, kw_only=True)
class SpeechOptions(DataOptions):
    """What recognises."""

    bundle: Path
    """Folder made by `make export`."""
    backend: str = "auto"
    """auto (this machine's best), tensorrt, onnxruntime-cpu or onnxruntime-cuda."""
    precision: str | None = None
    """fp32, fp16 or int8 (default: fp16 in TensorRT, as `make engines` builds it, else the bundle's widest)."""
    decoder: str | None = None
    """ctc or rnnt (default: the bundle's best)."""
    lm: str = "default"
    """KenLM file, none for greedy decoding, or default: the bundle's own, if any."""
    frame_ms: int = FRAME_MS
    """Milliseconds of audio in a push, 20 to 40."""

    @cached_property
    def chosen_backend(self) -> str:
        """The backend asked for, or this machine's best; nvidia-smi is asked once."""
        return default_backend() if self.backend == "auto" else self.backend

    @cached_property
    def chosen_precision(self) -> str:
        """The precision asked for, or what is usual for the bundle on the chosen backend. Raises InputError for a broken bundle."""
        return self.precision or default_precision(self.chosen_backend, read_bundle(self.bundle))

    @property
    def max_streams(self) -> int | None:
        """Streams whose steps run together; None: each runs apart."""
        return None

    @property
    def kind(self) -> type[TimedRecognizer]:
        """What recognises."""
        return TimedRecognizer

    def opened(self) -> TimedRecognizer:
        """The recogniser to measure; a context manager. Raises InputError for a bundle or a choice that cannot be opened."""
        return self.kind(
            self.bundle,
            precision=self.chosen_precision,
            backend=self.chosen_backend,
            lm=self.lm,
            decoder=self.decoder,
            max_streams=self.max_streams,
            language=self.lang,
        )


@dataclass(frozen=True, kw_only=True)
class PacedOptions(SpeechOptions):
    """And how fast."""

    pace: Literal["auto", "realtime", "fast"] = "auto"
    """auto: realtime on a GPU, fast without one."""
    early: Early = DEFAULT
    """Tokens shown before their look-ahead has arrived: off, steady or eager."""

    @property
    def chosen_pace(self) -> Pace:
        """The pace asked for, or the backend's."""
        if self.pace != "auto":
            return self.pace
        return "realtime" if on_gpu(self.chosen_backend) else "fast"


@dataclass(frozen=True)
class Written:
    """What a bench leaves: its result, the file that holds it, and what is to be said of it."""

    path: Path
    result: Report
    notes: Sequence[str] = ()
    """Lines behind the tables."""
    missed: Sequence[str] = ()
    """A line for each bound that was missed: the command ends with code 1."""


def write_rows(
    path: Path,
    argv: Sequence[str],
    rows: Sequence[Row],
    data: Sequence[DataProvenance] = (),
    more: Mapping[str, str] | None = None,
    **parts: Any,
) -> Written:
    """Write the result of rows that were measured just now; `more`: definitions beside their figures', `parts`: other keys of the file."""
    given = {"provenance": collect(argv, [*data]), "rows": rows, "definitions": definitions(rows) | dict(more or {})}
    result = ResultFile.model_validate(given | parts)
    write_result(path, result)
    return Written(path, result)


def on_gpu(backend: str) -> bool:
    """Whether a backend of this name computes on a GPU: if not, its times are a functional check."""
    return not backend.endswith("-cpu")
