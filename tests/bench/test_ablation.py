"""`python -m bench ablation`: every combination in its order, differences from FP32, what fails left out; for real on the CPU."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import ablation
from bench.__main__ import parse_args
from bench.__main__ import run as run_command
from bench.ablation import Options, run
from bench.pages import results_page
from bench.pages.combinations import combinations
from bench.pages.terminal import print_written
from bench.results import ResultFile, read_result, write_result
from bench.rows import OnSpeech, SpeechRow, StepRow, UtteranceRecord
from bench.speech.recognise import Options as SpeechBench
from bench.step import step_times
from bench.step.timing import PaceTimes, StepMeasurement, Variant
from calibration.record import calibration_path
from engines.__main__ import parse_args as parse_engines
from runtime.bundle import read_bundle
from runtime.errors import InputError, exit_code
from runtime.files import sha256
from runtime.stamp import plan_path, stamp_path
from tests.bench.toys import calibrated_toy

SAMPLE = Path("data/sample")
REFERENCES = {"x_en": ["a b c d e", "f g h"], "y_en": ["i j"]}  # by data set
WRONG = {"fp32": 1, "fp16": 1, "int8": 2}  # first words of each clip


@dataclass
class Children:
    """In the place of the processes: what they were told, and what each leaves behind. The n-th fails where `fails` says so."""

    provenance: ResultFile
    fails: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    printed: str = ""

    def __call__(self, command: Sequence[str], limit_s: float, *, graph: bool = True) -> str:
        assert limit_s > 60
        module, words = command[2], command[3:]
        self.printed = ""
        made = {"engines": self._build, "bench.step.worker": self._steps, "bench": self._speech}[module](
            list(words), graph
        )
        self.told.append(made)
        if made in self.fails:
            raise InputError("no room for it")
        return self.printed

    def _build(self, words: list[str], _: bool) -> str:
        args = parse_engines(words)
        plan = plan_path(args.bundle, args.precision)
        plan.parent.mkdir(exist_ok=True, parents=True)
        plan.write_bytes(b"0" * 1_000_000 * (4 if args.precision == "fp32" else 2))
        stamp = {"step_sha256": read_bundle(args.bundle).step(args.precision).sha256, "precision": args.precision}
        stamp |= {"plan_sha256": sha256(plan), "tensorrt": "10.0", "gpu": "Fake", "compute_capability": "9.0"}
        stamp |= {"options": {}, "weights_typed": "strong", "build_s": 30.0, "created": "2026-01-01"}
        stamp_path(plan).write_text(json.dumps(stamp))
        return f"build {args.bundle.name} {args.precision}{' no cublas' if args.no_cublas else ''}"

    def _steps(self, words: list[str], graph: bool) -> str:
        args = Variant(**json.loads(words[0]))
        assert args.graph is graph
        pace = PaceTimes([1e-3 if graph else 2e-3] * args.steps, None, None)
        timed = (1.0, pace, PaceTimes(pace.seconds[: args.paced], None, None), 500.0)
        on_gpu = args.backend == "tensorrt"
        measured = StepMeasurement(*timed, "engine 1", graph if on_gpu else None, None, 1000, 1e9 if on_gpu else None)
        self.printed = f"TensorRT says hello\n{json.dumps(asdict(measured))}\n"
        return f"steps {Path(args.bundle).name} {args.precision}{' graph' if graph else ''}"

    def _speech(self, words: list[str], graph: bool) -> str:
        command, args = parse_args(words)
        assert isinstance(args, SpeechBench)
        assert (command, args.pace, args.mode, args.limit) == ("run", "fast", "utterance", 7)
        same: dict[str, object] = {
            "model": "toy",
            "weights": "trained",
            "decoder": "ctc",
            "precision": args.precision,
            "lang": args.lang,
        }
        same |= {"calibration": args.bundle.name.partition("-")[2] or None, "backend": args.backend, "lookahead_ms": 80}
        same |= {"clips": 2, "left_out": 0, "audio_minutes": 0.1, "steps": 3, "cuda_graph": graph, "wer": 0.0}
        same |= {"mode": "utterance", "limit": args.limit}
        rows = [SpeechRow.model_validate({**same, "data": data}) for data in REFERENCES]
        records = [
            UtteranceRecord(
                data=data,
                lang=args.lang,
                mode="utterance",
                audio=f"{place}.wav",
                reference=text,
                hypothesis=" ".join(["x"] * WRONG[str(args.precision)] + text.split()[WRONG[str(args.precision)] :]),
                audio_s=2.0,
                busy_s=0.1 * (1 + place),
                final_ms=10.0,
            )
            for data, texts in REFERENCES.items()
            for place, text in enumerate(texts)
        ]
        result = self.provenance.model_copy(update={"rows": rows, "utterances": records})
        write_result(args.out / f"{args.name}.json", result)
        return f"speech {args.bundle.name} {args.precision}"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, a_result: ResultFile, tmp_path: Path, undrawn: None) -> Children:  # noqa: ARG001
    children = Children(a_result)
    for module in (ablation, step_times):
        monkeypatch.setattr(module, "run_child", children)
    monkeypatch.setattr(ablation, "default_backend", lambda: "tensorrt")
    monkeypatch.setattr(ablation, "COPIES", tmp_path / "ablation")
    return children


@pytest.fixture
def toys(tmp_path: Path) -> tuple[Path, Path]:
    return calibrated_toy(tmp_path / "bundles" / "near"), calibrated_toy(tmp_path / "bundles" / "far", 480, "random")


def measured(toys: Sequence[Path], out: Path, **update: object) -> tuple[ResultFile, str]:
    console = Console(file=io.StringIO(), width=120)
    options = Options(bundle=tuple(toys), eval=SAMPLE, limit=7, steps=100, name="toys", out=out)
    written = run(replace(options, **update), ["ablation"], console)  # type: ignore[arg-type]
    print_written(written, console)
    assert written.path == out / "ablation-toys.json"
    result = read_result(written.path)
    assert result == written.result
    return result, console.file.getvalue()  # type: ignore[attr-defined]


def refresh(page: Path, results: Path, *, check: bool) -> None:
    results_page.run(results_page.Options(page=page, results=results, check=check), [], Console(file=io.StringIO()))


def test_every_combination_is_built_and_measured_in_its_turn(
    toys: tuple[Path, Path], tmp_path: Path, children: Children
) -> None:
    result, said = measured(toys, tmp_path / "out", no_cublas=True)
    expected = []
    for toy in ("near", "far"):
        for folder, precision in [
            (toy, "fp32"),
            (toy, "fp16"),
            (f"{toy}-entropy", "int8"),
            (f"{toy}-mse", "int8"),
        ]:
            expected += [f"build {folder} {precision} no cublas", f"steps {folder} {precision} graph"]
            expected += [f"speech {folder} {precision}"] if toy == "near" else []  # the far one has random weights
            expected += [f"steps {folder} {precision}"]
    assert children.told == expected
    assert list(result.left_out) == ["int8, calibrated by TensorRT (IInt8EntropyCalibrator2)"]
    names = dict.fromkeys(each.combination for each in result.rows)
    assert [*names][2:5] == ["near int8 entropy", "near int8 mse", "far fp32"]
    assert {(row.calibration, row.kept) for row in result.rows if row.precision != "int8"} == {(None, None)}
    assert [row.calibration for row in result.rows if row.combination == "near int8 entropy"] == ["entropy"] * 7
    steps = result.rows_of(StepRow)
    assert {(row.pace, row.steps) for row in steps} == {("fast", 100), ("realtime", 30)}
    assert {(row.precision, row.plan_mb, row.build_s) for row in steps} == {
        ("fp32", 4.0, 30.0),
        ("fp16", 2.0, 30.0),
        ("int8", 2.0, 30.0),
    }
    assert {row.kept for row in steps if row.precision == "int8"} == {0}
    assert {(row.cuda_graph, row.step_ms_p50) for row in steps} == {(True, 1.0), (False, 2.0)}
    assert max(len(each) for each in said.splitlines() if "│" in each) <= 120
    assert not list((tmp_path / "bundles" / "near").glob("*int8*"))  # the user's bundle is as it was
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "ablation-toys.json",
        "ablation-toys-wer.svg",
        "ablation-toys-steps.svg",
    }


@pytest.mark.usefixtures("children")
def test_error_rates_are_compared_with_fp32_of_the_same_bundle(toys: tuple[Path, Path], tmp_path: Path) -> None:
    result, _ = measured(toys[:1], tmp_path / "out", methods="max")
    speech = {row.combination: row for row in result.rows_of(SpeechRow) if row.data == "x_en + y_en"}
    fp32, fp16, int8 = (speech[f"near {name}"] for name in ("fp32", "fp16", "int8 max"))
    assert [each.wer for each in (fp32, fp16, int8)] == [30.0, 30.0, 60.0]  # 3 and 6 words of 10
    assert (fp32.wer_change, fp32.words) == (None, None)
    assert (fp16.wer_change, fp16.wer_change_low, fp16.wer_change_high) == (0.0, 0.0, 0.0)
    assert (int8.wer_change, int8.words) == (30.0, 10)
    assert int8.wer_change_low is not None
    assert int8.wer_change_high is not None
    assert int8.wer_change_low < 30 < int8.wer_change_high
    assert (int8.rtf_p50, int8.final_ms_p50, int8.step_ms_p50, int8.clips) == (0.05, 10.0, None, 4)
    single = next(row for row in result.rows_of(SpeechRow) if row.combination == "near int8 max" and row.data == "y_en")
    assert (single.wer_change, single.wer_change_low, single.words) == (50.0, None, 2)
    assert {each.combination for each in result.utterances} == set(speech)


@pytest.mark.parametrize(
    ("fails", "missing"),
    [
        ("build near fp16", {"near fp16": "no room for it"}),
        ("steps near fp16 graph", {"near fp16, steps in a CUDA graph": "no room for it"}),
        ("speech near fp32", {"near fp32, speech": "no room for it"}),
    ],
)
def test_what_fails_is_left_out_and_nothing_else(
    toys: tuple[Path, Path], tmp_path: Path, children: Children, fails: str, missing: dict[str, str]
) -> None:
    children.fails.add(fails)
    result, said = measured(toys[:1], tmp_path / "out", methods="max")
    assert dict(list(result.left_out.items())[1:]) == missing
    assert f"{next(iter(missing))}: left out: no room for it" in said
    present = {row.combination for row in result.rows}
    assert present == {"near fp32", "near fp16", "near int8 max"} - missing.keys()
    if fails == "speech near fp32":
        assert {row.wer_change for row in result.rows_of(SpeechRow)} == {None}


def test_without_calibration_int8_is_left_out(toys: tuple[Path, Path], tmp_path: Path, children: Children) -> None:
    calibration_path(toys[0]).unlink()
    result, _ = measured(toys[:1], tmp_path / "out", methods="max")
    assert "make it with `make calibrate`" in result.left_out["near int8 max"]
    assert not any("int8" in each for each in children.told)


def test_a_run_that_is_ended_leaves_what_it_has(
    toys: tuple[Path, Path], tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_the_third(command: Sequence[str], limit_s: float, *, graph: bool = True) -> str:
        if "near-entropy" in " ".join(command):
            raise KeyboardInterrupt
        return children(command, limit_s, graph=graph)

    monkeypatch.setattr(ablation, "run_child", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        measured(toys[:1], tmp_path / "out")
    result = read_result(tmp_path / "out" / "ablation-toys.json")
    assert {row.combination for row in result.rows} == {"near fp32", "near fp16"}
    assert result.left_out["near int8 mse"] == "the run ended before it"


def test_on_a_cpu_there_is_no_graph_and_no_plan(
    toys: tuple[Path, Path], tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "default_backend", lambda: "onnxruntime-cpu")
    result, said = measured(toys[:1], tmp_path / "out", methods="max")
    assert children.told[:3] == ["steps near fp32", "speech near fp32", "steps near fp16"]
    assert "CUDA graphs, plans, GPU memory" in result.left_out
    assert "not measured: CUDA graphs, plans, GPU memory: onnxruntime-cpu has none" in said
    assert [(each.graph, each.plain is None) for each in combinations(result)] == [(None, False)] * 3
    assert {row.plan_mb for row in result.rows} == {None}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("at least 100", ["--steps", "99"]),
        ("--methods: expected some of entropy", ["--methods", "entropy,best"]),
        ("--name", ["--name", "../elsewhere"]),
        ("no-such-bundle", ["--bundle", "no-such-bundle"]),
        ("expected folders of different names, found 2 with 1", ["--bundle", "{near}", "{near}"]),
        ("expected folders of different names, found 0", ["--bundle"]),
        ("no such folder of data sets", ["--eval", "no-such-folder"]),
        ("expected an NVIDIA GPU that nvidia-smi lists", ["--backend", "tensorrt"]),
        ("nothing could be measured; near int8 max, speech: cannot", []),
    ],
)
def test_bad_input(
    toys: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    children: Children,
    message: str,
    words: list[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("cannot")

    for module in (ablation, step_times):
        monkeypatch.setattr(module, "run_child", refuse)
    if "tensorrt" not in words:
        words = ["--backend", "onnxruntime-cpu", *words]
    monkeypatch.setattr(ablation, "default_backend", lambda: "onnxruntime-cpu")
    argv = ["ablation", "--bundle", str(toys[0]), "--methods", "max", "--eval", str(SAMPLE)]
    argv += ["--out", str(tmp_path / "out"), *(word.format(near=toys[0]) for word in words)]
    assert exit_code(lambda: run_command(argv)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not children.told


def test_the_page_has_its_table_and_plots(toys: tuple[Path, Path], tmp_path: Path, children: Children) -> None:
    results, page = tmp_path / "results", tmp_path / "RESULTS.md"
    children.fails.add("steps near fp16")
    result, _ = measured(toys, results, methods="max")
    refresh(page, results, check=False)
    assert not (results / "ablation.md").exists()  # a part of the data sets
    whole = [row.with_(limit=None) if isinstance(row, OnSpeech) else row for row in result.rows]
    on_gpu = result.provenance.with_(gpu="NVIDIA X", tensorrt="8.6.0")
    write_result(results / "ablation-toys.json", result.with_(rows=whole, provenance=on_gpu))
    refresh(page, results, check=False)
    text = (results / "ablation.md").read_text()
    for line in (
        "| fp16 | 30.00 | +0.00 (+0.00 to +0.00) | 2 | 30 |",
        "| fp16 | 1.00 / 1.00 / 1.00 | - | 0.0500 / 0.0950 | 10.0 / 10.0 |",
    ):
        assert line in text
    assert text.count("toy, 80 ms, NVIDIA X, TensorRT 8.6.0:\n\n| Precision |") == 2
    assert text.count("toy, 480 ms, random weights, NVIDIA X, TensorRT 8.6.0:\n\n| Precision |") == 2
    assert text.count("| int8 max |") == 2 * 2
    assert "](ablation-toys-wer.svg)" in text
    assert "](ablation-toys-steps.svg)" in text
    assert "- near fp16, steps without a graph: no room for it" in text
    refresh(page, results, check=True)
    (results / "ablation-toys-wer.svg").write_text("<svg/>")
    with pytest.raises(SystemExit, match="stale"):
        refresh(page, results, check=True)
    refresh(page, results, check=False)
    refresh(page, results, check=True)


@pytest.mark.usefixtures("rounding")
def test_for_real_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "PACED", 1)
    monkeypatch.setattr(ablation, "COPIES", tmp_path / "ablation")
    toy = calibrated_toy(tmp_path / "bundles" / "toy")
    given: dict[str, Any] = {"backend": "onnxruntime-cpu", "steps": 100, "limit": 2, "out": tmp_path / "out"}
    options = Options(bundle=(toy,), eval=SAMPLE, methods="max", **given)
    path = run(options, [], Console(file=io.StringIO())).path
    assert path.name == "ablation-toy-onnxruntime-cpu-sample-en-first2.json"
    result = read_result(path)
    assert len(result.left_out) == 2, result.left_out
    assert [each.precision for each in combinations(result)] == ["fp32", "fp16", "int8 max"]
    for each in combinations(result):
        assert each.speech is not None
        assert each.speech.wer is not None
        assert each.steps is not None
        assert each.steps.functional_check
        assert each.steps.step_ms_p50
    assert len(result.utterances) == 6
