"""`python -m bench ablation`: what each precision buys and costs, in one run on one machine, each measurement in a fresh process."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from rich.console import Console

from bench.child import Survey, run_child
from bench.figures import change_label, shown
from bench.results import default_name, pairs_of, read_result, records_of, result_path
from bench.rows import AnyRow, SpeechRow, UtteranceRecord
from bench.score.bootstrap import paired_difference
from bench.session import DataOptions, Written, write_rows
from bench.speech.speech_session import SpeechData, read_data
from bench.step.step_times import LOAD_S, check_steps, rows_of_child
from bench.step.timing import Variant
from bench.summary import together
from calibration.record import calibration_path, read_calibration
from calibration.step import add_int8
from calibration.thresholds import METHODS
from runtime.backends import default_backend
from runtime.bundle import Bundle, Precision, read_bundle
from runtime.errors import InputError
from runtime.files import carry, written_whole

COPIES = Path("build/ablation")
"""Folder of bundles with the INT8 step of one method each."""
PACED = 30
"""Steps at the pace of speech: of 560 ms each at 480 ms look-ahead."""
BUILD_S = 1800.0
"""Seconds that a build may take."""
NO_GPU = {"CUDA graphs, plans, GPU memory": "onnxruntime-cpu has none: `make ablation` on a machine with a GPU"}
IMPLICIT = {
    "int8, calibrated by TensorRT (IInt8EntropyCalibrator2)": "deprecated since TensorRT 10.1 and gone in 11; on 8.6 on an H100, beside "
    "other builds, it took 6.4 minutes to read 200 steps of the embedded model, of the 6,899 in 15 minutes of speech, and had no plan "
    "when it was stopped 1.5 minutes later"
}


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """What to measure and with what."""

    bundle: tuple[Path, ...]
    """Folders made by `make export`, and by `make calibrate` for INT8."""
    methods: str = "entropy,mse"
    """Methods of INT8's thresholds, with commas between."""
    backend: Literal["auto", "tensorrt", "onnxruntime-cpu"] = "auto"
    """auto: this machine's best."""
    steps: int = 1000
    """Steps back to back."""
    no_cublas: bool = False
    """Build plans as `python -m engines --no-cublas` does."""


@dataclass(frozen=True)
class Trial:
    """One combination, to be measured."""

    source: Path
    """The user's bundle."""
    bundle: Bundle
    precision: Precision
    method: str | None = None
    """Of INT8's thresholds."""

    @property
    def name(self) -> str:
        """As rows and records carry it."""
        return " ".join([self.source.absolute().name, self.precision, *([self.method] if self.method else [])])


@dataclass(frozen=True)
class Ablation:
    """How combinations are measured, and what was measured so far."""

    options: Options
    backend: str
    data: SpeechData | None
    """None: every bundle has random weights."""
    folder: Path
    """Where processes leave what they recognised."""
    survey: Survey
    rows: list[AnyRow] = field(default_factory=list)
    records: list[UtteranceRecord] = field(default_factory=list)

    def measure(self, trial: Trial) -> None:
        """Build and measure one combination. What fails is left out with its reason, and nothing else is lost with it."""
        del self.survey.left_out[trial.name]
        folder = self.survey.tried(trial.name, partial(self._built, trial))
        if folder is None:
            return
        quantisation = read_bundle(folder).quantisation if trial.precision == "int8" else None
        labels = {"combination": trial.name, "kept": None if quantisation is None else len(quantisation.kept)}
        graphs = {"steps in a CUDA graph": True} if self.backend == "tensorrt" else {}
        graphs |= {"steps without a graph": False}
        measurements: list[tuple[str, Callable[[], Sequence[AnyRow]]]] = [
            (what, partial(self._steps, trial, folder, graph=graph)) for what, graph in graphs.items()
        ]
        if self.data and trial.bundle.checkpoint.weights == "trained":
            measurements.insert(1, ("speech", partial(self._speech, trial, folder, self.data)))
        for what, measurement in measurements:  # the most telling first
            rows = self.survey.tried(f"{trial.name}, {what}", measurement)
            self.rows.extend(row.with_(**labels) for row in rows or ())

    def _built(self, trial: Trial) -> Path:
        """Return the bundle to measure, with its plan where there is a GPU."""
        folder = trial.source if trial.method is None else int8_copy(trial.source, trial.method)
        if self.backend == "tensorrt":
            words = ["engines", "--bundle", str(folder), "--precision", trial.precision]
            words += ["--no-cublas"] if self.options.no_cublas else []
            run_child([sys.executable, "-m", *words], BUILD_S)
        return folder

    def _steps(self, trial: Trial, folder: Path, *, graph: bool) -> Sequence[AnyRow]:
        how = Variant(backend=self.backend, precision=trial.precision, graph=graph)
        rows = rows_of_child(replace(how, bundle=str(folder), steps=self.options.steps, paced=PACED))
        self.survey.say_steps(f"{trial.name}{', CUDA graph' if graph else ''}", rows[0])
        return rows

    def _speech(self, trial: Trial, folder: Path, data: SpeechData) -> Sequence[AnyRow]:
        """Recognise the data sets, keep the utterances' records and return the rows with their differences from FP32."""
        options = self.options
        words = ["bench", "run", "--bundle", str(folder), "--backend", self.backend, "--precision", trial.precision]
        words += ["--decoder", "ctc", "--lm", "none", "--pace", "fast", "--mode", "utterance", "--early", "off"]
        words += ["--eval", str(data.folder), "--lang", options.lang]
        words += ["--out", str(self.folder), "--name", "speech"]
        words += [] if options.limit is None else ["--limit", str(options.limit)]
        limit_s = LOAD_S + 60 * sum(data_set.minutes for data_set in data.sets)
        run_child([sys.executable, "-m", *words], limit_s)
        result = read_result(self.folder / "speech.json")
        rows = result.rows_of(SpeechRow)
        rows += together(rows, result.utterances)
        if trial.precision != "fp32":
            fp32 = replace(trial, precision="fp32", method=None).name
            for place, row in enumerate(rows):
                reference = records_of(self.records, row.with_(combination=fp32))
                if reference:
                    found = paired_difference(pairs_of(reference, records_of(result.utterances, row)))
                    change = {"wer_change": found.points, "wer_change_low": found.low, "wer_change_high": found.high}
                    rows[place] = row.with_(**change, words=found.words)
        self.survey.say(f"{trial.name}: WER {shown([rows[-1].wer], 2)} %, from FP32 {change_label(rows[-1])}")
        # A precision is compared by its finals' texts: neither partials nor words are kept.
        self.records.extend(
            record.with_(combination=trial.name, partials=None, words=None) for record in result.utterances
        )
        return rows


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure all combinations and write the result file.

    The file is written anew after each combination: a run that is ended early leaves what it has, and says what is missing.

    Raises:
        InputError: bad options, data or bundle, or nothing that could be measured; nothing is written then.
    """
    check_steps(options.steps)
    backend = default_backend() if options.backend == "auto" else options.backend
    if backend == "tensorrt" and default_backend() != "tensorrt":
        raise InputError("--backend: expected an NVIDIA GPU that nvidia-smi lists, found none; try onnxruntime-cpu")
    trials = _trials(options)
    trained = any(trial.bundle.checkpoint.weights == "trained" for trial in trials)
    data = read_data(options, argv, console) if trained else None
    parts = ["ablation", trials[0].bundle.checkpoint.name, backend]
    usual = default_name(parts, data=data.folder, lang=options.lang, limit=options.limit) if data else "-".join(parts)
    path = result_path(options.out, f"ablation-{options.name}" if options.name else usual)
    described = data.described if data else []
    left_out = {trial.name: "the run ended before it" for trial in trials}
    left_out |= IMPLICIT | (NO_GPU if backend == "onnxruntime-cpu" else {})
    written = None
    with TemporaryDirectory() as folder:
        ablation = Ablation(options, backend, data, Path(folder), Survey(console, left_out))
        for number, trial in enumerate(trials, 1):
            with console.status(f"{number}/{len(trials)} {trial.name}"):
                ablation.measure(trial)
            rows, records = ablation.rows, ablation.records
            if rows:
                written = write_rows(path, argv, rows, described, utterances=records, left_out=left_out)
    if written is None:
        what, reason = left_out.popitem()
        raise InputError(f"nothing could be measured; {what}: {reason}")
    return written


def int8_copy(source: Path, method: str) -> Path:
    """Make a copy of the bundle in `source` with an INT8 step of `method`'s thresholds; return its folder.

    The user's bundle stays as it is. Matrix products that its own INT8 step leaves in FP16 stay in FP16 in the copy.

    Raises:
        InputError: the bundle is broken, or its calibration file missing, of another bundle or without that method.
    """
    bundle = read_bundle(source)
    read_calibration(calibration_path(source), bundle).amax(method)
    folder = COPIES / f"{source.absolute().name}-{method}"
    with written_whole(folder) as temporary:
        temporary.mkdir()
        carry(folder / "plans", temporary / "plans")  # an earlier copy's, of this method
        for path in source.iterdir():
            if path.name != "plans":
                carry(path, temporary / path.name)
    add_int8(folder, method, bundle.quantisation.kept if bundle.quantisation else ())
    return folder


def _trials(options: Options) -> list[Trial]:
    """Return the combinations bundle by bundle, FP32 first: the others are compared with it."""
    methods = list(dict.fromkeys(options.methods.split(",")))
    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"--methods: expected some of {', '.join(METHODS)}, found {unknown[0]!r}")
    folders = {folder.absolute().name: folder for folder in options.bundle}
    if not folders or len(folders) < len(options.bundle):
        raise InputError(
            f"--bundle: expected folders of different names, found {len(options.bundle)} with {len(folders)}"
        )
    trials = []
    for folder in folders.values():
        bundle = read_bundle(folder)
        bundle.check_ctc("the ablation")
        trials += [Trial(folder, bundle, "fp32"), Trial(folder, bundle, "fp16")]
        trials += [Trial(folder, bundle, "int8", method) for method in methods]
    return trials
