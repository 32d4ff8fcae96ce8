"""`python -m bench suite` on the fake GPU: every stage for real on a toy, going on, failures, the deadline, Ctrl-C, and what is sent."""

import getpass
import io
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import onnxruntime
import pytest
import soundfile
from rich.console import Console

from bench import ablation, machine, process
from bench.__main__ import run as run_command
from bench.pages.terminal import print_written
from bench.results import Pack, Report, read_result
from bench.rows import EndpointRow, SpeechRow, StepRow, StreamsRow
from bench.speech import endpoint, recognise
from bench.speech.arrivals import VirtualClock
from bench.step import step_times, timing, worker
from bench.suite import stages as suite
from bench.suite.stages import Options, run, stages
from data.manifest import Utterance, read_manifest, write_manifest
from engines.__main__ import parse_args as parse_engines
from export.companions import silero_file
from runtime.audio import load_audio
from runtime.bundle import read_bundle
from runtime.bundle import write_manifest as write_bundle
from runtime.entries import FileEntry
from runtime.errors import CudaError, InputError, exit_code
from runtime.files import sha256
from runtime.stamp import plan_path, stamp_path
from tests.bench.toys import calibrated_toy
from tests.runtime.fake_tensorrt import PROGRAMS, Arrays, Program
from tests.runtime.rig import Rig

SMALL = {"streams": ["--streams", "1,2", "--seconds", "1"], "ablation": ["--steps", "100"], "steps": ["--steps", "100"]}
"""Command -> options that keep it short."""
STAGES = ["realtime", "streams", "endpoint", "ablation", "steps"]
NAMES = [f"{'large' if stage == 'steps' else 'small'}-tesla-t4-{stage}" for stage in STAGES]
COMMIT = "c0ffee" * 7


def program(folder: Path, precision: str) -> Program:
    """The bundle's step as a plan of the fake TensorRT."""
    bundle = read_bundle(folder)
    step = bundle.step(precision)
    session = onnxruntime.InferenceSession(folder / step.file, providers=["CPUExecutionProvider"])

    def function(of: Arrays) -> Arrays:
        return dict(zip([each.name for each in step.outputs], session.run(None, of), strict=True))

    shapes: dict[str, tuple[str, list[int]]] = {each.name: (each.dtype, list(each.shape)) for each in step.tensors}
    return Program(shapes, tuple(each.name for each in step.inputs), function)


@dataclass
class Children:
    """In the place of processes: each command runs here, on the fake GPU, at toy sizes. What `raises` names ends instead."""

    patch: pytest.MonkeyPatch
    told: list[str] = field(default_factory=list)
    raises: dict[str, BaseException] = field(default_factory=dict)
    seconds: float = 0.0
    """That a command of a stage takes, by the clock that the deadline is read from."""
    now: float = 0.0

    def __call__(self, command: Sequence[str], limit_s: float, *, graph: bool = True) -> str:
        assert limit_s >= 60
        module, words = command[2], list(command[3:])
        said = (
            f"{module} {words[0] if module == 'bench' else Path(words[1]).name if module == 'engines' else ''}".strip()
        )
        self.told.append(said)
        self.now += self.seconds
        if said in self.raises:
            raise self.raises[said]
        self.patch.setenv("CUDA_GRAPH", "1" if graph else "0")
        with redirect_stdout(io.StringIO()) as printed:
            try:
                {"engines": self._build, "bench": self._bench, "bench.step.worker": self._steps}[module](words)
            except CudaError as error:
                raise InputError(str(error)) from error
        return printed.getvalue()

    def clock(self) -> float:
        return self.now

    def _build(self, words: list[str]) -> None:
        args = parse_engines(words)
        plan = plan_path(args.bundle, args.precision)
        plan.parent.mkdir(exist_ok=True)
        plan.write_bytes(f"{args.bundle.name} {args.precision}".encode())
        self.patch.setitem(PROGRAMS, plan.read_bytes(), program(args.bundle, args.precision))
        stamp = {"step_sha256": read_bundle(args.bundle).step(args.precision).sha256, "precision": args.precision}
        stamp |= {"plan_sha256": sha256(plan), "tensorrt": "10.16.1.11", "gpu": "Tesla T4", "compute_capability": "7.5"}
        stamp |= {"options": {}, "weights_typed": "strong", "build_s": 30.0, "created": "2026-01-01"}
        stamp_path(plan).write_text(json.dumps(stamp))

    @staticmethod
    def _bench(words: list[str]) -> None:
        run_command([*words, *SMALL.get(words[0], [])])

    @staticmethod
    def _steps(words: list[str]) -> None:
        worker.run(timing.Variant(**json.loads(words[0])))


@pytest.fixture
def children(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None) -> Children:  # noqa: ARG001
    """The fake T4, what nvidia-smi and git say of it, and short measurements without plots."""
    rig.install(name="Tesla T4", compute_capability=(7, 5))
    children = Children(monkeypatch)
    for module in (suite, ablation, step_times):
        monkeypatch.setattr(module, "run_child", children)
    for module in (suite, ablation):
        monkeypatch.setattr(module, "default_backend", lambda: "tensorrt")
    answers = {"--query-gpu": "Tesla T4, 550.54, 1590, 70.00", "--query-compute-apps": f"{os.getpid()}, 512"}
    answers |= {"rev-parse": COMMIT, "--no-optional-locks": ""}
    for module in (process, machine):
        monkeypatch.setattr(
            module, "output", lambda *words: next((answers[key] for key in answers if key in words[1]), None)
        )
    monkeypatch.setattr(suite, "monotonic", children.clock)
    monkeypatch.setattr(ablation, "PACED", 1)
    monkeypatch.setattr(ablation, "COPIES", tmp_path / "ablation")
    for module in (recognise, endpoint):
        monkeypatch.setattr(module, "clock_of", lambda _: VirtualClock())
    monkeypatch.setattr(timing, "WARM_UP", 1)
    monkeypatch.setattr(timing, "PACED_SHARE", 100)
    monkeypatch.setattr(worker, "gpu_bandwidth", lambda _: 3e11)
    return children


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A data set of two words of half a second."""
    folder = tmp_path / "speech" / "words"
    folder.mkdir(parents=True)
    utterances = []
    for place, spoken in enumerate(read_manifest(Path("data/sample/manifest_en.jsonl"))[:2]):
        samples = load_audio(spoken.audio)[8_000:16_000]
        soundfile.write(folder / f"{place}.wav", samples, 16_000)
        utterances.append(Utterance(folder / f"{place}.wav", "a b", 0.5))
    write_manifest(folder / "manifest_en.jsonl", utterances)
    return folder.parent


@pytest.fixture
def options(tmp_path: Path, speech: Path) -> Options:
    """A toy that knows endpoints, and one with random weights."""
    small = calibrated_toy(tmp_path / "made" / "small")
    shutil.copyfile(silero_file(), small / "vad.onnx")
    entry = FileEntry(file="vad.onnx", sha256=sha256(small / "vad.onnx"))
    write_bundle(small, read_bundle(small).model_copy(update={"voice_activity": entry}))
    large = calibrated_toy(tmp_path / "made" / "large", weights="random")
    return Options(bundle=small, large=large, eval=speech, out=tmp_path / "out")


def measured(options: Options) -> tuple[Report, str]:
    console = Console(file=io.StringIO(), width=120)
    written = run(options, ["suite"], console)
    print_written(written, console)
    return written.result, console.file.getvalue()  # type: ignore[attr-defined]


def packed(options: Options) -> Pack:
    return read_result(options.out / "packs" / "small-tesla-t4.json", Pack)


@pytest.mark.usefixtures("rounding")
def test_all_stages_on_the_fake_gpu_then_sent_and_published(
    options: Options, children: Children, tmp_path: Path
) -> None:
    result, said = measured(options)
    pack = packed(options)
    assert pack == result
    assert list(pack.results) == NAMES
    assert not pack.left_out
    assert [type(each.rows[0]) for each in pack.results.values()] == [
        SpeechRow,
        StreamsRow,
        EndpointRow,
        StepRow,
        StepRow,
    ]
    realtime, *_ = pack.results.values()
    row = realtime.rows[0]
    assert (row.backend, row.precision, row.pace, row.cuda_graph) == ("tensorrt", "fp16", "realtime", True)
    assert row.peak_gpu_memory_mb == pytest.approx(512 * 2**20 / 1e6)
    compared = pack.results["small-tesla-t4-ablation"]
    steps = {(each.precision, each.cuda_graph) for each in compared.rows_of(StepRow)}
    assert steps == {(precision, graph) for precision in ("fp32", "fp16", "int8") for graph in (True, False)}
    told = pack.provenance
    assert (told.gpu, told.driver, told.commit) == ("Tesla T4", "550.54", COMMIT)
    assert (told.sm_clock_mhz, told.power_w) == (1590.0, 70.0)
    assert children.told[:2] == ["engines small", "bench run"]
    assert "1/5 realtime: about 5 min on a T4 (an estimate)" in said
    for line in (
        "Final from last frame: ",
        "RTF: ",
        "measured on a T4 (Tesla T4)",
        "make publish RESULT=",
        "issue of the project",
    ):
        assert line in said
    # What is sent names nothing of this machine.
    text = (options.out / "packs" / "small-tesla-t4.json").read_text()
    for private in (str(tmp_path), str(Path.cwd()), str(Path.home()), socket.gethostname(), "/tmp", "../"):  # noqa: S108
        assert private not in text, private
    user = getpass.getuser()
    assert user not in json.dumps(
        [pack.left_out, pack.provenance.command, *(each.provenance.command for each in pack.results.values())]
    )
    # And it is published from where it lies.
    (tmp_path / "published").mkdir()
    sent = shutil.copy(options.out / "packs" / "small-tesla-t4.json", tmp_path / "attached.json")
    run_command(
        ["publish", str(sent), "--results", str(tmp_path / "published"), "--page", str(tmp_path / "RESULTS.md")]
    )
    for name, each in pack.results.items():
        assert read_result(tmp_path / "published" / f"{name}.json") == each
    page = (tmp_path / "published" / "recognition.md").read_text()
    assert (
        page.count("Tesla T4, TensorRT None, CUDA graph") == 5
    )  # at real time twice, ablation, steps; no TensorRT is here


@pytest.fixture
def fast(children: Children, options: Options, monkeypatch: pytest.MonkeyPatch) -> Iterator[Options]:
    """Two stages alone, both short."""

    def two(options: Options, data: object) -> list[suite.Stage]:
        return [each for each in stages(options, data) if each.name in ("realtime", "steps")]  # type: ignore[arg-type]

    monkeypatch.setattr(suite, "stages", two)
    yield options
    assert children.told


def test_it_goes_on_with_what_is_missing(fast: Options, children: Children) -> None:
    children.raises["engines large"] = InputError("/home/alice/x y.plan: no room in ../../home/alice/plans/it")
    _, said = measured(fast)
    assert "steps: left out: " in said
    assert "not measured: steps: " in said
    assert "run it again, and it goes on with what is missing" in said
    assert packed(fast).left_out == {"steps": "x y.plan: no room in it"}
    first = packed(fast).results
    assert list(first) == NAMES[:1]
    children.raises.clear()
    children.told.clear()
    _, said = measured(fast)
    assert "small-tesla-t4.json has the results of an earlier run; missing: steps" in said
    assert children.told == ["engines large", "bench steps"]
    assert not packed(fast).left_out
    assert packed(fast).results == {**first, NAMES[-1]: packed(fast).results[NAMES[-1]]}
    children.told.clear()
    assert measured(fast)[0] == packed(fast)
    assert children.told == []
    children.told.append("nothing")


@pytest.mark.parametrize("key", ["bundle", "commit", "data"])
def test_it_does_not_mix_what_is_not_the_same(
    key: str, fast: Options, children: Children, monkeypatch: pytest.MonkeyPatch, speech: Path
) -> None:
    measured(fast)
    children.told.clear()
    if key == "bundle":
        with (fast.bundle / "bundle.json").open("a") as file:
            file.write("\n")
    elif key == "commit":
        monkeypatch.setattr(machine, "commit", lambda: f"{COMMIT}-dirty")
    else:
        (speech / "words" / "manifest_en.jsonl").write_text(
            (speech / "words" / "manifest_en.jsonl").read_text().replace("a b", "a")
        )
    before = packed(fast)
    with pytest.raises(InputError, match=f"found those of another {key}.*--name"):
        measured(fast)
    assert packed(fast) == before
    assert not children.told
    children.told.append("nothing")


def test_no_stage_begins_after_the_deadline(fast: Options, children: Children) -> None:
    children.seconds = 31.0  # two commands a stage
    _, said = measured(replace(fast, minutes=1.0))
    assert packed(fast).left_out == {"steps": "the 1 minutes of --minutes were over"}
    assert children.told == ["engines small", "bench run"]
    assert "not measured: steps: the 1 minutes" in said


def test_ctrl_c_keeps_what_was_measured(fast: Options, children: Children, capsys: pytest.CaptureFixture[str]) -> None:
    children.raises["bench steps"] = KeyboardInterrupt()
    assert exit_code(partial(measured, fast)) == 130  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
    assert packed(fast).left_out == {"steps": "the run ended before it was done"}
    assert list(packed(fast).results) == NAMES[:1]


@pytest.mark.usefixtures("rounding")
def test_a_part_of_an_ablation_is_kept_and_measured_again(
    options: Options, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "stages", lambda *given: [each for each in stages(*given) if each.name == "ablation"])
    children.raises["engines small-mse"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measured(options)
    part = packed(options)
    (result,) = part.results.values()
    assert {row.precision for row in result.rows} == {"fp32", "fp16"}
    assert (
        result.left_out["small int8 mse"]
        == part.left_out["ablation"].removesuffix(" was done")
        == "the run ended before it"
    )
    children.raises.clear()
    _, said = measured(options)
    assert "no verdict on the targets: realtime was not measured" in said
    (result,) = packed(options).results.values()
    assert {row.precision for row in result.rows} == {"fp32", "fp16", "int8"}
    assert not packed(options).left_out


def test_a_quick_look_is_not_to_be_sent(fast: Options) -> None:
    _, said = measured(replace(fast, limit=1))
    assert "make publish" not in said
    assert "first 1" in said


def test_a_stage_that_fails_does_not_take_an_earlier_run_s_result(fast: Options, children: Children) -> None:
    measured(fast)
    (fast.out / "packs" / "small-tesla-t4.json").unlink()
    children.raises["bench run"] = InputError("no room")
    measured(fast)
    assert list(packed(fast).results) == NAMES[-1:]


def test_where_nothing_can_be_measured(fast: Options, children: Children) -> None:
    children.raises |= {f"engines {name}": InputError("no room") for name in ("small", "large")}
    with pytest.raises(InputError, match="nothing could be measured; realtime: no room"):
        measured(fast)
    assert not list(fast.out.rglob("*.json"))


@pytest.mark.parametrize(
    ("message", "words", "backend"),
    [
        ("expected an NVIDIA GPU that nvidia-smi lists, found none", [], "onnxruntime-cpu"),
        ("--minutes: expected more than 0, found 0", ["--minutes", "0"], "tensorrt"),
        ("--name: expected a file name", ["--name", "../elsewhere"], "tensorrt"),
        ("no-such-bundle", ["--bundle", "no-such-bundle"], "tensorrt"),
        ("no such folder of data sets", ["--eval", "no-such-folder"], "tensorrt"),
    ],
)
def test_bad_input(
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    message: str,
    words: list[str],
    backend: str,
) -> None:
    monkeypatch.setattr(suite, "default_backend", lambda: backend)
    argv = ["suite", "--bundle", str(options.bundle), "--eval", str(options.eval), "--out", str(options.out), *words]
    assert exit_code(lambda: run_command(argv)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not options.out.exists()
