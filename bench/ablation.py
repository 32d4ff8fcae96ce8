"""`python -m bench ablation`: what each precision buys and costs, in one run on one machine, each measurement in a fresh process."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import TypeAdapter
from rich.console import Console

from bench.child import run_child
from bench.int8_copy import check_methods, int8_copy
from bench.machine import collect
from bench.pages.ablation_plots import write_plots
from bench.pages.combinations import print_combinations
from bench.pages.terminal import figures
from bench.results import (
    DEFINITIONS,
    ResultFile,
    Row,
    UtteranceRecord,
    default_name,
    read_result,
    records_of,
    result_path,
    write_result,
)
from bench.score import bootstrap as paired
from bench.speech import clips
from bench.speech.measure import together
from bench.step.steps import check_steps, step_rows
from bench.step.timing import Measured
from runtime.backends import default_backend
from runtime.bundle import Bundle, Precision, read_bundle
from runtime.errors import InputError

PACED = 30  # steps at the pace of speech: of 560 ms each at 480 ms look-ahead
START_S, BUILD_S = 300.0, 1800.0  # a measuring process may take beside its steps or speech, and a build in all
NO_GPU = {"CUDA graphs, plans, GPU memory": "onnxruntime-cpu has none: `make ablation` on a machine with a GPU"}
IMPLICIT = {
    "int8, calibrated by TensorRT (IInt8EntropyCalibrator2)": "deprecated since TensorRT 10.1 and gone in 11; on 8.6 on an H100, beside "
    "other builds, it took 6.4 minutes to read 200 steps of the embedded model, of the 6,899 in 15 minutes of speech, and had no plan "
    "when it was stopped 1.5 minutes later"
}
ABLATION_DEFINITIONS = DEFINITIONS | {
    "combination": "bundle, precision and, of INT8, the method of its thresholds; each figure from a fresh process",
    "kept": "products that INT8 left in FP16",
    "wer_change": f"from FP32 of the same bundle: {paired.DEFINITION}",
    "build_s": "seconds of the plan's build, with the timing cache that earlier builds left",
    "left_out": "of a row: clips whose reference has digits, or no letters; of the file: what was not measured, and why",
}

_Figures = tuple[list[Row], list[UtteranceRecord]]


@dataclass(frozen=True)
class AblationOptions:
    """What to measure and with what."""

    bundle: Sequence[Path]
    eval: Path | None = None  # folder of data sets; None: bench.speech.clips.eval_folder
    lang: str = "en"
    methods: Sequence[str] = ("entropy", "mse")  # of INT8's thresholds
    backend: Literal["auto", "tensorrt", "onnxruntime-cpu"] = "auto"  # auto: this machine's best
    steps: int = 1000  # back to back
    limit: int | None = None  # first clips of each data set; None: all
    no_cublas: bool = False  # cuBLAS and cuDNN are stubs: plans are built without them
    name: str | None = None  # of the result file, behind `ablation-`; None: made of what is measured
    out: Path = Path("bench/results")


@dataclass(frozen=True)
class Trial:
    """One combination, to be measured."""

    source: Path  # the user's bundle
    bundle: Bundle
    precision: Precision
    method: str | None = None  # of INT8's thresholds

    @property
    def name(self) -> str:
        """As rows and records carry it."""
        return " ".join([self.source.absolute().name, self.precision, *([self.method] if self.method else [])])


@dataclass
class Found:
    """What was measured so far, and what was not."""

    left_out: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    records: list[UtteranceRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Ablation:
    """How a combination is measured, and where its processes leave what they measured."""

    options: AblationOptions
    backend: str
    data: tuple[Path, float]  # folder of the data sets, and their minutes
    folder: Path
    console: Console

    def measure(self, trial: Trial, found: Found) -> None:
        """Build and measure one combination. What fails is left out with its reason, and nothing else is lost with it."""
        del found.left_out[trial.name]
        try:
            folder = self._built(trial)
        except InputError as error:
            self._leave_out(found, trial.name, error)
            return
        made = read_bundle(folder).quantisation if trial.precision == "int8" else None
        update = {"combination": trial.name, "kept": None if made is None else len(made.kept)}
        for what, measurement in self._measurements(trial, folder, found):
            try:
                rows, records = measurement()
            except InputError as error:
                self._leave_out(found, f"{trial.name}, {what}", error)
                continue
            found.rows += [row.model_copy(update=update) for row in rows]
            found.records += records

    def _built(self, trial: Trial) -> Path:
        """The bundle to measure, with its plan where there is a GPU."""
        folder = trial.source if trial.method is None else int8_copy(trial.source, trial.method)
        if self.backend == "tensorrt":
            words = ["--bundle", str(folder), "--precision", trial.precision]
            words += ["--no-cublas"] if self.options.no_cublas else []
            run_child(_python("engines", words), BUILD_S)
        return folder

    def _measurements(self, trial: Trial, folder: Path, found: Found) -> list[tuple[str, Callable[[], _Figures]]]:
        """The most telling first."""
        graphs = (True, False) if self.backend == "tensorrt" else (False,)
        names = {True: "steps in a CUDA graph", False: "steps without a graph"}
        steps = [(names[graph], partial(self._steps, trial, folder, graph=graph)) for graph in graphs]
        trained = trial.bundle.checkpoint.weights == "trained"
        speech = [("speech", partial(self._speech, trial, folder, found.records))] if trained else []
        return [*steps[:1], *speech, *steps[1:]]

    def _steps(self, trial: Trial, folder: Path, *, graph: bool) -> _Figures:
        out = self.folder / "steps.json"
        words = ["--bundle", str(folder), "--backend", self.backend, "--precision", trial.precision, "--out", str(out)]
        words += ["--steps", str(self.options.steps), "--paced", str(PACED), *(["--graph"] if graph else [])]
        chunk_s = trial.bundle.chunk_samples / trial.bundle.sample_rate
        run_child(_python("bench.step.worker", words), START_S + (self.options.steps + PACED) * chunk_s, graph=graph)
        measured = TypeAdapter(Measured).validate_json(out.read_bytes())
        rows = step_rows(folder, read_bundle(folder), trial.precision, self.backend, measured)
        step = figures([rows[0].step_ms_p50, rows[0].step_ms_p95, rows[0].step_ms_p99], 3)
        self._say(f"{trial.name}{', CUDA graph' if graph else ''}: step {step} ms (p50 / p95 / p99)")
        return rows, []

    def _speech(self, trial: Trial, folder: Path, measured: list[UtteranceRecord]) -> _Figures:
        data, minutes = self.data
        words = ["run", "--bundle", str(folder), "--backend", self.backend, "--precision", trial.precision]
        words += ["--decoder", "ctc", "--lm", "none", "--pace", "fast", "--mode", "utterance"]
        words += ["--eval", str(data), "--lang", self.options.lang]
        words += ["--out", str(self.folder), "--name", "speech"]
        words += [] if self.options.limit is None else ["--limit", str(self.options.limit)]
        run_child(_python("bench", words), START_S + 60 * minutes)
        result = read_result(self.folder / "speech.json")
        rows = [*result.rows, *together(result.rows, result.utterances, self.options.lang)]
        if trial.precision != "fp32":
            fp32 = replace(trial, precision="fp32", method=None).name
            rows = [_with_change(row, result.utterances, measured, fp32) for row in rows]
        change = paired.label(rows[-1].wer_change, rows[-1].wer_change_low, rows[-1].wer_change_high)
        self._say(f"{trial.name}: WER {figures([rows[-1].wer], 2)} %, from FP32 {change}")
        own = {"combination": trial.name, "partials": None}  # a precision is compared by its finals
        return rows, [each.model_copy(update=own) for each in result.utterances]

    def _leave_out(self, found: Found, what: str, error: InputError) -> None:
        found.left_out[what] = str(error)
        self._say(f"{what}: left out: {error}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run_ablation(options: AblationOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure all combinations, print their table, make the plots and return the result file's path.

    The file is written anew after each combination: a run that is ended early leaves what it has, and says what is missing.

    Raises:
        InputError: bad options, data or bundle, or nothing that could be measured; nothing is written then.
    """
    check_steps(options.steps)
    check_methods(options.methods)
    backend = default_backend() if options.backend == "auto" else options.backend
    if backend == "tensorrt" and default_backend() != "tensorrt":
        raise InputError("--backend: expected an NVIDIA GPU that nvidia-smi lists, found none; try onnxruntime-cpu")
    trials = _trials(options)
    folder = clips.eval_folder(options.eval, console.print)
    trained = any(trial.bundle.checkpoint.weights == "trained" for trial in trials)
    data_sets = clips.data_sets(folder, options.lang, options.limit) if trained else []
    described = [clips.provenance(data_set) for data_set in data_sets]
    parts = ["ablation", trials[0].bundle.checkpoint.name, backend]
    made = default_name(parts, data=folder, lang=options.lang, limit=options.limit) if trained else "-".join(parts)
    path = result_path(options.out, f"ablation-{options.name}" if options.name else made)
    never = IMPLICIT | (NO_GPU if backend == "onnxruntime-cpu" else {})
    found = Found({trial.name: "the run ended before it" for trial in trials} | never)
    result = None
    with TemporaryDirectory() as measured:
        ablation = Ablation(
            options, backend, (folder, sum(each.minutes for each in data_sets)), Path(measured), console
        )
        for number, trial in enumerate(trials, 1):
            with console.status(f"{number}/{len(trials)} {trial.name}"):
                ablation.measure(trial, found)
            if found.rows:
                result = ResultFile(
                    provenance=collect(argv, described),
                    rows=found.rows,
                    definitions=ABLATION_DEFINITIONS,
                    utterances=found.records,
                    left_out=found.left_out,
                )
                write_result(path, result)
    if result is None:
        what, reason = list(found.left_out.items())[-1]
        raise InputError(f"nothing could be measured; {what}: {reason}")
    print_combinations(result, console)
    for what, reason in never.items():
        console.print(f"not measured: {what}: {reason}", highlight=False, markup=False)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    try:
        for plot in write_plots(path, result):
            console.print(f"wrote {plot}", highlight=False, soft_wrap=True)
    except InputError as error:  # the figures stand without them
        console.print(f"no plots: {error}", highlight=False, markup=False)
    return path


def _trials(options: AblationOptions) -> list[Trial]:
    """Bundle by bundle, FP32 first: the others are compared with it."""
    folders = {folder.absolute().name: folder for folder in options.bundle}
    if len(folders) < len(options.bundle):
        raise InputError(
            f"--bundle: expected folders of different names, found {len(options.bundle)} with {len(folders)}"
        )
    trials = []
    for folder in folders.values():
        bundle = read_bundle(folder)
        bundle.check_ctc("the ablation")
        trials += [Trial(folder, bundle, "fp32"), Trial(folder, bundle, "fp16")]
        trials += [Trial(folder, bundle, "int8", method) for method in dict.fromkeys(options.methods)]
    return trials


def _with_change(row: Row, records: Sequence[UtteranceRecord], measured: Sequence[UtteranceRecord], fp32: str) -> Row:
    """The row with its difference from FP32's, if that was measured."""
    reference = records_of(measured, row.model_copy(update={"combination": fp32}))
    if not reference:
        return row
    found = paired.paired_difference(reference, records_of(records, row))
    change = {"wer_change": found.points, "wer_change_low": found.low, "wer_change_high": found.high}
    return Row.model_validate(row.model_dump() | change | {"words": found.words})


def _python(module: str, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", module, *words]
