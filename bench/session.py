"""What the benches that recognise speech have in common: their options, and the name of their result file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from bench.results import default_name, result_path
from bench.speech.feed import FRAME_MS
from bench.speech.measure import Pace, on_gpu
from bench.stopwatch import TimedRecognizer
from runtime.backends import default_backend, default_precision
from runtime.bundle import read_bundle
from runtime.decoders.ngram import LmChoice


@dataclass(frozen=True)
class SpeechOptions:
    """What to measure and on what."""

    bundle: Path
    eval: Path | None = None  # folder of data sets; None: bench.speech.clips.eval_folder
    lang: str = "en"
    backend: str = "auto"  # auto: this machine's best
    precision: str | None = None  # fp32, fp16 or int8; None: what is usual on the backend
    decoder: str | None = None  # ctc or rnnt; None: the bundle's best
    lm: LmChoice = "default"
    frame_ms: int = FRAME_MS
    limit: int | None = None  # first clips of each data set; None: all
    name: str | None = None  # of the result file; None: made of what is measured
    out: Path = Path("bench/results")

    @cached_property
    def chosen_backend(self) -> str:
        """The backend asked for, or this machine's best; nvidia-smi is asked once."""
        return default_backend() if self.backend == "auto" else self.backend

    @cached_property
    def chosen_precision(self) -> str:
        """The precision asked for, or what is usual for the bundle on the chosen backend. Raises InputError for a broken bundle."""
        return self.precision or default_precision(self.chosen_backend, read_bundle(self.bundle))

    def opened(self) -> TimedRecognizer:
        """The recogniser to measure; a context manager. Raises InputError for a bundle or a choice that cannot be opened."""
        backend, precision = self.chosen_backend, self.chosen_precision
        return TimedRecognizer(self.bundle, precision=precision, backend=backend, lm=self.lm, decoder=self.decoder)

    def result_path(self, recognizer: TimedRecognizer, data: Path, kind: str = "") -> Path:
        """Where the result goes: named as asked, else after what is measured. Raises InputError for a name that is none."""
        bundle = recognizer.bundle
        parts = [bundle.checkpoint.name, f"{bundle.lookahead_ms}ms", self.chosen_precision, self.chosen_backend]
        parts += ["rnnt"] if recognizer.decoder == "rnnt" else []
        parts += [] if recognizer.ngram is None else ["lm"]
        parts += [kind] if kind else []
        return result_path(self.out, self.name or default_name(parts, data=data, lang=self.lang, limit=self.limit))


@dataclass(frozen=True)
class PacedOptions(SpeechOptions):
    """And how fast."""

    pace: Literal["auto", "realtime", "fast"] = "auto"  # auto: real time on a GPU, fast without one

    @property
    def chosen_pace(self) -> Pace:
        """The pace asked for, or the backend's."""
        if self.pace != "auto":
            return self.pace
        return "realtime" if on_gpu(self.chosen_backend) else "fast"
