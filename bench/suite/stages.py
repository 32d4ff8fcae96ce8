"""`python -m bench suite`: all that RESULTS.md shows of a GPU, stage by stage, in one file that can be sent."""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic

from rich.console import Console

from bench.child import Survey, run_child
from bench.machine import collect
from bench.results import Pack, ResultFile, read_result, result_path, write_result
from bench.session import DataOptions, Written
from bench.speech.speech_session import SpeechData, read_data
from bench.suite.targets import gpu_line, target_lines
from runtime.backends import default_backend
from runtime.bundle import MANIFEST, read_bundle
from runtime.errors import InputError
from runtime.files import sha256

REAL_TIME = "realtime"
"""The stage whose figures the targets are for."""
HANGS = 4
"""A stage's command that takes so many times the stage's estimate is ended."""


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """What to measure, and for how long."""

    bundle: Path
    """Folder made by `make export`, and by `make calibrate` for INT8."""
    large: Path = Path("build/bundles/large-random-80ms")
    """Bundle whose step is timed alone, where it is there."""
    minutes: float = 60.0
    """Minutes after which no further stage begins."""
    no_cublas: bool = False
    """Build plans as `python -m engines --no-cublas` does."""


@dataclass(frozen=True)
class Stage:
    """One measurement: the plan that it needs, and what writes its result."""

    name: str
    bundle: Path
    command: Sequence[str]
    """Of `python -m bench`."""
    minutes: float
    """That it takes on a T4: an estimate."""


@dataclass(frozen=True)
class Suite:
    """A machine's stages on their way into a pack."""

    options: Options
    data: SpeechData
    survey: Survey
    name: str
    """Of the machine, in the names of its results."""
    bundle_sha256: str
    results: dict[str, ResultFile] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the pack lies."""
        return result_path(self.options.out, f"{self.options.bundle.absolute().name}-{self.name}", Pack)

    def result_name(self, bundle: Path, stage: str) -> str:
        """Return the name that a stage's result is published under."""
        return f"{bundle.absolute().name}-{self.name}-{stage}"

    def measure(self, stage: Stage) -> None:
        """Build the stage's plan and measure, in processes of their own. What was written is kept, also where the stage is ended early."""
        folder, name = self.path.with_suffix("") / stage.name, self.result_name(stage.bundle, stage.name)
        plan = ["engines", "--bundle", str(stage.bundle), "--precision", "fp16"]
        plan += ["--no-cublas"] if self.options.no_cublas else []
        measurement = ["bench", *stage.command, "--out", str(folder), "--name", name]
        shutil.rmtree(folder, ignore_errors=True)  # an earlier run's
        try:
            for words in (plan, measurement):
                run_child([sys.executable, "-m", *words], HANGS * 60 * stage.minutes)
            del self.survey.left_out[stage.name]
        finally:
            for written in folder.glob("*.json"):  # one at most
                self.results[name] = read_result(written)

    def resume(self, planned: Sequence[Stage]) -> list[Stage]:
        """Take over what an earlier run has packed; return the stages that are left.

        Raises InputError where that is of another machine, bundle, commit or data.
        """
        if not self.path.is_file():
            return list(planned)
        pack = read_result(self.path, Pack)
        if differs := pack.difference(collect(self.data.argv, self.data.described), self.bundle_sha256):
            raise InputError(
                f"{self.path}: expected results of what is measured now, found those of {differs}; publish or move it, or give a --name"
            )
        self.results.update(pack.results)
        done = {name for name in pack.results if name.rpartition("-")[2] not in pack.left_out}
        left = [stage for stage in planned if self.result_name(stage.bundle, stage.name) not in done]
        missing = ", ".join(stage.name for stage in left) or "nothing"
        self.survey.say(f"{self.path} has the results of an earlier run; missing: {missing}")
        return left

    def write(self) -> Pack | None:
        """Write the pack as it is now; None, and no file, while it is empty."""
        if not self.results:
            return None
        pack = Pack(
            provenance=collect(self.data.argv, self.data.described),
            bundle_sha256=self.bundle_sha256,
            results=self.results,
            left_out=self.survey.left_out,
        )
        write_result(self.path, pack)
        return pack


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure stage by stage. The pack is written anew after each: a run that is ended keeps what it has, and the next one goes on.

    Raises:
        InputError: no GPU, bad options, data or bundle, or nothing that could be measured.
    """
    begin = monotonic()
    if not options.minutes > 0:
        raise InputError(f"--minutes: expected more than 0, found {options.minutes:g}")
    if default_backend() != "tensorrt":
        raise InputError(
            "expected an NVIDIA GPU that nvidia-smi lists, found none; run this on the machine that has it"
        )
    read_bundle(options.bundle)
    data = read_data(options, argv, console)
    survey = Survey(console)
    name = options.name or _slug(collect(argv, data.described).gpu or "unknown-gpu")
    suite = Suite(options, data, survey, name, sha256(options.bundle / MANIFEST))
    left = suite.resume(stages(options, data))
    survey.left_out.update({stage.name: "the run ended before it was done" for stage in left})
    for number, stage in enumerate(left, 1):
        if monotonic() - begin >= 60 * options.minutes:
            survey.left_out[stage.name] = f"the {options.minutes:g} minutes of --minutes were over"
            continue
        what = f"{number}/{len(left)} {stage.name}"
        survey.say(f"{what}: about {stage.minutes:.0f} min on a T4 (an estimate)")
        try:
            with console.status(what):
                survey.tried(stage.name, partial(suite.measure, stage))
        finally:
            if suite.write():
                survey.say(f"{what}: wrote {suite.path}")
    pack = suite.write()
    if pack is None:
        stage_name, reason = next(iter(survey.left_out.items()))
        raise InputError(f"nothing could be measured; {stage_name}: {reason}")
    return Written(suite.path, pack, _notes(suite, pack))


def stages(options: Options, data: SpeechData) -> list[Stage]:
    """Return the stages, those first that tell most for their time.

    The estimates: speech takes its length at its own pace, and 3 to 15 % of it back to back. Plans take twice what they took on an H100
    with TensorRT 8.6: 107 s in FP16, 82 in FP32, 412 in INT8, and 138 of the 114 M model in FP16. A process takes half a minute.
    """
    speech = sum(data_set.minutes for data_set in data.sets)
    on = ["--eval", str(data.folder), "--lang", options.lang]
    on += [] if options.limit is None else ["--limit", str(options.limit)]
    bundle, large = ["--bundle", str(options.bundle)], ["--bundle", str(options.large)]
    fp16 = [*bundle, "--backend", "tensorrt", "--precision", "fp16", *on]
    ablation = ["ablation", *bundle, "--methods", "mse", *on, *(["--no-cublas"] if options.no_cublas else [])]
    return [
        Stage(REAL_TIME, options.bundle, ["run", *fp16, "--mode", "utterance", "--pace", "realtime"], 5 + speech),
        Stage("streams", options.bundle, ["streams", *fp16, "--lm", "none"], 4),
        Stage("endpoint", options.bundle, ["endpoint", *fp16, "--pace", "fast"], 1 + 0.15 * speech),
        Stage("ablation", options.bundle, ablation, 22 + 0.15 * speech),
        Stage("steps", options.large, ["steps", *large, "--precision", "fp16"], 6),
    ]


def _notes(suite: Suite, pack: Pack) -> list[str]:
    """Return what is said of the pack: the GPU, the targets, what is missing, and how to send it."""
    timed = pack.results.get(suite.result_name(suite.options.bundle, REAL_TIME))
    verdicts = target_lines(timed) if timed else [f"no verdict on the targets: {REAL_TIME} was not measured"]
    missing = [f"not measured: {stage}: {reason}" for stage, reason in pack.left_out.items()]
    missing += ["run it again, and it goes on with what is missing"] if missing else []
    send = [
        f"to send it: `make publish RESULT={suite.path}` and a pull request, or attach it to an issue of the project",
        "it holds the transcripts of the evaluation speech, and names no user, host or folder of this machine",
    ]
    return [gpu_line(pack.provenance.gpu), *verdicts, *missing, *(send if suite.options.limit is None else ())]


def _slug(gpu: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
